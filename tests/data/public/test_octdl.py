"""OCTDL: disease, stage, patient and eye in a table."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_rows import kept, left_out, table
from replica import photo

from fundus_ray.data.public import octdl
from fundus_ray.errors import DataError


def row(name: str, disease: str, subcategory: str, condition: str, eye: object = 0) -> dict[str, object]:
    return {
        "file_name": name,
        "disease": disease,
        "subcategory": subcategory,
        "condition": condition,
        "patient_id": name.split("_")[1],
        "eye": eye,
        "sex": 0,
        "year": 0,
        "image_width": 882,
        "image_hight": 322,
    }


def octdl_root(root: Path, rows: list[dict[str, object]]) -> Path:
    table(root / "OCTDL_labels.csv", rows)
    for cells in rows:
        photo(root / "OCTDL" / str(cells["disease"]) / f"{cells['file_name']}.jpg")
    return root


def test_the_subcategory_is_a_stage_of_amd_alone(tmp_path: Path) -> None:
    rows = [
        row("amd_1047099_1", "AMD", "intermediate", "MNV_suspected"),
        row("rvo_1770807_1", "RVO", "late", "DRIL"),
        row("no_8617991_2", "NO", "emmetropia", "NO", "OS"),
        row("erm_2166457_1", "ERM", "none", "ERM", "OD"),
    ]
    images = kept(octdl.read(octdl_root(tmp_path, rows)))
    assert {key: (image.diagnoses, image.amd_stage, image.eye) for key, image in images.items()} == {
        "OCTDL/AMD/amd_1047099_1.jpg": (("age-related macular degeneration",), "intermediate", ""),
        "OCTDL/RVO/rvo_1770807_1.jpg": (("retinal vein occlusion",), "none", ""),
        "OCTDL/NO/no_8617991_2.jpg": ((), "none", "L"),
        "OCTDL/ERM/erm_2166457_1.jpg": (("epiretinal membrane",), "none", "R"),
    }
    assert images["OCTDL/AMD/amd_1047099_1.jpg"].patient_id == "1047099"


def test_a_kind_of_interface_disease_is_in_the_subcategory(tmp_path: Path) -> None:
    rows = [row("vid_1_1", "VID", "LH", "MH"), row("vid_2_1", "VID", "VMT", "MH"), row("vid_3_1", "VID", "MH", "MH")]
    images = kept(octdl.read(octdl_root(tmp_path, rows)))
    assert [image.diagnoses for image in images.values()] == [
        ("vitreomacular interface disease", "lamellar macular hole"),
        ("vitreomacular interface disease", "vitreomacular traction"),
        ("vitreomacular interface disease", "macular hole"),
    ]


def test_unknown_codes_and_missing_images_are_left_out(tmp_path: Path) -> None:
    rows = [
        row("amd_1_1", "AMD", "wet", "MNV"),
        row("xyz_1_1", "XYZ", "none", "none"),
        row("dme_1_1", "DME", "none", "ME"),
    ]
    root = octdl_root(tmp_path, rows)
    (root / "OCTDL" / "DME" / "dme_1_1.jpg").unlink()
    assert [(where, kind) for where, kind, _ in left_out(octdl.read(root))] == [
        ("OCTDL_labels.csv:2", "unknown code"),
        ("OCTDL_labels.csv:3", "unknown code"),
        ("OCTDL_labels.csv:4", "missing file"),
    ]


def test_a_table_of_three_columns_is_enough(tmp_path: Path) -> None:
    table(tmp_path / "OCTDL_labels.csv", [{"file_name": "amd_1_1", "disease": "AMD", "patient_id": 1}])
    photo(tmp_path / "AMD" / "amd_1_1.jpg")
    image = kept(octdl.read(tmp_path))["OCTDL/AMD/amd_1_1.jpg"]
    assert (image.amd_stage, image.eye) == (None, "")


def test_without_patients_the_set_cannot_be_used(tmp_path: Path) -> None:
    table(tmp_path / "OCTDL_labels.csv", [{"file_name": "amd_1_1", "disease": "AMD"}])
    photo(tmp_path / "AMD" / "amd_1_1.jpg")
    with pytest.raises(DataError, match="lacks the column patient_id"):
        list(octdl.read(tmp_path))
