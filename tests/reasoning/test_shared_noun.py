"""A modifier that shares the noun of a later finding is read as a finding of its own, and no other word is."""

from __future__ import annotations

import pytest

from fundus_ray.knowledge.matcher import Matcher
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reasoning.shared_noun import with_shared_nouns
from fundus_ray.reasoning.steps import read_chain

VOCABULARY = load_vocabulary()
# A vocabulary that no other file decides.
SMALL = Matcher(
    {
        "hard exudates": "hard",
        "soft exudates": "soft",
        "cotton wool exudates": "soft",
        "subretinal fluid": "under",
        "intraretinal fluid": "within",
        "disc haemorrhages": "disc",
        "retinal haemorrhages": "bleed",
        "disc is pale": "pale",
        "macula is pale": "whitening",
        "no reflex": "dull",
        "bright reflex": "bright",
        "blood in the vitreous": "blood",
        "swollen vitreous": "haze",
    }
)


def read(text: str, *, others: list[tuple[str, int, int]] | None = None) -> list[tuple[str, str]]:
    found = with_shared_nouns(text, list(SMALL.find(text)), SMALL, others=others or [])
    return [(key, text[start:end]) for key, start, end in found]


@pytest.mark.parametrize(
    "joined",
    ["and ", "or ", "nor ", "and/or ", "as well as ", "& ", "but not ", "and no ", "rather than ", "and two ", "AND  "],
)
def test_a_joining_word_shares_the_noun(joined: str) -> None:
    assert read(f"hard {joined}soft exudates") == [("hard", "hard"), ("soft", "soft exudates")]


@pytest.mark.parametrize("joined", ["/", " / "])
def test_a_stroke_shares_the_noun(joined: str) -> None:
    assert read(f"Hard{joined}soft exudates") == [("hard", "Hard"), ("soft", "soft exudates")]


def test_a_modifier_of_several_words_is_taken_whole() -> None:
    assert read("the cotton-wool and hard exudates")[0] == ("soft", "cotton-wool")


def test_commas_stand_between_the_modifiers_of_a_list() -> None:
    text = "hard, cotton wool or retinal haemorrhages"
    assert read(text) == [("bleed", "retinal haemorrhages")]
    assert read("cotton wool, soft and hard exudates") == [
        ("soft", "cotton wool"),
        ("soft", "soft"),
        ("hard", "hard exudates"),
    ]


def test_a_hyphen_may_stand_for_the_noun_and_part_of_its_word() -> None:
    assert read("intra- or subretinal fluid") == [("within", "intra-"), ("under", "subretinal fluid")]


@pytest.mark.parametrize(
    "text",
    [
        "hard soft exudates",  # nothing joins them
        "hard, soft exudates",
        "hard.\nand soft exudates",  # a sentence between
        "hard and\nsoft exudates",
        "firm and soft exudates",  # no known phrase
        "diehard and soft exudates",  # not the whole word
        "hard and very soft exudates",
    ],
)
def test_what_shares_no_noun_is_no_finding(text: str) -> None:
    assert read(text) == [("soft", "soft exudates")]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("macula and disc is pale", "pale"),  # "is pale" is no noun: a clause may deny
        ("bright and no reflex", "dull"),
        ("swollen and blood in the vitreous", "blood"),
        ("new vessels on the disc and retinal haemorrhages", "bleed"),  # a noun of its own
    ],
)
def test_a_clause_or_a_place_is_no_modifier_with_its_noun(text: str, key: str) -> None:
    assert [found for found, _ in read(text)] == [key]


def test_the_same_finding_is_not_added_to_itself() -> None:
    assert read("cotton wool and soft exudates") == [("soft", "soft exudates")]


def test_a_word_of_another_mention_is_no_modifier() -> None:
    text = "optic disc and retinal haemorrhages"
    assert read(text) == [("disc", "disc"), ("bleed", "retinal haemorrhages")]
    assert read(text, others=[("optic disc", 0, 10)]) == [("bleed", "retinal haemorrhages")]
    assert read("hard exudates and soft exudates") == [("hard", "hard exudates"), ("soft", "soft exudates")]


@pytest.mark.parametrize(
    ("text", "asserted", "denied", "hedged"),
    [
        ("{}", 2, 0, 0),
        ("no {}", 0, 2, 0),
        ("{} cannot be excluded", 0, 0, 2),
        ("possible {}", 0, 0, 2),
        ("{}: none", 0, 2, 0),
        ("history of {}", 0, 0, 0),
    ],
)
def test_both_findings_are_meant_alike(text: str, asserted: int, denied: int, hedged: int) -> None:
    reading = read_chain(text.format("intraretinal or subretinal fluid"), VOCABULARY)
    counts = (len(reading.asserted), len(reading.denied), len(reading.hedged))
    assert counts == (asserted, denied, hedged)


def test_both_findings_speak_for_the_label() -> None:
    reading = read_chain("Hard and soft exudates suggest diabetic retinopathy.", VOCABULARY)
    assert {(r.finding, r.label) for r in reading.relations} == {
        ("hard_exudate", "diabetic retinopathy"),
        ("cotton_wool_spot", "diabetic retinopathy"),
    }


@pytest.mark.parametrize("unit", ["hard and soft exudates, ", "hard, ", "hard and ", "x and y soft exudates ", "hard/"])
def test_a_long_text_of_one_kind_is_read(unit: str) -> None:
    # Anything quadratic would take an hour here.
    read_chain(unit * (200_000 // len(unit)) + "soft exudates", VOCABULARY)


def test_a_line_break_before_a_joining_word_is_no_modifier() -> None:
    reading = read_chain("The weather is fine.\n and vitreous haemorrhage", VOCABULARY)
    assert [m.finding for m in reading.asserted] == ["vitreous_haemorrhage"]
