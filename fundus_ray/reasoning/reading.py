"""What is read out of a chain: mentions, relations, conclusion and answer, each with its place in the text.

Positions are character offsets into the chain's text, as [start, end).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mention:
    """A finding where the text first asserts (denies, supposes) it: text[start:end]."""

    finding: str
    start: int
    end: int
    side: str = ""  # "left" | "right" | "both" eyes, where the text says so
    count: int | None = None  # of lesions, where the text gives a number
    grade: str = ""  # "mild" | "moderate" | "severe", where the text grades the finding


@dataclass(frozen=True, slots=True)
class Relation:
    """A stated link from a finding to a label: it speaks for the label or against it. text[start:end] holds both."""

    finding: str
    label: str
    supports: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a chain says. `well_formed` is about its form alone; `problems` says what is wrong with form or sense."""

    asserted: tuple[Mention, ...]  # one for each finding, in text order
    denied: tuple[Mention, ...]
    conclusion: str | None  # text after the last "Conclusion:", else the last label that is mentioned and not denied
    answer: str | None  # inside the answer tags; None where missing, unclosed, or several that differ
    well_formed: bool
    problems: tuple[str, ...]
    hedged: tuple[Mention, ...] = ()  # said to be possible: neither asserted nor denied
    relations: tuple[Relation, ...] = ()  # one for each (finding, label, supports), in text order
    conclusion_span: tuple[int, int] | None = None
    conclusion_labels: frozenset[str] = frozenset()  # that the conclusion names and does not deny
    answer_span: tuple[int, int] | None = None  # of the first answer, where there is one
    findings_first: bool | None = None  # the first finding stands before the conclusion; None where either is missing

    @property
    def findings(self) -> tuple[str, ...]:
        """Ids of the asserted findings, in text order."""
        return tuple(m.finding for m in self.asserted)

    @property
    def contradictory(self) -> frozenset[str]:
        """Ids both asserted and denied."""
        return frozenset(self.findings) & {m.finding for m in self.denied}
