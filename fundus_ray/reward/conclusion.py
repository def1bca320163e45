"""Does a chain conclude what it then answers. In: the conclusion's text and the chosen options. Out: yes or no."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from fundus_ray.knowledge.matcher import normalise
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.steps import first_sentence, labels_in, read_chain

YES, NO = "yes", "no"
NORMAL = "normal"  # the label of a healthy eye

_LIST_JOINT = re.compile(r"[,;/]|\band\b")
_FIRST_WORD = re.compile(r"\W*(\w+)")
_ABNORMAL = re.compile(r"\b(?:abnormal|abnormality|diseased|disease)\b", re.IGNORECASE)


def conclusion_agrees(conclusion: str | None, *, answer: Sequence[str], vocabulary: Vocabulary) -> bool:
    """Whether the conclusion names exactly the chosen options, by their text or by the labels that it does not deny."""
    if conclusion is None:
        return False
    if _items([conclusion]) == _items(answer):
        return True
    # An option that is no label stays None here, which no conclusion's labels equal.
    return labels_in(conclusion, vocabulary) == {vocabulary.label(option) for option in answer}


def yes_or_no(answer: Sequence[str]) -> str | None:
    """YES or NO where that is the whole answer."""
    text = normalise(answer[0]).rstrip(".") if len(answer) == 1 else ""
    return text if text in (YES, NO) else None


def concludes_lesion(conclusion: str | None, *, answer: str, asked: Collection[str], vocabulary: Vocabulary) -> bool:
    """Whether the conclusion of a Yes/No question about a lesion is `answer`: by the word itself, else by asserting the
    lesion (YES) or denying it (NO). `asked`: the finding ids that are the lesion."""
    if conclusion is None:
        return False
    if (word := _leading_word(conclusion)) is not None:
        return word == answer
    reading = read_chain(conclusion, vocabulary)
    said = reading.findings if answer == YES else tuple(m.finding for m in reading.denied)
    return any(finding in asked for finding in said)


def concludes_abnormality(conclusion: str | None, *, answer: str, vocabulary: Vocabulary) -> bool:
    """The same for the question whether anything is abnormal: a label other than normal is a YES."""
    if conclusion is None:
        return False
    if (word := _leading_word(conclusion)) is not None:
        return word == answer
    labels = labels_in(conclusion, vocabulary)
    if labels:
        return answer == (NO if labels == {NORMAL} else YES)
    return answer == YES and _ABNORMAL.search(conclusion) is not None


def _leading_word(conclusion: str) -> str | None:
    """The conclusion's first word, where it is yes or no."""
    match = _FIRST_WORD.match(conclusion)
    word = match.group(1).lower() if match else ""
    return word if word in (YES, NO) else None


def _items(texts: Sequence[str]) -> set[str]:
    pieces = (piece for text in texts for piece in _LIST_JOINT.split(first_sentence(text).lower()))
    return {normalise(piece) for piece in pieces if piece.strip()}
