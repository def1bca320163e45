"""Records decide, then what passages relate themselves; the passage that says so is kept."""

from __future__ import annotations

import dataclasses

import pytest

from fundus_ray.knowledge.records import load_records
from fundus_ray.reward.checkers.checker import Claim, sentence
from fundus_ray.reward.checkers.record import BY_PASSAGE, BY_RECORD, RecordChecker
from fundus_ray.types import Evidence, Modality, Verdict

RECORDS = load_records()
S, C, N = Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.NOT_FOUND
DR, AMD = "diabetic retinopathy", "age-related macular degeneration"


def passage(text: str, *, name: str = "p#0", title: str = "") -> Evidence:
    return Evidence(name, title, "", text, "test", "", "", score=1.0, rank=1, query="")


def claim(finding: str, label: str, *passages: Evidence, supports: bool = True) -> Claim:
    return Claim(finding, label, supports, Modality.CFP, passages)


@pytest.mark.parametrize(
    ("finding", "label", "supports", "verdict"),
    [
        ("microaneurysm", DR, True, S),  # required
        ("hard_exudate", DR, True, S),  # supportive
        ("enlarged_cup", DR, True, C),  # contradicting
        ("enlarged_cup", DR, False, S),
        ("microaneurysm", DR, False, C),
        ("drusen", DR, True, N),  # in no list
        ("microaneurysm", "a label without a record", True, N),
    ],
)
async def test_the_record_decides_what_it_lists(finding: str, label: str, supports: bool, verdict: Verdict) -> None:
    (found,) = await RecordChecker(RECORDS).check([claim(finding, label, supports=supports)])
    assert found.verdict is verdict
    assert found.passage is None


async def test_the_record_is_that_of_the_modality() -> None:
    on_oct = Claim("drusen", DR, True, Modality.OCT, ())
    (found,) = await RecordChecker(RECORDS).check([on_oct])
    assert found.verdict is C
    assert found.why == "the record of diabetic retinopathy (OCT) lists it as contradicting"


async def test_any_finding_of_a_group_speaks_for_the_label() -> None:
    severe = "severe nonproliferative diabetic retinopathy"
    for finding in ("severe_haemorrhages", "venous_beading", "irma"):
        for supports, verdict in ((True, S), (False, C)):
            (found,) = await RecordChecker(RECORDS).check([claim(finding, severe, supports=supports)])
            assert found.verdict is verdict
            assert found.why == f"the record of {severe} (CFP) lists it as one of a group of which any is required"


async def test_the_first_passage_that_states_both_is_cited() -> None:
    passages = (
        passage("Diabetic retinopathy threatens sight.", name="a#0"),
        passage("Microaneurysms are the first sign.", name="b#0", title="Diabetic retinopathy"),
        passage("Microaneurysms mark diabetic retinopathy.", name="c#0"),
    )
    (found,) = await RecordChecker(RECORDS).check([claim("microaneurysm", DR, *passages)])
    assert (found.verdict, found.confidence) == (S, BY_RECORD)
    assert found.passage == passages[1]


@pytest.mark.parametrize("finding", ["microaneurysm", "drusen"])  # the record decides, and a passage does
async def test_a_passage_on_another_modality_is_cited_only_where_there_is_no_other(finding: str) -> None:
    text = {"microaneurysm": "Microaneurysms", "drusen": "Drusen"}[finding] + " are typical of diabetic retinopathy."
    wide, scan, photograph, plain = (
        dataclasses.replace(passage(text, name=f"{i}#0"), section=section)
        for i, section in enumerate(
            ("Signs on ultra-wide-field images", "OCT", "Dry form on photographs and OCT", "Meaning")
        )
    )
    for passages, cited in (
        ((wide, scan, photograph, plain), photograph),
        ((wide, plain, photograph), plain),
        ((wide, scan), wide),
    ):
        (found,) = await RecordChecker(RECORDS).check([claim(finding, DR, *passages)])
        assert (found.verdict, found.passage) == (S, cited)


async def test_that_a_passage_names_both_is_no_relation() -> None:
    apart = passage("Unlike in diabetic retinopathy, patients with drusen are old.", title="Drusen")
    (found,) = await RecordChecker(RECORDS).check([claim("drusen", DR, apart)])
    assert found.verdict is N
    assert found.why == "no record or passage relates it to diabetic retinopathy"


async def test_where_the_record_is_silent_a_passage_that_relates_them_decides() -> None:
    related = passage("Drusen are typical of diabetic retinopathy.", name="d#0")
    for supports, verdict in ((True, S), (False, C)):
        (found,) = await RecordChecker(RECORDS).check([claim("drusen", DR, related, supports=supports)])
        assert (found.verdict, found.confidence, found.passage) == (verdict, BY_PASSAGE, related)


async def test_many_claims_are_answered_in_their_order() -> None:
    found = await RecordChecker(RECORDS).check([claim("enlarged_cup", DR), claim("microaneurysm", DR)])
    assert [f.verdict for f in found] == [C, S]
    assert await RecordChecker(RECORDS).check([]) == []


@pytest.mark.parametrize(
    ("finding", "supports", "text"),
    [
        ("drusen", True, f"Drusen are a sign of {AMD}."),
        ("enlarged_cup", False, f"Enlarged optic cup speaks against {AMD}."),
        ("hard_exudate", False, f"Hard exudates speak against {AMD}."),
    ],
)
def test_a_relation_is_put_into_a_sentence(finding: str, supports: bool, text: str) -> None:
    assert sentence(finding, AMD, RECORDS.vocabulary, supports=supports) == text
