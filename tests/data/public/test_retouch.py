"""RETOUCH: slices, with three fluids in one mask."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_rows import kept, left_out
from replica import mask, photo

from fundus_ray.data.public import retouch
from fundus_ray.errors import DataError

NAME = "RETOUCH-TrainingSet-Spectralis_TRAIN034_048.png"


def slice_of(root: Path, name: str, *values: int) -> Path:
    photo(root / "pre_processed" / "oct_imgs" / name)
    return mask(root / "pre_processed" / "oct_masks" / name, *values)


def test_a_mask_holds_each_fluid_by_its_own_value(tmp_path: Path) -> None:
    drawn = slice_of(tmp_path, NAME, 50, 150)
    image = kept(retouch.read(tmp_path))[f"pre_processed/oct_imgs/{NAME}"]
    assert image.findings == ("intraretinal_fluid", "pigment_epithelial_detachment")
    assert image.masks == {"intraretinal_fluid": drawn, "pigment_epithelial_detachment": drawn}
    assert image.mask_values == {"intraretinal_fluid": 50, "pigment_epithelial_detachment": 150}
    assert (image.patient_id, image.official_split, image.diagnoses) == ("TRAIN034", "train", None)


def test_a_slice_without_fluid_is_annotated_and_one_of_the_test_set_is_not(tmp_path: Path) -> None:
    slice_of(tmp_path, NAME)
    photo(tmp_path / "pre_processed" / "oct_imgs" / "RETOUCH-TestSet-Topcon_TEST029_000.png")
    trained, tested = kept(retouch.read(tmp_path)).values()
    if trained.official_split != "train":
        trained, tested = tested, trained
    assert (trained.findings, trained.annotated) == ((), tuple(retouch.FLUIDS))
    assert (tested.findings, tested.annotated, tested.patient_id) == (None, (), "TEST029")


def test_a_training_slice_whose_mask_is_missing_is_left_out(tmp_path: Path) -> None:
    slice_of(tmp_path, NAME).unlink()
    ((where, kind, why),) = left_out(retouch.read(tmp_path))
    assert (where, kind) == (f"pre_processed/oct_imgs/{NAME}", "missing file")
    assert why.startswith(f"pre_processed/oct_masks/{NAME} does not exist")


def test_masks_of_other_values_and_other_names_are_left_out(tmp_path: Path) -> None:
    slice_of(tmp_path, NAME, 1, 2)
    photo(tmp_path / "pre_processed" / "oct_imgs" / "scan.png")
    ((where, kind, why), other) = left_out(retouch.read(tmp_path))
    assert (where, kind) == (f"pre_processed/oct_imgs/{NAME}", "unknown code")
    assert why.endswith("holds the value 1; allowed are 0, 50, 100, 150")
    assert other[:2] == ("pre_processed/oct_imgs/scan.png", "unknown name")


def test_volumes_that_were_not_cut_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"slices that FunBench's process_retouch\.py cuts"):
        list(retouch.read(tmp_path))
