"""What every part of a score is: a value with its reasons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.steps import Reading


@dataclass(frozen=True, slots=True)
class Part:
    """A value in [0, 1], or None where the part does not apply, and one readable line for each reason."""

    value: float | None
    reasons: tuple[str, ...]


def stated_findings(reading: Reading) -> tuple[str, ...]:
    """Ids that the chain asserts and nowhere denies, in text order: what it says both ways it does not say."""
    said_both_ways = reading.contradictory  # made anew at each look
    return tuple(f for f in reading.findings if f not in said_both_ways)


def names(findings: Iterable[str], vocabulary: Vocabulary) -> str:
    """The findings as a clinician writes them, in one line."""
    return ", ".join(vocabulary.name(f) for f in sorted(findings))
