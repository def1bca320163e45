"""The grammar's writer: findings, conclusion and letters in; the text of a reasoning chain out."""

from __future__ import annotations

from collections.abc import Sequence

NO_FINDINGS = "none"


def compose(*, findings: Sequence[str], conclusion: str, letters: Sequence[str], reasons: Sequence[str] = ()) -> str:
    """The chain that states the finding names, then why they matter (`reasons`, whole sentences), then the conclusion,
    then the answer's letters (or a free-text answer).

    >>> compose(findings=["hard exudates", "drusen"], conclusion="glaucoma", letters=["B"])
    '<think>Findings: hard exudates, drusen. Conclusion: glaucoma.</think><answer>B</answer>'
    """
    stated = ", ".join(findings) or NO_FINDINGS
    sentences = " ".join([f"Findings: {stated}.", *reasons, f"Conclusion: {conclusion}."])
    return f"<think>{sentences}</think>{_answer(letters)}"


def reasons(*, required: Sequence[str], supportive: Sequence[str]) -> list[str]:
    """Sentences that say which findings a label rests on. They name no label: "macular hole" and many others are
    findings too, and would be read as seen.

    >>> reasons(required=["drusen"], supportive=[])
    ['Required: drusen.']
    """
    named = (("Required", required), ("Supportive", supportive))
    return [f"{role}: {', '.join(names)}." for role, names in named if names]


def bare_answer(letters: Sequence[str]) -> str:
    """No thought at all before the answer: what a policy that is taught answers only imitates.

    >>> bare_answer(["B"])
    '<think></think><answer>B</answer>'
    """
    return f"<think></think>{_answer(letters)}"


def _answer(letters: Sequence[str]) -> str:
    return f"<answer>{','.join(letters)}</answer>"
