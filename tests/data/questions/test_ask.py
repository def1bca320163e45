"""Every answer here was worked out by hand from a drawing of 40 x 40 pixels with the disc's centre at (20, 20)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fundus_ray.data.images import image_ref
from fundus_ray.data.labelled import Labelled, Space
from fundus_ray.data.questions import measure, wording
from fundus_ray.data.questions.ask import questions
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
        annotated=("hard_exudate", "cotton_wool_spot"),
        masks={"hard_exudate": tmp_path / "ex.png"},
        disc=(20, 20),
        fovea=(8, 20),
        disc_area_px=20,
    )


def ask(row: Labelled, seed: int = 0, *, space: Space = SPACE, **more: object) -> dict[str, Sample]:
    made = questions(row, space=space, seed=seed, split="train", **more)  # type: ignore[arg-type]
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
    scan = replace(row, modality=Modality.OCT, findings=None, annotated=())
    made = ask(scan)
    assert not {"L2a", "L2b", "L3b"} & {one.task for one in made.values()}
    assert made["L3c:hard_exudate"].answer == ("No more than 0.01 of the image area",)  # 15 of 1600 px


def test_what_is_not_labelled_is_not_asked(row: Labelled) -> None:
    bare = replace(
        row,
        eye="",
        diagnoses=None,
        dr_grade=None,
        amd_stage=None,
        findings=None,
        annotated=(),
        masks={},
        disc=None,
        fovea=None,
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


def test_a_lesion_that_was_not_looked_for_is_neither_there_nor_absent(row: Labelled) -> None:
    made = ask(replace(row, annotated=("hard_exudate",)))
    assert not any("cotton_wool_spot" in name for name in made)
    assert made["L4c"].looked_for == ("hard_exudate",)


def test_a_lesion_that_is_known_to_be_there_but_not_drawn_is_only_recognised(row: Labelled) -> None:
    made = ask(replace(row, masks={}))
    assert made["L3a:hard_exudate"].answer == ("Yes",)
    assert not {"L3b:hard_exudate", "L3c:hard_exudate"} & set(made)


def test_a_darker_grey_that_the_authors_took_out_is_no_lesion(row: Labelled) -> None:
    pixels = np.array(Image.open(row.masks["hard_exudate"]))
    pixels[30:40, 30:40] = 127
    Image.fromarray(pixels).save(row.masks["hard_exudate"])
    kept = ask(replace(row, mask_above=127))["L3c:hard_exudate"].answer
    assert kept == ("Between 0.5 and 1.0 disc area",)  # 15 of 20 px
    assert ask(row)["L3c:hard_exudate"].answer == ("More than 2.0 disc areas",)  # 115 of 20 px


def test_lesions_that_share_a_mask_are_told_apart_by_their_grey_values(row: Labelled) -> None:
    pixels = np.zeros((40, 40), np.uint8)
    pixels[0:4, 0:4], pixels[0:10, 20:30] = 50, 100
    Image.fromarray(pixels).save(row.masks["hard_exudate"])
    mask = row.masks["hard_exudate"]
    both = replace(
        row,
        findings=("hard_exudate", "cotton_wool_spot"),
        masks={"hard_exudate": mask, "cotton_wool_spot": mask},
        mask_values={"hard_exudate": 50, "cotton_wool_spot": 100},
    )
    made = ask(both)
    assert made["L3c:hard_exudate"].answer == ("Between 0.5 and 1.0 disc area",)  # 16 of 20 px
    assert made["L3c:cotton_wool_spot"].answer == ("More than 2.0 disc areas",)  # 100 of 20 px


def test_a_lesion_in_black_on_white_is_read_by_the_value_0(row: Labelled) -> None:
    pixels = np.full((40, 40), 255, np.uint8)
    pixels[0:5, 0:2] = 0
    Image.fromarray(pixels).save(row.masks["hard_exudate"])
    made = ask(replace(row, mask_values={"hard_exudate": 0}))
    assert made["L3c:hard_exudate"].answer == ("No more than 0.5 disc area",)  # 10 of 20 px


def test_intraretinal_haemorrhages_are_recognised_and_counted(row: Labelled) -> None:
    space = Space(lesions=("dot_blot_haemorrhage",))
    there = replace(row, findings=("dot_blot_haemorrhage",), annotated=(), masks={})
    pixels = np.zeros((40, 40), np.uint8)
    pixels[0, 0:12:2] = 255
    Image.fromarray(pixels).save(row.masks["hard_exudate"])
    drawn = replace(there, masks={"dot_blot_haemorrhage": row.masks["hard_exudate"]})
    made = ask(drawn, space=space)
    assert "Intraretinal hemorrhage" in made["L3a:dot_blot_haemorrhage"].question
    assert made["L3d:dot_blot_haemorrhage"].answer == ("Between 5 and 15",)  # 6


def test_an_image_that_its_set_calls_ungradable_is_asked_nothing(row: Labelled) -> None:
    assert ask(replace(row, gradable=False)) == {}


@pytest.mark.parametrize(
    ("diagnoses", "absent", "answer"),
    [
        (("glaucoma",), (), "Yes"),
        (None, ("glaucoma",), "No"),
        ((), (), "No"),
        (("drusen",), (), None),
        (None, (), None),
    ],
)
def test_a_set_that_tells_one_disease_is_asked_of_that_alone(
    row: Labelled, diagnoses: tuple[str, ...] | None, absent: tuple[str, ...], answer: str | None
) -> None:
    made = ask(replace(row, diagnoses=diagnoses, absent=absent), space=Space(alone=("glaucoma",)))
    asked = made.get("L4a:glaucoma")
    assert (asked.answer[0] if asked else None) == answer
    assert asked is None or ("glaucoma" in asked.question and asked.task == wording.ONE_DISEASE)
    assert not {"L4a", "L4b"} & set(made)


def test_a_kind_of_a_condition_is_that_condition_and_what_is_no_condition_is_another_abnormality(row: Labelled) -> None:
    space = Space(conditions=("glaucoma", "cataract"), kinds={"suspected glaucoma": "glaucoma"}, others=True)
    made = ask(replace(row, diagnoses=("suspected glaucoma", "drusen")), space=space)
    assert set(made["L4b"].answer) == {"glaucoma", wording.OTHER_ABNORMALITY}
    assert set(made["L4b"].options) == {"glaucoma", "cataract", wording.NO_ABNORMALITY, wording.OTHER_ABNORMALITY}


def test_an_image_that_was_decoded_before_is_not_read_again(row: Labelled) -> None:
    ref = image_ref(row.image)
    row.image.unlink()
    assert ask(row, image=ref)["L1a"].image == ref
