"""A sample in, its `Prompt` out: one system line, then question, lettered options and the form of the reply.

The same words ask a benchmark's question (`ask`), with other forms of reply as controls.
"""

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
# FunBench's tasks (data/questions/wording.py) whose answer the modality is, and those with several right options.
MODALITY_TASKS = ("L1a", "L1b")
SEVERAL_TASKS = ("L3b", "L4b")

THINK, THINK_AFTER, DIRECT = "think", "think-after", "direct"
_REPLIES = {
    THINK: "Reply as <think>Findings: ... Conclusion: ...</think><answer>{answer}</answer>",
    THINK_AFTER: "Reply as <answer>{answer}</answer><think>Findings: ... Conclusion: ...</think>",
    DIRECT: "Reply with the {answer} alone.",
}


def letter(i: int) -> str:
    """The letter of option i: 0 -> A ... 25 -> Z. Raises IndexError beyond."""
    if not 0 <= i < len(ascii_uppercase):
        raise IndexError(f"option {i} has no letter: at most {len(ascii_uppercase)} options")
    return ascii_uppercase[i]


def answer_letters(answer: Sequence[str], options: Sequence[str]) -> list[str]:
    """What stands between the answer tags: the letters of the chosen options, or a free-text answer as it is."""
    return [letter(options.index(option)) for option in answer] if options else list(answer)


def system_line(modality: Modality | None) -> str:
    """Who is asked, and what kind of image this is; None = that is not told."""
    return f"You are an ophthalmologist reading {'an image' if modality is None else f'a {_IMAGE_NAMES[modality]}'}."


def ask(question: str, options: Sequence[str], *, several: bool, form: str = THINK) -> str:
    """Question, lettered options and what to reply. `several`: more than one option may be right; `form`: THINK, the
    one of training, THINK_AFTER or DIRECT."""
    answer = ("letters, with commas" if several else "letter") if options else "answer"
    lettered = [f"{letter(i)}. {text}" for i, text in enumerate(options)]
    return "\n".join([question, *lettered, _REPLIES[form].format(answer=answer)])


def build_prompt(sample: Sample, *, group_id: int, seed: int) -> Prompt:
    """The sample in words. A question that asks for the modality is not told it; one of FunBench's tasks with several
    right options asks for letters, whatever its answer; of any other it is for the question itself to say.

    Raises DataError beyond 26 options.
    """
    if len(sample.options) > len(ascii_uppercase):
        raise DataError(
            f"sample {sample.id}: {len(sample.options)} options; at most {len(ascii_uppercase)} can be lettered"
        )
    return Prompt(
        sample=sample,
        system=system_line(None if sample.task in MODALITY_TASKS else sample.modality),
        user=ask(sample.question, sample.options, several=sample.task in SEVERAL_TASKS),
        group_id=group_id,
        seed=seed,
    )
