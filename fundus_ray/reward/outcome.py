"""Outcome parts of the score: is the answer right, has the chain the asked form. In: what was read. Out: 0 or 1."""

from __future__ import annotations

from collections.abc import Collection

from fundus_ray.reasoning.steps import Reading


def accuracy(chosen: Collection[str] | None, right: Collection[str]) -> float:
    """1 where exactly the right options are chosen, else 0: naming more options than are right never pays.

    Letter case and blanks do not count, for answers in free text.
    """
    return float(chosen is not None and {_tidy(c) for c in chosen} == {_tidy(r) for r in right})


def well_formed(reading: Reading) -> float:
    """1 for `<think>Findings: ... Conclusion: ...</think><answer>...</answer>` with nothing around it, else 0."""
    return float(reading.well_formed)


def problems_of_form(reading: Reading) -> tuple[str, ...]:
    """Why it is 0. What is wrong with the chain's sense, which `problems` names after these, costs in other parts: one
    line for each finding both asserted and denied."""
    return reading.problems[: len(reading.problems) - len(reading.contradictory)]


def _tidy(text: str) -> str:
    return " ".join(text.split()).casefold()
