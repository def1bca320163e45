"""Domain-knowledge records are consistent, and a broken one is refused by file."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_ray.errors import DataError
from fundus_ray.knowledge.records import load_records, read_records
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.types import Modality

RECORDS = load_records()
CFP = Modality.CFP
GOOD = """
record:
  label: glaucoma
  modality: CFP
  required: [enlarged_cup]
  supportive: [flame_haemorrhage]
  contradicting: [microaneurysm]
  rule: A rule.
  sources: [A source]
"""


@pytest.mark.parametrize(
    ("label", "required"),
    [
        ("normal", ()),
        ("diabetic retinopathy", ("microaneurysm",)),
        ("age-related macular degeneration", ("drusen",)),
        ("glaucoma", ("enlarged_cup",)),
        ("hypertensive retinopathy", ("arteriolar_narrowing",)),
        ("retinal vein occlusion", ("venous_tortuosity",)),
        ("right eye", ("disc_on_right",)),
        ("left eye", ("disc_on_left",)),
        ("optic disc", ("disc_in_centre",)),
        ("macula", ("macula_in_centre",)),
        ("vascular arcade", ("arcade_in_centre",)),
    ],
)
def test_each_label_requires_its_key_finding(label: str, required: tuple[str, ...]) -> None:
    record = RECORDS.get(label, CFP)
    assert record is not None
    assert record.required == required
    assert record.sources
    assert record.rule.endswith(".")


def test_every_label_of_the_vocabulary_has_a_record() -> None:
    assert {label for label, _ in RECORDS.by_key} == set(load_vocabulary().labels)


def test_a_disease_contradicts_normal_unless_drusen() -> None:
    normal = RECORDS.get("normal", CFP)
    assert normal is not None
    for label in ("diabetic retinopathy", "glaucoma", "hypertensive retinopathy", "retinal vein occlusion"):
        record = RECORDS.get(label, CFP)
        assert record is not None
        assert set(record.required + record.supportive) <= set(normal.contradicting)
    assert "drusen" not in normal.contradicting


def test_label_is_found_by_alias_in_any_case_and_only_in_its_modality() -> None:
    assert RECORDS.get("rvo", CFP) is RECORDS.get("Retinal Vein Occlusion", CFP)
    assert RECORDS.get("glaucoma", Modality.OCT) is None
    assert RECORDS.get("cataract", CFP) is None


def test_good_record_is_read(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    record = read_records([file], vocabulary=load_vocabulary()).get("POAG", CFP)
    assert record is not None
    assert record.contradicting == ("microaneurysm",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[enlarged_cup]", "[big_cup]", "required: finding 'big_cup' is not in findings.yaml"),
        ("[microaneurysm]", "[enlarged_cup]", "'enlarged_cup' stands under required and under contradicting"),
        ("[enlarged_cup]", "[enlarged_cup, enlarged_cup]", "stands under required and under required"),
        ("label: glaucoma", "label: squint", "label 'squint' is not in labels.yaml"),
        ("modality: CFP", "modality: MRI", "modality 'MRI' is not one of CFP, OCT, UWF"),
        ("sources: [A source]", "sources: []", "at least one source"),
        ("rule: A rule.", "rule:", "rule must be a sentence"),
        ("  rule: A rule.\n", "", "key 'rule' is missing"),
        ("rule: A rule.", "rule: A rule.\n  note: x", "key 'note' is unknown"),
        ("[enlarged_cup]", "enlarged_cup", "required must be a list of words"),
    ],
)
def test_a_broken_record_is_refused_in_one_line_that_names_the_file(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    file = tmp_path / "broken.yaml"
    assert old in GOOD
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(DataError) as caught:
        read_records([file], vocabulary=load_vocabulary())
    assert "broken.yaml" in str(caught.value)
    assert message in str(caught.value)


def test_two_records_of_one_label_and_modality_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for file in files:
        file.write_text(GOOD)
    with pytest.raises(DataError, match=r"two\.yaml: there is another record of 'glaucoma' in CFP"):
        read_records(files, vocabulary=load_vocabulary())
