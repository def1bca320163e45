"""OCT2017 and OCTID: the folder is the label."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_rows import kept, left_out
from replica import photo

from fundus_ray.data.public import oct2017, octid
from fundus_ray.errors import DataError


@pytest.mark.parametrize("folder", ["OCT2017", "OCT2017 ", "OCT", "."])
def test_oct2017_has_one_key_in_every_layout(folder: str, tmp_path: Path) -> None:
    photo(tmp_path / folder / "test" / "DME" / "DME-943690-1.jpeg")
    image = kept(oct2017.read(tmp_path))["OCT/test/DME/DME-943690-1.jpeg"]
    assert (image.diagnoses, image.patient_id, image.official_split) == (("diabetic macular oedema",), "943690", "test")


def test_one_patient_of_oct2017_can_be_in_two_classes_and_two_splits(tmp_path: Path) -> None:
    for name in ("train/CNV/CNV-205260-1.jpeg", "test/DRUSEN/DRUSEN-205260-7.jpeg", "val/NORMAL/NORMAL-1-1.jpeg"):
        photo(tmp_path / "OCT2017" / name)
    images = kept(oct2017.read(tmp_path))
    assert [(image.patient_id, image.diagnoses) for image in images.values()] == [
        ("205260", ("choroidal neovascularisation",)),
        ("1", ()),
        ("205260", ("drusen",)),
    ]


def test_a_file_of_oct2017_that_names_no_patient_is_left_out(tmp_path: Path) -> None:
    photo(tmp_path / "train" / "CNV" / "scan.jpeg")
    photo(tmp_path / "train" / "AMD" / "AMD-1-1.jpeg")
    items = oct2017.read(tmp_path)
    assert [(where, kind) for where, kind, _ in left_out(items)] == [
        ("train/AMD", "unknown code"),
        ("train/CNV/scan.jpeg", "unknown name"),
    ]


@pytest.mark.parametrize(
    ("folder", "named", "diagnoses"),
    [
        ("MH", "macular_hole", ("macular hole",)),
        ("macular_hole", "macular_hole", ("macular hole",)),
        ("CSC", "Central_serous_retinopathy", ("central serous chorioretinopathy",)),
        ("NORMAL", "normal", ()),
        ("DR", "DR", ("diabetic retinopathy",)),
        ("AMRD", "AMD", ("age-related macular degeneration",)),
    ],
)
def test_octids_folders_go_by_several_names(
    folder: str, named: str, diagnoses: tuple[str, ...], tmp_path: Path
) -> None:
    photo(tmp_path / folder / "X39.jpeg")
    assert kept(octid.read(tmp_path))[f"{named}/X39.jpeg"].diagnoses == diagnoses


@pytest.mark.parametrize("read", [oct2017.read, octid.read])
def test_a_folder_of_something_else_cannot_be_used(read: object, tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    with pytest.raises(DataError, match=r"no (class )?folder"):
        list(read(tmp_path))  # type: ignore[operator]
