"""What is read out of a chain: mentions, relations, conclusion and answer, each with its place in the text.

Positions are character offsets into the chain's text, as [start, end).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mention:
    """A finding where the text first asserts (denies, supposes) it: text[start:end].

    Where its noun stands with a later finding ("intraretinal or subretinal fluid"), text[start:end] is its modifier.
    """

    finding: str
    start: int
    end: int
    side: str = ""  # "left" | "right" | "both" eyes, where the text says so
    count: int | None = None  # of lesions, where the text gives a number
    grade: str = ""  # "mild" | "moderate" | "severe", where the text grades the finding


@dataclass(frozen=True, slots=True)
class Relation:
    """A stated link from a finding to a label. text[start:end] reaches from the one to the other.

    The finding may be one that the text denies: "no drusen, which rules out AMD" has present=False, supports=False.
    """

    finding: str
    label: str
    supports: bool  # the finding (or its absence, where it is not present) speaks for the label, not against it
    start: int
    end: int
    present: bool = True  # False: the text speaks of the absence of the finding

    @property
    def speaks_for(self) -> bool:
        """Whether the text takes the finding for a sign of the label: what can be looked up in a book. That its absence
        speaks against the label says the same as that its presence speaks for it."""
        return self.supports == self.present


@dataclass(frozen=True, slots=True)
class Reading:
    """What a chain says. `well_formed` is about its form alone; `problems` says what is wrong with form or sense.

    A finding of an earlier time alone ("history of vitreous haemorrhage") is in none of the lists: that says nothing of
    the image.
    """

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
