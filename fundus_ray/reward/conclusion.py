"""Does a chain conclude what it then answers. In: the conclusion's text and the chosen options. Out: yes or no."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from fundus_ray.knowledge.matcher import normalise
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.cues import marks
from fundus_ray.reasoning.polarity import Polarity, polarities
from fundus_ray.reasoning.relations import PLACE_LABELS
from fundus_ray.reasoning.steps import first_sentence, labels_in, read_chain

YES, NO = "yes", "no"
NORMAL = "normal"  # the label of a healthy eye

_AGAINST = (Polarity.DENIED, Polarity.UNLIKELY)
_LIST_JOINT = re.compile(r"[,;/]|\band\b")
_FIRST_WORD = re.compile(r"\W*(\w+)")
_ABNORMAL = re.compile(
    r"(?P<nothing>\bnothing\s+(?:\w+\s+){0,6}?)?\b(?:abnormal|abnormality|abnormalities|diseased|disease)\b",
    re.IGNORECASE,
)


def conclusion_agrees(conclusion: str | None, *, answer: Sequence[str], vocabulary: Vocabulary) -> bool:
    """Whether the conclusion names exactly the chosen options, by their text or by the labels that it does not deny.

    Where no option is a place, neither is what the conclusion names: "glaucoma of the left eye" is glaucoma."""
    if conclusion is None:
        return False
    if _items([conclusion]) == _items(answer):
        return True
    chosen = {vocabulary.label(option) for option in answer}
    named = labels_in(conclusion, vocabulary)
    # An option that is no label stays None here, which no conclusion's labels equal.
    return chosen == (named if chosen & PLACE_LABELS else named - PLACE_LABELS)


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
    """The same for the question whether anything is abnormal: a disease that is not denied is a YES, else what is said
    of "normal", "abnormal" and the like, each denied or not; where these differ, it is neither."""
    if conclusion is None:
        return False
    if (word := _leading_word(conclusion)) is not None:
        return word == answer
    if labels_in(conclusion, vocabulary) - PLACE_LABELS - {NORMAL}:
        return answer == YES
    return _said_of_the_eye(conclusion, vocabulary) == {answer}


def _said_of_the_eye(conclusion: str, vocabulary: Vocabulary) -> set[str]:
    """YES for each word that calls the eye abnormal or denies that it is normal; NO the other way round."""
    labels = list(vocabulary.label_matcher.find(conclusion))
    # "disease" in a label's name says nothing of other diseases.
    words = [
        m for m in _ABNORMAL.finditer(conclusion) if not any(start <= m.end() - 1 < end for _, start, end in labels)
    ]
    spans = [(NO, start, end) for key, start, end in labels if key == NORMAL]
    spans = sorted(spans + [(YES, m.start(), m.end()) for m in words if not m["nothing"]], key=lambda span: span[1])
    denied = [polarity in _AGAINST for polarity in polarities(spans, conclusion, marks(conclusion))]
    said = {{YES: NO, NO: YES}[word] if no else word for (word, _, _), no in zip(spans, denied, strict=True)}
    return said | {NO for m in words if m["nothing"]}


def _leading_word(conclusion: str) -> str | None:
    """The conclusion's first word, where it is yes or no."""
    match = _FIRST_WORD.match(conclusion)
    word = match.group(1).lower() if match else ""
    return word if word in (YES, NO) else None


def _items(texts: Sequence[str]) -> set[str]:
    pieces = (piece for text in texts for piece in _LIST_JOINT.split(first_sentence(text).lower()))
    return {normalise(piece) for piece in pieces if piece.strip()}
