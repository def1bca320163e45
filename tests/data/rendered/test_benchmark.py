"""The benchmark of held-out phantoms: FunBench's files, read and scored as FunBench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fundus_ray.cli import data_phantoms, main
from fundus_ray.data.questions import wording
from fundus_ray.data.rendered import benchmark, descriptions
from fundus_ray.data.rendered.kinds import KINDS
from fundus_ray.data.rendered.sets import WrittenSets, write_sets
from fundus_ray.errors import DataError
from fundus_ray.evaluate.benchmarks.funbench import read_funbench_root

TASKS: dict[str, Any] = {  # FunBench's own names, and its kinds of answers
    "L1a-coarse_modality_perception": str,
    "L1b-fine_modality_perception": str,
    "L2a-od_fovea_positioning": str,
    "L2b-laterality": str,
    "L3a-lesion_recognition": str,
    "L3b-lesion_localization": list,
    "L3c-lesion_size_estimation": str,
    "L3d-lesion_counting": str,
    "L4a-binary_condition_diagnosis": str,
    "L4b-multi_condition_diagnosis": list,
    "L4c-dr_grading": str,
    "L4d-amd_categorization": str,
}
DESCRIBED = ("L2b", "L3a", "L4b", "L4c", "L4d")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> WrittenSets:
    folder = tmp_path_factory.mktemp("phantoms")
    return write_sets(folder, kinds=list(KINDS), train=2, held_out=12, image_px=112, seed=3)


def files(written: WrittenSets) -> dict[str, dict[str, Any]]:
    assert written.benchmark is not None
    return {name: json.loads((written.benchmark / name).read_text()) for name in written.questions}


def task(name: str) -> str:
    return name.split("/")[1].removesuffix(".json")


def test_all_twelve_tasks_are_asked_in_the_benchmarks_files(written: WrittenSets) -> None:
    assert {task(name) for name in written.questions} == set(TASKS)
    lesions = {name.rsplit("/", 1)[1] for name in written.questions if "L3a-" in name}
    assert "L3a5-lesion_recognition-Microaneurysm.json" in lesions
    assert "L3a7-lesion_recognition-Pigment_Epithelial_Detachment.json" in lesions
    assert not any("L3c" in name and "Microaneurysm" in name for name in written.questions)
    assert "L3-lesion_analysis/L3d-lesion_counting/L3d2-lesion_counting-Microaneurysm.json" in written.questions


def test_every_file_has_the_benchmarks_schema(written: WrittenSets) -> None:
    for name, content in files(written).items():
        assert set(content) == {"info", "data"}
        assert content["info"]["number of images"] == len(content["data"]) == written.questions[name]
        for image, row in content["data"].items():
            assert written.benchmark is not None
            assert (written.benchmark / image).is_file()
            assert content["info"]["data source"].count(image.split("/")[0]) == 1
            assert set(row) == {"E-mode2", "E-mode3", "gt", "raw_data"}
            raw = row["raw_data"]
            assert type(raw["gt"]) is TASKS[task(name)]
            gold = raw["gt"] if isinstance(raw["gt"], list) else [raw["gt"]]
            letters = [chr(ord("A") + i) for i, option in enumerate(raw["options"]) if option in gold]
            assert row["gt"] == ",".join(letters)
            assert row["gt"]
            listed = ", ".join(f"{chr(ord('A') + i)}. {option}" for i, option in enumerate(raw["options"]))
            assert row["E-mode3"].endswith(f"\nThe question is: {raw['question']}\nThe options are: {listed}.")


def test_the_second_way_of_asking_adds_one_line_where_the_benchmark_has_it(written: WrittenSets) -> None:
    for name, content in files(written).items():
        for row in content["data"].values():
            if not task(name).startswith(DESCRIBED):
                assert row["E-mode2"] is None
                continue
            lines = row["E-mode2"].split("\n")
            assert lines[1].startswith("Description: the fundus image shows ")
            assert "\n".join([lines[0], *lines[2:]]) == row["E-mode3"]


def test_perfect_answers_score_one_and_letters_of_others_do_not(written: WrittenSets, tmp_path: Path) -> None:
    for folder, answer in (("right", lambda row: row["gt"]), ("first", lambda _: "A")):
        for name, content in files(written).items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({image: answer(row) for image, row in content["data"].items()}))
        words = ["--root", written.benchmark, "--predictions", tmp_path / folder, "--out", tmp_path / f"{folder}-out"]
        assert main(["evaluate", "--benchmark", "funbench", *map(str, words)]) == 0
    right, first = (json.loads((tmp_path / f"{one}-out" / "scores.json").read_text()) for one in ("right", "first"))
    assert right["overall"] == 1
    assert set(right["tasks"]) == set(TASKS)
    assert first["overall"] < 0.6


def test_the_two_halves_share_no_image(written: WrittenSets) -> None:
    assert written.benchmark is not None
    trained = {json.loads(line)["sha256"] for path in written.imports for line in path.read_text().splitlines()}
    held_out = {
        json.loads(line)["sha256"]
        for kind in KINDS.values()
        for line in (written.benchmark / kind.source / ".rows.jsonl").read_text().splitlines()
    }
    assert len(trained) == 2 * len(KINDS)
    assert len(held_out) == 12 * len(KINDS)
    assert not trained & held_out


def test_the_benchmarks_reader_takes_it_and_finds_each_phantom_a_patient_of_its_own(written: WrittenSets) -> None:
    assert written.benchmark is not None
    read = read_funbench_root(written.benchmark)
    assert sum(len(file.questions) for file in read.files) == sum(written.questions.values())
    assert len({question.patient for file in read.files for question in file.questions}) == 12 * len(KINDS)


def test_every_answer_that_is_described_has_phrases() -> None:
    answers = {condition for kind in KINDS.values() for condition in kind.space.conditions}
    answers |= {*wording.DR_GRADES, *wording.AMD_STAGES.values(), wording.NO_ABNORMALITY}
    assert answers <= set(descriptions.LABELS)
    lesions = {lesion for kind in KINDS.values() for lesion in kind.space.lesions if lesion in wording.LESIONS}
    assert {wording.LESIONS[lesion] for lesion in lesions} <= set(descriptions.LOOKS)
    assert {name.replace(" ", "_") for name in wording.LESIONS.values()} <= set(benchmark.LESIONS)


def test_a_description_joins_its_phrases() -> None:
    assert descriptions.of_lesions(["Microaneurysm"]) == (
        "Description: the fundus image shows tiny red dot shaped lesions."
    )
    said = descriptions.of_lesions(["Microaneurysm", "Hard exudate"])
    assert said.endswith("tiny red dot shaped lesions and white or yellowish white deposits with sharp margins.")


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to draw"):
        write_sets(tmp_path, kinds=["cfp"], train=0, held_out=0, image_px=112, seed=0)


@pytest.mark.parametrize("negative", ["train", "held_out", "seed"])
def test_a_negative_number_is_refused(negative: str, tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"train": 1, "held_out": 1, "seed": 0} | {negative: -1}
    with pytest.raises(DataError, match="must be 0 or more"):
        write_sets(tmp_path, kinds=["cfp"], image_px=112, **sizes)


def test_the_command_writes_both_halves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--out", tmp_path / "p", "--kinds", "oct", "--train", "3", "--held-out", "2", "--image-px", "112"]
    assert main(["data", "phantoms", *map(str, words)]) == 0
    out = capsys.readouterr().out
    assert "phantoms-oct.jsonl: 3 images to train on" in out
    assert "task files" in out
    assert len((tmp_path / "p" / "phantoms-oct.jsonl").read_text().splitlines()) == 3


def test_sorted_options_keep_their_letters_and_their_answers(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"train": 0, "held_out": 4, "image_px": 112, "seed": 3}
    given = files(write_sets(tmp_path / "given", kinds=["cfp"], **sizes))
    ordered = files(write_sets(tmp_path / "sorted", kinds=["cfp"], option_order="sorted", **sizes))
    assert given.keys() == ordered.keys()
    for name, file in ordered.items():
        for key, record in file["data"].items():
            raw, before = record["raw_data"], given[name]["data"][key]["raw_data"]
            assert raw["options"] == sorted(before["options"])
            right = [raw["options"]["ABCDEFGHIJ".index(letter)] for letter in record["gt"].split(",")]
            assert set(right) == ({before["gt"]} if isinstance(before["gt"], str) else set(before["gt"]))


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_contact_sheet_of_each_kind_shows_every_grade(kind: str, tmp_path: Path) -> None:
    from PIL import Image

    out = tmp_path / "sheet.png"
    assert main(["data", "sheet", "--modality", kind, "--columns", "1", "--masks", "--out", str(out)]) == 0
    with Image.open(out) as sheet:
        assert sheet.height > 7 * sheet.width / 2


def test_outlines_need_a_modality(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "sheet", "--masks", "--out", str(tmp_path / "x.png")]) != 0
    assert "--masks needs --modality" in capsys.readouterr().err


def test_the_command_line_knows_every_kind() -> None:
    assert list(KINDS) == list(data_phantoms.KINDS)
