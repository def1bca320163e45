"""When a chain concludes what it answers."""

from __future__ import annotations

import pytest

from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reward.conclusion import concludes_abnormality, concludes_lesion, conclusion_agrees, yes_or_no

VOCABULARY = load_vocabulary()
DR, AMD = "diabetic retinopathy", "age-related macular degeneration"


@pytest.mark.parametrize(
    ("conclusion", "answer", "agrees"),
    [
        ("AMD", [AMD], True),
        ("signs of age related macular degeneration", [AMD], True),
        ("glaucoma and diabetic retinopathy", [DR, "glaucoma"], True),
        ("glaucoma", [DR, "glaucoma"], False),
        ("glaucoma, not AMD", ["glaucoma"], True),
        ("Grade 2, moderate", ["grade 2, moderate"], True),
        ("grade 2", ["grade 3"], False),
        ("severe diabetic retinopathy", ["mild diabetic retinopathy"], False),
        (None, ["glaucoma"], False),
        # A place says where, unless it is what was asked.
        ("diabetic retinopathy of the left eye", [DR], True),
        ("diabetic retinopathy at the macula", [DR], True),
        ("glaucoma of the left eye", [DR], False),
        ("the left eye", [DR], False),
        ("left eye", ["left eye"], True),
        ("left eye", ["right eye"], False),
        ("the optic disc and the macula", ["macula"], False),
        ("glaucoma of the left eye", ["left eye"], False),
    ],
)
def test_conclusion_agrees_by_text_or_label(conclusion: str | None, answer: list[str], agrees: bool) -> None:
    assert conclusion_agrees(conclusion, answer=answer, vocabulary=VOCABULARY) is agrees


@pytest.mark.parametrize(
    ("answer", "word"),
    [(["Yes"], "yes"), (["no"], "no"), (["No."], "no"), (["Yes", "No"], None), (["glaucoma"], None)],
)
def test_yes_and_no_are_read_in_any_writing(answer: list[str], word: str | None) -> None:
    assert yes_or_no(answer) == word


@pytest.mark.parametrize(
    ("conclusion", "says"),
    [
        ("Yes", "yes"),
        ("yes, there are drusen", "yes"),
        ("No", "no"),
        ("no drusen", "no"),
        ("drusen are present", "yes"),
        ("large drusen", "yes"),
        ("without drusen", "no"),
        ("drusen absent", "no"),
        ("hard exudates", ""),
        ("unclear", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_a_lesion_is_concluded_by_the_word_or_by_stating_it(conclusion: str | None, says: str) -> None:
    asked = ("drusen", "large_drusen")
    for answer in ("yes", "no"):
        agrees = concludes_lesion(conclusion, answer=answer, asked=asked, vocabulary=VOCABULARY)
        assert agrees is (answer == says)


@pytest.mark.parametrize(
    ("conclusion", "says"),
    [
        ("Yes", "yes"),
        ("No abnormality", "no"),
        ("normal fundus", "no"),
        ("glaucoma", "yes"),
        ("the eye is abnormal", "yes"),
        ("nothing abnormal", "no"),
        ("Nothing in the image is abnormal", "no"),
        ("without abnormality", "no"),
        ("not abnormal", "no"),
        ("the eye is not diseased", "no"),
        ("normal, without abnormality", "no"),
        ("the left eye is normal", "no"),
        ("not normal", "yes"),
        ("the eye isn't normal", "yes"),
        ("abnormal, not normal", "yes"),
        ("not normal, but glaucoma", "yes"),
        ("not diabetic retinopathy", ""),
        ("without age-related macular disease", ""),
        ("abnormality is unlikely", "no"),
        ("the left eye", ""),
        ("unclear", ""),
        (None, ""),
    ],
)
def test_an_abnormality_is_concluded_by_the_word_or_by_a_disease(conclusion: str | None, says: str) -> None:
    for answer in ("yes", "no"):
        assert concludes_abnormality(conclusion, answer=answer, vocabulary=VOCABULARY) is (answer == says)
