"""What a checker is: relations with the passages found on them in, a verdict on each out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fundus_ray.errors import FundusRayError
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.types import Evidence, Modality, Verdict

_PLURAL, _SINGULAR = ("s", "drusen", "foci"), ("sis", "ss", "us")  # how names of findings end


class CheckerError(FundusRayError):
    """The checker failed: our fault, so what depends on it is unscorable, never zero."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A relation to check: the finding speaks for the label, or (supports False) against it."""

    finding: str  # finding id
    label: str  # the vocabulary's label
    supports: bool
    modality: Modality
    passages: tuple[Evidence, ...]  # what was found on it, best first


@dataclass(frozen=True, slots=True)
class CheckedVerdict:
    """What a checker says of a claim."""

    verdict: Verdict
    confidence: float  # of the verdict, in [0, 1]
    passage: Evidence | None  # that decided, or that says the same as what decided
    why: str  # one readable line


class Checker(Protocol):
    """One that can be asked about any number of claims at once, by several at once."""

    name: str  # "record" | "nli" | "judge"

    async def check(self, claims: Sequence[Claim]) -> list[CheckedVerdict]:
        """A verdict on each, in their order. Raises CheckerError where it fails or takes too long."""

    async def close(self) -> None:
        """Stop what it runs."""


def sentence(finding: str, label: str, vocabulary: Vocabulary, *, supports: bool = True) -> str:
    """The relation in words: "Drusen are a sign of age-related macular degeneration."."""
    name = vocabulary.name(finding)
    many = name.endswith(_PLURAL) and not name.endswith(_SINGULAR)
    links = ("are a sign of", "speak against") if many else ("is a sign of", "speaks against")
    return f"{name[0].upper()}{name[1:]} {links[not supports]} {label}."
