"""The three benchmarks' files, read from replicas in their exact layout."""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from funbench_replica import L1A, L3A, L3B, L4A, Asked, row, write_json, write_replica

from fundus_ray.cli import main
from fundus_ray.errors import DataError
from fundus_ray.evaluate.benchmarks.funbench import meanings, patient_of, read_funbench_root
from fundus_ray.evaluate.benchmarks.gmai import images, read_gmai_root
from fundus_ray.evaluate.benchmarks.omnimedvqa import read_omnimedvqa_root

YES_NO = ("No", "Yes")


def test_funbench_files_come_by_level_task_and_number(tmp_path: Path) -> None:
    names = [L3A.format(10, "Subretinal_Fluid"), L3A.format(2, "Hard_exudate"), L1A, L4A]
    write_replica(tmp_path / "F", tmp_path / "P", {name: [Asked(YES_NO, "Yes", "A")] for name in names})
    (tmp_path / "F" / "README.md").write_text("text")
    write_json(tmp_path / "F" / "my_answers" / "x.json", {})
    found = [file.path for file in read_funbench_root(tmp_path / "F").files]
    assert found == [L1A, L3A.format(2, "Hard_exudate"), L3A.format(10, "Subretinal_Fluid"), L4A]


def test_list_makes_a_question_with_several_right_options_also_where_it_holds_one(tmp_path: Path) -> None:
    one, several = Asked(("x", "y"), "y", ""), Asked(("x", "y"), ["y"], "")
    write_replica(tmp_path / "F", tmp_path / "P", {L3B.format(0, "Haemorrhage"): [one, several]})
    (file,) = read_funbench_root(tmp_path / "F").files
    assert [question.several for question in file.questions] == [False, True]
    assert [question.gold for question in file.questions] == [("y",), ("y",)]


def test_prompts_are_the_files_own_and_a_null_one_is_absent(tmp_path: Path) -> None:
    write_json(
        tmp_path / L4A,
        {"data": {"a.jpg": row(Asked(YES_NO, "No", "")), "b.jpg": {**row(Asked(YES_NO, "No", "")), "E-mode2": "D"}}},
    )
    (file,) = read_funbench_root(tmp_path).files
    assert [set(question.prompts) for question in file.questions] == [{"E-mode3"}, {"E-mode2", "E-mode3"}]
    assert file.questions[0].prompts["E-mode3"] == "The question is: which?\nThe options are: A. No, B. Yes."


def test_yes_and_no_stand_for_the_lesion_of_the_file_or_an_abnormality(tmp_path: Path) -> None:
    asked = [Asked(YES_NO, "Yes", "A")]
    write_replica(tmp_path, tmp_path / "P", {L3A.format(3, "Intraretinal_Fluid"): asked, L4A: asked})
    lesion, condition = (meanings(file.questions[0]) for file in read_funbench_root(tmp_path).files)
    assert lesion == ["No Intraretinal_Fluid", "Intraretinal_fluid"]
    assert condition == ["No abnormality", "Abnormality"]


@pytest.mark.parametrize(
    ("image", "patient"),
    [
        ("TOP/TOP/001805_00.jpg", None),  # people are told apart by a column of its table alone
        ("OIA-ODIR/On-site Test Set/Images/4833_left.jpg", "odir/4833"),
        # The two parts count their people apart.
        ("DeepDRiD/ultra-widefield_images/x/Images/58/58_l2.jpg", "deepdrid ultra-widefield/58"),
        ("DeepDRiD/regular_fundus_images/x/Images/58/58_l2.jpg", "deepdrid/58"),
        ("OCTDL/OCTDL/AMD/amd_2135874_1.jpg", None),  # as in TOP
        ("RETOUCH/pre_processed/oct_imgs/RETOUCH-TrainingSet-Spectralis_TRAIN034_048.png", "retouch/train034"),
        ("Retinal-Lesions/images_896x896/1043_left.jpg", "eyepacs/1043"),
        ("UCSD/OCT2017/test/CNV/CNV-1016042-1.jpeg", "oct2017/1016042"),
        ("MMC-AMD/mmc-amd/ImageData/cfp-448x448/f-w-ICG-5430-l.jpg", "mmc-amd/icg-5430"),
        ("MMC-AMD/mmc-amd/ImageData/oct/o-d-ICG-5430-r_3.jpg", "mmc-amd/icg-5430"),
        ("DDR/DDR-dataset/lesion_segmentation/test/image/007-7111-400.jpg", None),
        ("TOP/other/name.jpg", None),
    ],
)
def test_patient_is_read_from_the_names_that_tell(image: str, patient: str | None) -> None:
    assert patient_of(image) == (patient or image)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"info": {}}, "no key 'data'"),
        ([], "not a task file of FunBench"),
        ({"data": {"a.jpg": {"E-mode3": "x"}}}, "a.jpg: no key 'raw_data'"),
        ({"data": {"a.jpg": "x"}}, "a.jpg: not a row of FunBench"),
        ({"data": {"a.jpg": row(Asked(YES_NO, "Maybe", ""))}}, "a.jpg: right answer ['Maybe'] is not among"),
        ({"data": {"a.jpg": row(Asked(YES_NO, [], ""))}}, "a.jpg: right answer [] is not among the options"),
    ],
)
def test_bad_task_file_is_named(tmp_path: Path, content: Any, message: str) -> None:
    write_json(tmp_path / L4A, content)
    with pytest.raises(DataError) as caught:
        read_funbench_root(tmp_path)
    assert message in str(caught.value)
    assert L4A in str(caught.value)


@pytest.mark.parametrize("folder", ["no/such", "."])
def test_folder_without_task_files_is_named(tmp_path: Path, folder: str) -> None:
    with pytest.raises(DataError, match="give FunBench's folder"):
        read_funbench_root(tmp_path / folder)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (None, "no answers to a task file of funbench"),
        (["A"], "not an object {key: answer}"),
        ({"DDR/0.jpg": 3}, "'DDR/0.jpg': an answer is a text or"),
        ({"DDR/0.jpg": {"answer": "A"}}, "an answer is a text or"),
        ({"DDR/0.jpg": {"answer": "A", "scores": {"Yes": "high"}}}, "scores must be finite numbers"),
    ],
)
def test_bad_stored_answers_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stored: Any, message: str
) -> None:
    write_replica(tmp_path / "F", tmp_path / "P", {L4A: [Asked(YES_NO, "Yes", "A")]})
    (tmp_path / "P" / L4A).unlink()
    if stored is not None:
        write_json(tmp_path / "P" / L4A, stored)
    words = ["--root", tmp_path / "F", "--predictions", tmp_path / "P", "--out", tmp_path / "out"]
    assert main(["evaluate", "--benchmark", "funbench", *map(str, words)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_stored_answers_to_nothing_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_replica(tmp_path / "F", tmp_path / "P", {L4A: [Asked(YES_NO, "Yes", "A")]})
    write_json(tmp_path / "P" / L4A, {"DDR/0.jpg": "B", "DDR/misspelt.jpg": "B"})
    write_json(tmp_path / "P" / "L4-disease" / "L4a.json", {})
    words = ["--root", tmp_path / "F", "--predictions", tmp_path / "P", "--out", tmp_path / "out"]
    assert main(["evaluate", "--benchmark", "funbench", *map(str, words)]) == 0
    told = capsys.readouterr().err
    assert "L4-disease/L4a.json: no task file has this name" in told
    assert f"{L4A}: 1 answers to no question, such as 'DDR/misspelt.jpg'" in told


def omni(n: int, modality: str, gold: str, **other: Any) -> dict[str, Any]:
    return {
        "dataset": "ACRIMA",
        "question_id": f"acrima_{n:04}",
        "question_type": "Disease Diagnosis",
        "question": "Is there glaucoma?",
        "gt_answer": gold,
        "image_path": f"Images/ACRIMA/{n}.png",
        "option_A": "No, It's normal.",
        "option_B": "Glaucoma",
        "modality_type": modality,
        **other,
    }


def test_omnimedvqa_fundus_and_oct_rows_are_scored_by_accuracy(tmp_path: Path) -> None:
    fundus, oct_ = "Fundus Photography", "OCT (Optical Coherence Tomography"
    records = [
        omni(0, fundus, "Glaucoma"),
        omni(1, fundus, "No, It's normal"),  # the full stop is missing in one of the two
        omni(2, oct_, "Drusen", option_C="Drusen", option_D="Oedema", question_type="Lesion Grading"),
        omni(3, "CT(Computed Tomography)", "Glaucoma"),
        omni(4, fundus, "Cataract"),
        omni(0, fundus, "Glaucoma"),
    ]
    odd = omni(5, fundus, "Glaucoma")
    odd["modality"] = odd.pop("modality_type")
    name = "QA_information/Open-access/ACRIMA.json"
    write_json(tmp_path / "O" / name, [*records, odd])
    said = {"acrima_0000": "B", "acrima_0001": "<answer>B</answer>", "acrima_0002": "C. Drusen", "acrima_0005": "b"}
    write_json(tmp_path / "P" / name, said)
    words = ["--root", tmp_path / "O", "--predictions", tmp_path / "P", "--out", tmp_path / "out"]
    assert main(["evaluate", "--benchmark", "omnimedvqa", *map(str, words)]) == 0
    found = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert found["overall"] == 3 / 4
    assert found["levels"] == {fundus: pytest.approx(2 / 3), oct_: 1}
    assert found["tasks"] == {"Disease Diagnosis": pytest.approx(2 / 3), "Lesion Grading": 1}
    assert found["dataset"] == {"ACRIMA": 3 / 4}
    assert found["counts"]["left_out"] == {
        "other modality": 1,
        "gt_answer is no option": 1,
        "question_id is there twice": 1,
    }


def test_choice_is_asked_with_its_letters(tmp_path: Path) -> None:
    record = omni(0, "Fundus Photography", "Glaucoma")
    write_json(tmp_path / "QA_information" / "Open-access" / "x.json", [record])
    (file,) = read_omnimedvqa_root(tmp_path).files
    assert file.questions[0].prompts == {
        "plain": "Is there glaucoma?\nA. No, It's normal.\nB. Glaucoma\n"
        "Answer with the option's letter from the given choices directly."
    }


def test_omnimedvqa_without_wanted_rows_names_the_modalities(tmp_path: Path) -> None:
    write_json(tmp_path / "QA_information" / "Open-access" / "x.json", [omni(0, "X-Ray", "Glaucoma")])
    with pytest.raises(DataError, match=r"there are: 'X-Ray' \(1\); choose some by --modality"):
        read_omnimedvqa_root(tmp_path)
    assert len(read_omnimedvqa_root(tmp_path, modalities=["X-Ray"]).files) == 1


ABOUT = ["category", "clinical VQA task", "department", "perceptual granularity", "modality", "original task"]
GMAI_COLUMNS = ["index", "image", "question", "A", "B", "C", "D", "E", "answer", *ABOUT]


def gmai_row(index: int, image: str, answer: str, modality: str = "Fundus Photography") -> list[str]:
    about = ["Disease Diagnosis", "Ophthalmology", "Image Level", modality, "x"]
    return [str(index), image, 'Which "sign"\tis\nthis?', "drusen", "fluid", "", "", "", answer, "c", *about]


def write_gmai(path: Path, rows: list[list[str]], columns: list[str] = GMAI_COLUMNS) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([columns, *rows])


def test_gmai_rows_are_scored_and_rows_of_one_image_are_one_patient(tmp_path: Path) -> None:
    big = base64.b64encode(bytes(range(256)) * 800).decode()  # past the csv module's usual limit of a field
    other = base64.b64encode(bytes(100)).decode()
    root = tmp_path / "G"
    root.mkdir()
    rows = [gmai_row(7, big, "A"), gmai_row(8, "7", "B"), gmai_row(9, other, "B"), gmai_row(10, big, "A", "MRI")]
    write_gmai(root / "GMAI-MMBench_VAL.tsv", rows)
    (file,) = read_gmai_root(root).files
    assert [question.image.split("#")[1] for question in file.questions] == ["7", "7", "9"]
    assert file.questions[0].patient == file.questions[1].patient != file.questions[2].patient
    write_json(tmp_path / "P" / "GMAI-MMBench_VAL.json", {"7": "A", "8": "A", "9": "B. fluid"})
    words = ["--root", root, "--predictions", tmp_path / "P", "--out", tmp_path / "out"]
    assert main(["evaluate", "--benchmark", "gmai", *map(str, words)]) == 0
    found = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert found["overall"] == pytest.approx(2 / 3)
    assert found["levels"] == {"Image Level": pytest.approx(2 / 3)}
    assert found["tasks"] == {"Disease Diagnosis": pytest.approx(2 / 3)}
    assert found["department"] == {"Ophthalmology": pytest.approx(2 / 3)}
    assert (found["counts"]["patients"], found["counts"]["left_out"]) == (2, {"other modality": 1})


def test_gmai_row_with_the_index_of_another_is_counted_for_one_answer_cannot_be_two(tmp_path: Path) -> None:
    image = base64.b64encode(bytes(100)).decode()
    write_gmai(tmp_path / "a.tsv", [gmai_row(1, image, "A"), gmai_row(1, image, "B"), gmai_row(2, image, "B")])
    benchmark = read_gmai_root(tmp_path)
    assert [question.key for question in benchmark.files[0].questions] == ["1", "2"]
    assert benchmark.left_out == {"index is there twice": 1}


def test_gmai_images_come_out_of_their_base64(tmp_path: Path) -> None:
    content = bytes(range(256))
    rows = [gmai_row(1, base64.b64encode(content).decode(), "A"), gmai_row(2, "1", "A")]
    write_gmai(tmp_path / "a.tsv", rows)
    ((name, found),) = images(tmp_path / "a.tsv")
    assert found == content
    (file,) = read_gmai_root(tmp_path).files
    assert [question.content for question in file.questions] == [name, name]
    write_gmai(tmp_path / "b.tsv", [gmai_row(3, "!" * 100, "A")])
    with pytest.raises(DataError, match="index 3: the image is not base64"):
        list(images(tmp_path / "b.tsv"))


def test_gmai_test_split_has_no_answers_and_is_refused(tmp_path: Path) -> None:
    column = GMAI_COLUMNS.index("answer")
    made = gmai_row(1, "A" * 100, "A")
    write_gmai(
        tmp_path / "TEST.tsv", [made[:column] + made[column + 1 :]], GMAI_COLUMNS[:column] + GMAI_COLUMNS[column + 1 :]
    )
    with pytest.raises(DataError, match="no column 'answer'; the TEST split has no answers, only VAL can be scored"):
        read_gmai_root(tmp_path)


@pytest.mark.parametrize("words", [["--benchmark", "gmai", "--compat"], ["--benchmark", "funbench", "--modality", "x"]])
def test_options_without_effect_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    paths = ["--root", str(tmp_path), "--predictions", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(["evaluate", *words, *paths]) == 2
    assert " is for " in capsys.readouterr().err
