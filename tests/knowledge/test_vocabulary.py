"""Findings and labels are read in every writing, and only as whole words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fundus_ray.errors import DataError
from fundus_ray.knowledge.vocabulary import LABELS_FILE, load_vocabulary, read_vocabulary

VOCABULARY = load_vocabulary()
PATHOLOGY = (
    "microaneurysm",
    "dot_blot_haemorrhage",
    "flame_haemorrhage",
    "hard_exudate",
    "cotton_wool_spot",
    "drusen",
    "enlarged_cup",
    "arteriolar_narrowing",
    "venous_tortuosity",
)
PHOTO = ("disc_on_left", "disc_on_right", "disc_in_centre", "macula_in_centre", "arcade_in_centre")


def found(text: str) -> list[str]:
    return [key for key, _, _ in VOCABULARY.finding_matcher.find(text)]


def test_vocabulary_holds_the_phantoms_and_the_photographs_findings() -> None:
    assert tuple(VOCABULARY.findings) == PATHOLOGY + PHOTO


@pytest.mark.parametrize("finding_id", PATHOLOGY + PHOTO)
def test_every_way_to_write_a_finding_reads_as_that_finding(finding_id: str) -> None:
    finding = VOCABULARY.findings[finding_id]
    for phrase in (finding.name, *finding.synonyms):
        assert VOCABULARY.finding_id(phrase) == finding_id
        assert found(f"there are {phrase.upper()}, surely") == [finding_id]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dot-blot hemorrhages", "dot_blot_haemorrhage"),
        ("Dot and Blot Haemorrhages", "dot_blot_haemorrhage"),
        ("dot/blot hemorrhage", "dot_blot_haemorrhage"),
        ("flame-shaped hemorrhages", "flame_haemorrhage"),
        ("cotton-wool spots", "cotton_wool_spot"),
        ("cotton\u2011wool\nspots", "cotton_wool_spot"),
        ("CWS", "cotton_wool_spot"),
        ("MA", "microaneurysm"),
        ("macula in the center", "macula_in_centre"),
        ("nerve fiber layer hemorrhage", "flame_haemorrhage"),
    ],
)
def test_spelling_hyphens_and_abbreviations_do_not_matter(text: str, expected: str) -> None:
    assert found(text) == [expected]


def test_a_finding_inside_a_longer_word_is_not_read() -> None:
    assert found("macromicroaneurysms, drusenoid, MAP, xCWS") == []


def test_the_longest_phrase_wins_and_is_counted_once() -> None:
    text = "enlarged cup-to-disc ratio and optic disc haemorrhage"
    spans = [(key, text[start:end]) for key, start, end in VOCABULARY.finding_matcher.find(text)]
    assert spans == [
        ("enlarged_cup", "enlarged cup-to-disc ratio"),
        ("flame_haemorrhage", "optic disc haemorrhage"),
    ]


def test_letters_that_only_unicode_folds_together_are_no_match_and_no_error() -> None:
    assert found("dru\u017fen, m\u0131croaneurysms") == []


def test_labels_are_read_by_alias() -> None:
    assert VOCABULARY.label("AMD") == "age-related macular degeneration"
    assert VOCABULARY.label("Age related macular degeneration.") == "age-related macular degeneration"
    assert VOCABULARY.label("cataract") is None


def test_hpo_ids_have_hpo_form() -> None:
    ids = [finding.hpo for finding in VOCABULARY.findings.values() if finding.hpo]
    assert "HP:0032416" in ids
    assert all(re.fullmatch(r"HP:\d{7}", hpo) for hpo in ids)
    assert len(set(ids)) == len(ids)


def test_ids_takes_names_and_refuses_unknown_findings() -> None:
    assert VOCABULARY.ids(["CWS", "drusen", "cotton wool spots"]) == ("cotton_wool_spot", "drusen")
    with pytest.raises(DataError, match=r"finding 'ghost vessel' is not in the vocabulary"):
        VOCABULARY.ids(["drusen", "ghost vessel"])


@pytest.mark.parametrize(
    ("yaml_text", "message"),
    [
        ("findings: [{id: a, name: x}, {id: a, name: y}]", "finding a is listed twice"),
        ("findings: [{id: a, name: x}, {id: b, name: X}]", "belongs to both"),
        ("findings: [{id: a, name: x}, {id: b, name: x}]", "belongs to both"),
        ("findings: [{id: a}]", "every finding needs `id` and `name`"),
        ("findings: [{id: a, name: x, colour: red}]", "unknown key 'colour'"),
        ("findings: [{id: a, name: x, hpo: 'HP:1'}]", "HP:0000000"),
        ("findings: [{id: a, name: x, synonyms: [yes]}]", "must be a list of words"),
        ("findings: {a: x}", "must hold `findings:`"),
        ("findings: [", "cannot be read"),
    ],
)
def test_a_broken_file_is_refused_in_one_line_that_names_it(tmp_path: Path, yaml_text: str, message: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(yaml_text)
    with pytest.raises(DataError) as caught:
        read_vocabulary(file, LABELS_FILE)
    assert "broken.yaml" in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
