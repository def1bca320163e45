"""Sentences with their truth, and how well a reading agrees with it.

`python tests/reasoning/truth.py tuned` (or `held_back`) prints the table and every difference.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fundus_ray.knowledge.vocabulary import Vocabulary, load_vocabulary
from fundus_ray.reasoning.reading import Mention, Reading
from fundus_ray.reasoning.steps import read_chain

HERE = Path(__file__).parent
WHAT = ("asserted", "denied", "hedged", "relations", "details")
_PLACE = re.compile(r"(?P<words>.*?)(?: #(?P<nth>\d))?", re.DOTALL)
Facts = dict[str, set[tuple[Any, ...]]]


@dataclass
class Tally:
    """Facts that were found rightly, found wrongly, and missed."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        """Of what was found, the share that is true; 1 where nothing was found."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        """Of what is true, the share that was found; 1 where nothing is true."""
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0

    def add(self, truth: set[tuple[Any, ...]], found: set[tuple[Any, ...]]) -> None:
        self.right += len(truth & found)
        self.wrong += len(found - truth)
        self.missed += len(truth - found)


@dataclass
class Comparison:
    """Tallies by what was read and by kind of sentence, and a line for each sentence that was read otherwise."""

    sentences: int = 0
    by_what: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    by_kind: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    differences: list[str] = field(default_factory=list)


def rows(part: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(kind, row) of the file of this part, "tuned" or "held_back"."""
    tree = yaml.safe_load((HERE / f"sentences_{part}.yaml").read_text(encoding="utf-8"))
    for kind, listed in tree.items():
        for row in listed:
            yield kind, row


def place(text: str, words: str) -> tuple[int, int]:
    """[start, end) of words as the file gives them. Raises ValueError where they do not stand in the text."""
    match = _PLACE.fullmatch(words)
    assert match
    start = -1
    for _ in range(int(match["nth"] or 1)):
        start = text.index(match["words"], start + 1)
    return start, start + len(match["words"])


def truth_of(row: dict[str, Any]) -> Facts:
    """What the file says, as sets of facts. A finding's fact is (id, start, end)."""
    text = row["text"]
    facts: Facts = {
        what: {(finding, *place(text, words)) for words, finding in row.get(what, {}).items()}
        for what in ("asserted", "denied", "hedged")
    }
    absent = set(row.get("denied", {}).values())
    facts["relations"] = {_relation(line, absent) for line in row.get("relations", [])}
    facts["details"] = {
        (place(text, words)[0], name, value)
        for words, details in row.get("details", {}).items()
        for name, value in details.items()
    }
    return facts


def _relation(line: str, absent: set[str]) -> tuple[Any, ...]:
    finding, word, label = re.split(r" (supports|opposes) ", line)
    return finding, label, word == "supports", finding not in absent


def found_in(reading: Reading, *, details: bool) -> Facts:
    """What a reading says, in the same form."""

    def spans(mentions: tuple[Mention, ...]) -> set[tuple[Any, ...]]:
        return {(m.finding, m.start, m.end) for m in mentions}

    mentions = reading.asserted + reading.denied + reading.hedged
    return {
        "asserted": spans(reading.asserted),
        "denied": spans(reading.denied),
        "hedged": spans(reading.hedged),
        "relations": {(r.finding, r.label, r.supports, r.present) for r in reading.relations},
        "details": {
            (m.start, name, getattr(m, name))
            for m in mentions
            for name in ("side", "count", "grade")
            if details and getattr(m, name)
        },
    }


def compare(part: str, vocabulary: Vocabulary) -> Comparison:
    """Every sentence of the part, read and held against its truth."""
    result = Comparison()
    for kind, row in rows(part):
        reading = read_chain(row["text"], vocabulary)
        truth, found = truth_of(row), found_in(reading, details=kind == "amount_and_side")
        if kind != "amount_and_side":
            truth["details"] = set()
        for what in WHAT:
            result.by_what[what].add(truth[what], found[what])
            result.by_kind[kind].add(truth[what], found[what])
        odd = [
            f"{what}: -{truth[what] - found[what] or ''} +{found[what] - truth[what] or ''}"
            for what in WHAT
            if truth[what] != found[what]
        ]
        odd += [
            f"{name}: {row[name]!r}, read {getattr(reading, name)!r}"
            for name in ("answer", "conclusion")
            if name in row and row[name] != getattr(reading, name)
        ]
        result.sentences += 1
        if odd:
            result.differences.append(f"{row['text']!r}\n    " + "\n    ".join(odd))
    return result


def table(part: str, result: Comparison) -> str:
    """Precision and recall, overall and by kind, as text."""
    lines = [f"{part}: {result.sentences} sentences", f"{'':<18}{'true':>6}{'precision':>11}{'recall':>8}"]
    for name, tally in [*result.by_what.items(), *result.by_kind.items()]:
        true = tally.right + tally.missed
        lines.append(f"{name:<18}{true:>6}{tally.precision:>11.3f}{tally.recall:>8.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    shown = compare(sys.argv[1], load_vocabulary())
    print(table(sys.argv[1], shown))
    if "--all" in sys.argv:
        print("\n".join(shown.differences))
