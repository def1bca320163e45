"""A sample in, its `Prompt` out: one system line, then question, lettered options and the form of the reply."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

from fundus_ray.errors import DataError
from fundus_ray.types import Modality, Prompt, Sample

_IMAGE_NAMES = {
    Modality.CFP: "colour fundus photograph",
    Modality.OCT: "retinal OCT scan",
    Modality.UWF: "ultra-wide-field fundus photograph",
}


def letter(i: int) -> str:
    """The letter of option i: 0 -> A ... 25 -> Z. Raises IndexError beyond."""
    if not 0 <= i < len(ascii_uppercase):
        raise IndexError(f"option {i} has no letter: at most {len(ascii_uppercase)} options")
    return ascii_uppercase[i]


def answer_letters(answer: Sequence[str], options: Sequence[str]) -> list[str]:
    """What stands between the answer tags: the letters of the chosen options, or a free-text answer as it is."""
    return [letter(options.index(option)) for option in answer] if options else list(answer)


def system_line(modality: Modality) -> str:
    """Who is asked, and what kind of image this is."""
    return f"You are an ophthalmologist reading a {_IMAGE_NAMES[modality]}."


def build_prompt(sample: Sample, *, group_id: int, seed: int) -> Prompt:
    """The sample in words. Whether several answers may be right is for the question itself to say, as FunBench's do.

    Raises DataError beyond 26 options.
    """
    if len(sample.options) > len(ascii_uppercase):
        raise DataError(
            f"sample {sample.id}: {len(sample.options)} options; at most {len(ascii_uppercase)} can be lettered"
        )
    options = [f"{letter(i)}. {text}" for i, text in enumerate(sample.options)]
    answer = "letter" if options else "answer"
    form = f"Reply as <think>Findings: ... Conclusion: ...</think><answer>{answer}</answer>"
    return Prompt(
        sample=sample,
        system=system_line(sample.modality),
        user="\n".join([sample.question, *options, form]),
        group_id=group_id,
        seed=seed,
    )
