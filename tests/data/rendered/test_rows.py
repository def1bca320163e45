"""Rendered pictures on the disk: files, labels and masks are those that were drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fundus_ray.data.importing import read_imported
from fundus_ray.data.questions.measure import read_mask
from fundus_ray.data.rendered.kinds import KINDS, kind_of
from fundus_ray.data.rendered.rows import labelled_phantoms
from fundus_ray.errors import DataError
from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.vocabulary import load_vocabulary

SEEDS = range(0, 6, 2)
KIND = pytest.mark.parametrize("name", list(KINDS))


@KIND
def test_rows_are_what_the_seed_draws(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    rows = labelled_phantoms(tmp_path, kind, seeds=SEEDS, image_px=112, official_split="train")
    for seed, row in zip(SEEDS, rows, strict=True):
        drawn = kind.draw(seed, image_px=112)
        with Image.open(row.image) as image:
            assert np.array_equal(np.asarray(image), drawn.pixels)
        height, width = drawn.pixels.shape[:2]
        assert set(row.masks) == set(row.findings or ()) == set(drawn.masks)
        for finding, mask in drawn.masks.items():
            assert np.array_equal(read_mask(row.masks[finding], width_px=width, height_px=height), mask)
        assert (row.source, row.patient_id, row.official_split) == (kind.source, str(seed), "train")
        assert (row.eye, row.diagnoses, row.dr_grade, row.amd_stage) == (
            drawn.eye,
            drawn.diagnoses,
            drawn.dr_grade,
            drawn.amd_stage,
        )
        assert (row.disc, row.fovea, row.disc_area_px) == (drawn.disc, drawn.fovea, drawn.disc_area_px)


@KIND
def test_findings_have_names_and_conditions_have_records(name: str) -> None:
    kind = KINDS[name]
    ids, records = set(load_vocabulary().findings), load_records()
    assert set(kind.space.lesions) <= ids
    for seed in range(30):
        drawn = kind.draw(seed, image_px=112)
        assert set(drawn.findings) <= ids, seed
        assert set(drawn.diagnoses) <= set(kind.space.conditions)
    for condition in kind.space.conditions:
        assert records.get(condition, kind.modality) is not None, condition


def test_a_second_call_reads_what_the_first_drew(tmp_path: Path) -> None:
    first = labelled_phantoms(tmp_path, KINDS["oct"], seeds=SEEDS, image_px=112)
    drawn_at = first[0].image.stat().st_mtime_ns
    assert labelled_phantoms(tmp_path, KINDS["oct"], seeds=SEEDS, image_px=112) == first
    assert first[0].image.stat().st_mtime_ns == drawn_at


@pytest.mark.parametrize("other", [{"seeds": range(4)}, {"image_px": 120}, {"official_split": "test"}])
def test_a_folder_of_other_pictures_is_refused(other: dict[str, object], tmp_path: Path) -> None:
    asked = {"seeds": SEEDS, "image_px": 112, "official_split": ""}
    labelled_phantoms(tmp_path, KINDS["oct"], **asked)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="holds other pictures"):
        labelled_phantoms(tmp_path, KINDS["oct"], **(asked | other))  # type: ignore[arg-type]


def test_rows_are_in_the_form_of_an_import(tmp_path: Path) -> None:
    rows = labelled_phantoms(tmp_path, KINDS["cfp"], seeds=SEEDS, image_px=112)
    read = list(read_imported(tmp_path / "phantoms-cfp" / ".rows.jsonl"))
    assert tuple(row for row, _ in read) == rows
    assert all(ref.path == str(row.image) and ref.width_px == 112 for row, ref in read)


@pytest.mark.parametrize("image_px", [95, 1025])
def test_a_size_out_of_range_is_refused(image_px: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="96 to 1024 px wide"):
        labelled_phantoms(tmp_path, KINDS["cfp"], seeds=SEEDS, image_px=image_px)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/phantoms-cfp cannot be written"):
        labelled_phantoms(tmp_path / "file", KINDS["cfp"], seeds=SEEDS, image_px=112)


def test_an_unknown_kind_is_named_with_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean uwf"):
        kind_of("uwff")
