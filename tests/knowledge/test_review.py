"""A drafted record counts only once a person has said so."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fundus_ray.errors import DataError
from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.review import accept, reject
from fundus_ray.types import Modality

RECORD = {
    "label": "radiation retinopathy of the moon",
    "sources": ["An atlas"],
    "modalities": {
        "CFP": {"required": ["microaneurysm"], "supportive": [], "contradicting": [], "rule": "Vessels leak."},
    },
}


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    file = tmp_path / "drafts" / "moon_cfp.yaml"
    file.parent.mkdir()
    file.write_text(yaml.safe_dump({"record": RECORD, "draft": {"model": "llm", "look_at": []}}))
    return file


def test_an_accepted_draft_becomes_a_record_that_says_who_and_when(draft: Path, tmp_path: Path) -> None:
    target = accept(draft, by=" A. Name ", on="2031-02-03", into=tmp_path / "records")
    assert not draft.exists()
    assert list(target.parent.iterdir()) == [target]
    record = load_records(target.parent).get("Radiation retinopathy of the moon", Modality.CFP)
    assert record is not None
    assert (record.required, record.accepted) == (("microaneurysm",), ("A. Name", "2031-02-03"))


def test_a_draft_that_is_no_whole_record_stays_a_draft(draft: Path, tmp_path: Path) -> None:
    broken = {**RECORD, "modalities": {"CFP": {**RECORD["modalities"]["CFP"], "required": ["purple rings"]}}}  # type: ignore[index]
    draft.write_text(yaml.safe_dump({"record": broken, "draft": {}}))
    with pytest.raises(DataError, match="purple rings"):
        accept(draft, by="A. Name", on="2031-02-03", into=tmp_path / "records")
    assert draft.exists()
    assert list((tmp_path / "records").iterdir()) == []


def test_a_record_of_the_same_name_is_not_overwritten(draft: Path, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / draft.name).write_text("mine")
    with pytest.raises(DataError, match="exists; move it away"):
        accept(draft, by="A. Name", on="2031-02-03", into=tmp_path / "records")
    assert (tmp_path / "records" / draft.name).read_text() == "mine"


def test_a_rejected_draft_is_kept_with_the_reason_and_read_by_nothing(draft: Path) -> None:
    target = reject(draft, by="A. Name", on="2031-02-03", why="no source says so")
    assert not draft.exists()
    assert yaml.safe_load(target.read_text())["rejected"] == {
        "by": "A. Name",
        "on": "2031-02-03",
        "why": "no source says so",
    }
    assert load_records(draft.parent).by_key == load_records().by_key


@pytest.mark.parametrize(("by", "why"), [("", "x"), (" ", "x"), ("A", " ")])
def test_nobody_and_no_reason_are_refused(draft: Path, by: str, why: str) -> None:
    with pytest.raises(DataError, match="must name the person"):
        reject(draft, by=by, on="2031-02-03", why=why)
    assert draft.exists()


@pytest.mark.parametrize("text", ["record: 3", "draft: {}", "[", "record: {}\n"])
def test_a_file_that_is_no_draft_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(DataError, match=r"x\.yaml"):
        reject(file, by="A", on="2031-02-03", why="x")
