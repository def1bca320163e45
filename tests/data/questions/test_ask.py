"""Every answer here was worked out by hand from a drawing of 40 x 40 pixels with the disc's centre at (20, 20)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fundus_ray.data.labelled import Labelled
from fundus_ray.data.questions import measure, wording
from fundus_ray.data.questions.ask import Space, questions
from fundus_ray.errors import DataError
from fundus_ray.types import Modality, Sample

SPACE = Space(
    conditions=("glaucoma", "diabetic retinopathy", "macular hole", "cataract", "drusen", "retinitis"),
    lesions=("hard_exudate", "cotton_wool_spot"),
)


@pytest.fixture
def row(tmp_path: Path) -> Labelled:
    """A right eye; exudates of 3 x 3 px above, and of 2 x 3 px left of the disc; a disc of 20 px; no soft exudate."""
    mask = np.zeros((40, 40), np.uint8)
    mask[2:5, 19:22] = 255
    mask[19:21, 3:6] = 255
    Image.fromarray(mask).save(tmp_path / "ex.png")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "eye.png")
    return Labelled(
        source="made",
        key="eye.png",
        image=tmp_path / "eye.png",
        modality=Modality.CFP,
        patient_id="p1",
        eye="R",
        diagnoses=("diabetic retinopathy",),
        dr_grade=2,
        amd_stage="none",
        findings=("hard_exudate",),
        masks={"hard_exudate": tmp_path / "ex.png"},
        disc=(20, 20),
        fovea=(8, 20),
        disc_area_px=20,
    )


def ask(row: Labelled, seed: int = 0, **more: object) -> dict[str, Sample]:
    made = questions(row, space=SPACE, seed=seed, split="train", **more)  # type: ignore[arg-type]
    return {one.id.removeprefix("made:eye.png:"): one for one in made}


def test_all_twelve_tasks_are_asked_of_a_fully_labelled_image(row: Labelled) -> None:
    assert {one.task for one in ask(row).values()} == set(wording.TASKS)


def test_answers_are_those_worked_out_by_hand(row: Labelled) -> None:
    answers = {name: set(one.answer) for name, one in ask(row).items()}
    assert answers["L1a"] == {"Fundus image"}
    assert answers["L1b"] == {"Color fundus photography"}
    assert answers["L2b"] == {"Right eye"}
    assert answers["L3a:hard_exudate"] == {"Yes"}
    assert answers["L3a:cotton_wool_spot"] == {"No"}
    assert answers["L3b:hard_exudate"] == {
        "Temporal side of the optic disc center",
        "Superior side of the optic disc center",
    }
    assert answers["L3b:cotton_wool_spot"] == {"Not observed in the image"}
    assert answers["L3c:hard_exudate"] == {"Between 0.5 and 1.0 disc area"}  # 15 of 20 px
    assert answers["L3d:cotton_wool_spot"] == {"Not observed in the image"}
    assert answers["L4a"] == {"Yes"}
    assert answers["L4b"] == {"diabetic retinopathy"}
    assert answers["L4c"] == {"Moderate nonproliferative diabetic retinopathy"}
    assert answers["L4d"] == {"No any age-related macular degeneration"}


@pytest.mark.parametrize("seed", range(8))
def test_the_disc_of_a_right_eye_is_the_answer_on_the_right(row: Labelled, seed: int) -> None:
    for eye in (row, replace(row, disc=None, fovea=None)):  # from positions, and from the eye alone
        one = ask(eye, seed)["L2a"]
        assert one.answer == (("Optic disc",) if " right" in one.question else ("Fovea",))


def test_in_a_left_eye_the_left_of_the_picture_is_nasal(row: Labelled) -> None:
    assert "Nasal side of the optic disc center" in ask(replace(row, eye="L"))["L3b:hard_exudate"].answer


def test_the_seed_alone_decides_wording_and_options(row: Labelled) -> None:
    assert ask(row, 1) == ask(row, 1)
    assert len({ask(row, seed)["L4b"].options for seed in range(10)}) > 1
    assert ask(row, 1)["L4c"] == ask(row, 1, tasks=("L4c",))["L4c"]


def test_conditions_have_five_options_and_bins_keep_their_order(row: Labelled) -> None:
    made = ask(row)
    assert len(made["L4b"].options) == 5
    assert made["L3c:hard_exudate"].options == (wording.ABSENT, *wording.DISC_AREA_BINS)


def test_open_questions_have_no_options_but_the_same_answers(row: Labelled) -> None:
    made, opened = ask(row), ask(row, closed=False)
    assert all(one.options == () for one in opened.values())
    assert {name: one.answer for name, one in made.items()} == {name: one.answer for name, one in opened.items()}


def test_a_normal_image_has_no_abnormality(row: Labelled) -> None:
    made = ask(replace(row, diagnoses=()))
    assert made["L4a"].answer == ("No",)
    assert made["L4b"].answer == ("No abnormality",)


def test_a_scan_is_asked_of_no_disc_and_sized_in_image_area(row: Labelled) -> None:
    scan = replace(row, modality=Modality.OCT, findings=None)
    made = ask(scan)
    assert not {"L2a", "L2b", "L3b"} & {one.task for one in made.values()}
    assert made["L3c:hard_exudate"].answer == ("No more than 0.01 of the image area",)  # 15 of 1600 px


def test_what_is_not_labelled_is_not_asked(row: Labelled) -> None:
    bare = replace(
        row, eye="", diagnoses=None, dr_grade=None, amd_stage=None, findings=None, masks={}, disc=None, fovea=None
    )
    assert set(ask(bare)) == {"L1a", "L1b"}


def test_bad_labels_are_named(row: Labelled, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="DR grade 5 is not in 0-4"):
        ask(replace(row, dr_grade=5))
    with pytest.raises(DataError, match="AMD stage 'wet'"):
        ask(replace(row, amd_stage="wet"))
    with pytest.raises(DataError, match="uveitis is not among the conditions"):
        ask(replace(row, diagnoses=("uveitis",)))
    with pytest.raises(DataError, match="not so labelled"):
        ask(replace(row, findings=()))
    Image.fromarray(np.zeros((40, 41), np.uint8)).save(tmp_path / "ex.png")
    with pytest.raises(DataError, match="41 x 40 px but its image 40 x 40 px"):
        ask(row)
    with pytest.raises(ValueError, match="unknown tasks L9"):
        ask(row, tasks=("L9",))


def test_pixels_that_touch_at_a_corner_are_one_lesion() -> None:
    assert measure.count(np.array([[1, 0, 0, 0], [0, 1, 0, 1]], bool)) == 2


@pytest.mark.parametrize(("value", "where"), [(1, 0), (5, 0), (6, 1), (35, 3), (36, 4)])
def test_an_edge_belongs_to_the_bin_below(value: int, where: int) -> None:
    assert measure.bin_of(value, wording.COUNT_EDGES) == where
