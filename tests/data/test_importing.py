"""An import: what is good is written with its hash, what is not is named and counted."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from PIL import Image
from replica import WIDTH, mask, photo, text

from fundus_ray.data.importing import import_set, read_imported, summary
from fundus_ray.data.labelled import BadRow, Labelled, PublicSet
from fundus_ray.data.registry import SETS
from fundus_ray.errors import DataError
from fundus_ray.types import Modality


def aptos(root: Path, *, images: int = 3) -> Path:
    """A replica of APTOS in which nothing is wrong."""
    text(root / "train.csv", "id_code,diagnosis", *(f"{i:04d},{i % 5}" for i in range(images)))
    for i in range(images):
        photo(root / "train_images" / f"{i:04d}.png", value=i)
    return root


def spoilt(root: Path) -> Path:
    """One good row, a missing image, an unknown code, a corrupt image and the good row again."""
    aptos(root)
    text(root / "train.csv", "id_code,diagnosis", "0000,0", "gone,1", "0001,7", "0002,2", "0000,0")
    whole = (root / "train_images" / "0002.png").read_bytes()
    (root / "train_images" / "0002.png").write_bytes(whole[: len(whole) // 2])
    return root


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_come_back_as_the_reader_gave_them_in_its_order(tmp_path: Path) -> None:
    root = aptos(tmp_path / "in", images=40)
    report = import_set(SETS["aptos2019"], root=root, out=tmp_path / "out", strict=True, threads=3)
    rows = list(read_imported(report.file))
    assert [row for row, _ in rows] == list(SETS["aptos2019"].read(root))
    path = root / "train_images" / "0007.png"
    assert rows[7][1].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (rows[7][1].path, rows[7][1].width_px) == (str(path), WIDTH)


def test_every_field_survives(tmp_path: Path) -> None:
    key, path = "a.png", photo(tmp_path / "a.png")
    row = Labelled(
        "made", key, path, Modality.UWF, "p", eye="L", official_split="val", diagnoses=(), absent=("glaucoma",),
        dr_grade=0, dme_grade=1, amd_stage="late", findings=("drusen",),
        masks={"drusen": mask(tmp_path / "m.png", 255)}, disc=(1.5, 2.0), fovea=(3.0, 4.0), gradable=True,
        annotated=("drusen", "microaneurysm"), mask_values={"drusen": 255}, mask_above=127, disc_area_px=20.0,
    )  # fmt: skip
    plain = Labelled("", "", Path(), Modality.CFP, "")
    assert [field.name for field in fields(Labelled) if getattr(row, field.name) == getattr(plain, field.name)] == []
    report = import_set(made_of(row), root=tmp_path, out=tmp_path / "out", strict=True)
    assert [row for row, _ in read_imported(report.file)] == [row]


def made_of(*rows: Labelled | BadRow) -> PublicSet:
    def read(_: Path) -> Iterator[Labelled | BadRow]:
        yield from rows

    return replace(SETS["aptos2019"], name="made", read=read)


def test_what_a_set_does_not_say_is_not_written(tmp_path: Path) -> None:
    report = import_set(SETS["aptos2019"], root=aptos(tmp_path / "in"), out=tmp_path / "out", strict=True)
    assert list(lines(report.file)[0]) == [
        *("source", "key", "image", "modality", "patient_id", "official_split", "dr_grade"),
        *("sha256", "width_px", "height_px"),
    ]


def test_bad_rows_are_named_counted_and_the_rest_is_imported(tmp_path: Path) -> None:
    report = import_set(SETS["aptos2019"], root=spoilt(tmp_path / "in"), out=tmp_path / "out", strict=False)
    counts = {"missing file": 1, "unknown code": 1, "unreadable image": 1, "second row of an image": 1}
    assert report.left_out == counts
    assert [row.key for row, _ in read_imported(report.file)] == ["train_images/0000.png"]
    named = {str(line["where"]): str(line["why"]) for line in lines(report.left_out_file)}
    assert list(named) == ["train.csv:3", "train.csv:4", "train_images/0002.png", "train_images/0000.png"]
    assert named["train.csv:4"] == "diagnosis is '7'; allowed are 0, 1, 2, 3, 4"
    assert "imported 1 of 5 rows, 1 patients" in summary(report)
    written = json.loads((tmp_path / "out" / "aptos2019.json").read_text())
    assert (written["images"], written["left_out"], written["set"]["licence"]) == (1, counts, "see its page")


def test_strict_stops_at_the_first_bad_row_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"aptos2019: train\.csv:3: train_images/gone\.png does not exist"):
        import_set(SETS["aptos2019"], root=spoilt(tmp_path / "in"), out=tmp_path / "out", strict=True)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_import_leaves_the_earlier_one(tmp_path: Path) -> None:
    report = import_set(SETS["aptos2019"], root=aptos(tmp_path / "in"), out=tmp_path / "out", strict=True)
    before = report.file.read_bytes()
    with pytest.raises(DataError):
        import_set(SETS["aptos2019"], root=spoilt(tmp_path / "in"), out=tmp_path / "out", strict=True)
    assert report.file.read_bytes() == before


def test_ungradable_images_are_left_out_and_stop_nothing(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png")
    row = Labelled("made", "a.png", path, Modality.CFP, "a", gradable=True)
    poor = replace(row, key="b.png", gradable=False)
    report = import_set(made_of(row, poor), root=tmp_path, out=tmp_path / "out", strict=True)
    assert (report.images, report.left_out) == (1, {"ungradable": 1})


def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    small = tmp_path / "m.png"
    Image.new("L", (3, 2), 255).save(small)
    row = Labelled("made", "a.png", tmp_path / "a.png", Modality.CFP, "a", masks={"drusen": small})
    other = Labelled("made", "b.png", tmp_path / "a.png", Modality.CFP, "b")
    report = import_set(made_of(row, other), root=tmp_path, out=tmp_path / "out", strict=False)
    assert report.left_out == {"unusable mask": 1}
    assert "m.png is 3 x 2 px but its image 12 x 8 px" in str(lines(report.left_out_file)[0]["why"])


def test_a_mask_whose_header_states_an_absurd_size_is_left_out(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    huge = mask(tmp_path / "m.png", 255)
    content = bytearray(huge.read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in the first chunk
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    huge.write_bytes(content)
    row = Labelled("made", "a.png", tmp_path / "a.png", Modality.CFP, "a", masks={"drusen": huge})
    other = Labelled("made", "b.png", tmp_path / "a.png", Modality.CFP, "b")
    report = import_set(made_of(row, other), root=tmp_path, out=tmp_path / "out", strict=False)
    assert report.left_out == {"unusable mask": 1}


def test_a_set_of_which_nothing_is_left_is_an_error(tmp_path: Path) -> None:
    text(tmp_path / "train.csv", "id_code,diagnosis", "a,1", "b,1")
    with pytest.raises(DataError, match="no row of aptos2019 can be used: missing file 2"):
        import_set(SETS["aptos2019"], root=tmp_path, out=tmp_path / "out", strict=False)


def test_a_root_that_is_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--root .*nowhere is not a folder; give the top folder of APTOS"):
        import_set(SETS["aptos2019"], root=tmp_path / "nowhere", out=tmp_path / "out", strict=False)


def test_an_out_that_is_a_file_is_named(tmp_path: Path) -> None:
    out = text(tmp_path / "out", "x")
    with pytest.raises(DataError, match=r"--out .*out cannot be made a folder: File exists"):
        import_set(SETS["aptos2019"], root=aptos(tmp_path / "in"), out=out, strict=False)


def test_a_file_that_is_no_import_is_named_by_line(tmp_path: Path) -> None:
    report = import_set(SETS["aptos2019"], root=aptos(tmp_path / "in"), out=tmp_path / "out", strict=True)
    report.file.write_text(report.file.read_text() + '{"image": "x"}\n')
    with pytest.raises(DataError, match=r"aptos2019\.jsonl:4 is not a row of `fundus-ray data import`"):
        list(read_imported(report.file))
