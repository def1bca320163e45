"""What a model is told of a multiple-choice question where the benchmark fixes no wording."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase


def choice_prompt(question: str, options: Sequence[str]) -> str:
    """Question, options, and how to answer; the last line is VLMEvalKit's for GMAI-MMBench, the rest our own."""
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
    return f"{question}\n{listed}\nAnswer with the option's letter from the given choices directly."
