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
    return f"<think>{sentences}</think><answer>{','.join(letters)}</answer>"
