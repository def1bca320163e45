"""FunBench scored from stored answers, through the command line; expected numbers worked out by hand."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import pytest
from funbench_replica import L1A, L1B, L2A, L2B, L3A, L3B, L3C, L3D, L4A, L4B, L4C, L4D, Asked, write_replica

from fundus_ray.cli import main
from fundus_ray.knowledge.embedding import model_folder

COARSE = ("Painting", "Fundus image", "Natural image", "Whole-slide image")
FINE = ("Color fundus photography", "Optical coherence tomography", "Ultra-wide field fundus photography", "X-ray")
PLACE = ("Optic disc", "Fovea")
SIDE = ("Right eye", "Left eye")
YES_NO = ("Yes", "No")
NONE = "Not observed in the image"
QUADRANTS = tuple(f"{side} side of the optic disc center" for side in ("Temporal", "Nasal", "Superior", "Inferior"))
SIZES = (NONE, "<=0.01", "0.01-0.02", "0.02-0.03", "0.03-0.04", ">0.04")
COUNTS = (NONE, "<=5", "5-15", "15-25", "25-35", ">35")
DR, GLAUCOMA, RVO, NORMAL = "Diabetic retinopathy", "Glaucoma", "Retinal vein occlusion", "No abnormality"
SEVERITIES = ("Mild nonproliferative", "Moderate nonproliferative", "Severe nonproliferative", "Proliferative")
GRADES = tuple(f"{severity} diabetic retinopathy" for severity in ("No any", *SEVERITIES))
STAGES = tuple(f"{stage} age-related macular degeneration" for stage in ("No any", "Early", "Intermediate", "Late"))


def asked(options: tuple[str, ...], *pairs: tuple[str, str]) -> list[Asked]:
    """(right option, answered text) pairs over the same options."""
    return [Asked(options, gold, said) for gold, said in pairs]


# One label: sensitivity, 2 of 3.
COARSE_MODALITY = asked(COARSE, ("Fundus image", "B"), ("Fundus image", "B."), ("Fundus image", "A"))
# CFP: sens 1/2, spec 2/2 -> 2/3. OCT: sens 1, spec 2/3 -> 4/5. UWF: 1.
FINE_MODALITY = asked(FINE, (FINE[0], "A"), (FINE[0], "B"), (FINE[1], "B"), (FINE[2], "C"))
# First of the sorted labels is Fovea: sens 1/2, spec 2/3 -> 4/7.
POSITION = asked(PLACE, ("Fovea", "B"), ("Fovea", "A"), ("Optic disc", "A"), ("Optic disc", "A"), ("Optic disc", "B"))
# Left eye: sens 2/3, spec 1 -> 4/5.
LATERALITY = asked(SIDE, ("Left eye", "B"), ("Left eye", "the left eye"), ("Left eye", "A"), ("Right eye", "Right eye"))
# Yes: sens 1/2, spec 1 -> 2/3.
HAEMORRHAGE = asked(YES_NO, ("Yes", "Yes"), ("Yes", "B"), ("No", "No"), ("No", "B"))
EXUDATE = asked(YES_NO, ("Yes", "A"), ("No", "B"))  # 1
# Temporal 1; Superior: sens 0, spec 1 -> 0; not observed 1. Nasal and Inferior are right for no question: no labels.
LOCALISATION = [
    Asked((*QUADRANTS, NONE), [QUADRANTS[0], QUADRANTS[2]], "A"),
    Asked((NONE, *QUADRANTS), [NONE], "A"),
]
# <=0.01: sens 1, spec 1/2 -> 2/3. 0.01-0.02: 1. Not observed: 0.
SIZE = asked(SIZES, ("<=0.01", "B"), ("0.01-0.02", "C"), (NONE, "B"))
COUNT = asked(COUNTS, ("<=5", "B"), ("5-15", "B"), ("15-25", "B"))  # one answer to everything: 0
# Yes: sens 2/3, spec 1/2 -> 4/7.
ABNORMAL = asked(YES_NO, ("Yes", "A"), ("Yes", "A"), ("Yes", "B"), ("No", "B"), ("No", "A"))
# DR is offered twice: sens 1/1, spec 0/1 -> 0 (over all three it would be 1/2). Glaucoma 1, normal 1.
CONDITIONS = [
    Asked((DR, GLAUCOMA, RVO), [DR], "A"),
    Asked((DR, GLAUCOMA, NORMAL), [GLAUCOMA], "A,B"),
    Asked((GLAUCOMA, RVO, NORMAL), [NORMAL], "C. No abnormality"),
]
# Severe: sens 1, spec 3/4 -> 6/7. Proliferative: sens 0 -> 0. The other three 1.
DR_GRADE = asked(GRADES, *zip(GRADES, "ABCDD", strict=True))
# Early: sens 1, spec 2/3 -> 4/5. No any: 0. The others 1.
AMD_STAGE = asked(STAGES, (STAGES[1], "B"), (STAGES[3], "D"), (STAGES[2], "C"), (STAGES[0], "B"))

TASKS = {
    L1A: COARSE_MODALITY,
    L1B: FINE_MODALITY,
    L2A: POSITION,
    L2B: LATERALITY,
    L3A.format(1, "Haemorrhage"): HAEMORRHAGE,
    L3A.format(2, "Hard_exudate"): EXUDATE,
    L3B.format(5, "Microaneurysm"): LOCALISATION,
    L3C.format(3, "Intraretinal_Fluid"): SIZE,
    L3D.format(2, "Microaneurysm"): COUNT,
    L4A: ABNORMAL,
    L4B: CONDITIONS,
    L4C: DR_GRADE,
    L4D: AMD_STAGE,
}
EXPECTED = {
    "L1a-coarse_modality_perception": F(2, 3),
    "L1b-fine_modality_perception": F(37, 45),
    "L2a-od_fovea_positioning": F(4, 7),
    "L2b-laterality": F(4, 5),
    "L3a-lesion_recognition": F(5, 6),
    "L3b-lesion_localization": F(2, 3),
    "L3c-lesion_size_estimation": F(5, 9),
    "L3d-lesion_counting": F(0),
    "L4a-binary_condition_diagnosis": F(4, 7),
    "L4b-multi_condition_diagnosis": F(2, 3),
    "L4c-dr_grading": F(27, 35),
    "L4d-amd_categorization": F(7, 10),
}
LEVELS = {
    "L1-modality_perception": (F(2, 3) + F(37, 45)) / 2,
    "L2-anatomy_perception": (F(4, 7) + F(4, 5)) / 2,
    "L3-lesion_analysis": (F(5, 6) + F(2, 3) + F(5, 9)) / 4,
    "L4-disease_diagnosis": (F(4, 7) + F(2, 3) + F(27, 35) + F(7, 10)) / 4,
}


def scores(tmp_path: Path, tasks: dict[str, Any], *extra: str) -> dict[str, Any]:
    """What `fundus-ray evaluate` writes for these questions and answers."""
    write_replica(tmp_path / "FunBench", tmp_path / "answers", tasks)
    return evaluate(tmp_path, *extra)


def evaluate(tmp_path: Path, *extra: str, out: str = "out") -> dict[str, Any]:
    words = ["--root", tmp_path / "FunBench", "--predictions", tmp_path / "answers", "--out", tmp_path / out, *extra]
    assert main(["evaluate", "--benchmark", "funbench", *map(str, words)]) == 0
    found: dict[str, Any] = json.loads((tmp_path / out / "scores.json").read_text())
    return found


@pytest.fixture
def twelve(tmp_path: Path) -> dict[str, Any]:
    return scores(tmp_path, TASKS)


def test_each_task_has_its_score_by_hand(twelve: dict[str, Any]) -> None:
    assert twelve["tasks"] == pytest.approx({name: float(value) for name, value in EXPECTED.items()}, abs=1e-14)


def test_levels_are_means_of_tasks_and_overall_is_the_mean_of_levels(twelve: dict[str, Any]) -> None:
    assert twelve["levels"] == pytest.approx({name: float(value) for name, value in LEVELS.items()}, abs=1e-14)
    assert twelve["overall"] == pytest.approx(float(sum(LEVELS.values()) / 4), abs=1e-14)


def test_sub_tasks_have_scores_of_their_own(twelve: dict[str, Any]) -> None:
    assert twelve["subtasks"]["L3a1-lesion_recognition-Haemorrhage"] == pytest.approx(2 / 3)
    assert twelve["subtasks"]["L3a2-lesion_recognition-Hard_exudate"] == 1


def test_intervals_hold_the_scores(twelve: dict[str, Any]) -> None:
    bounds = twelve["intervals"]
    assert bounds["overall"][0] < twelve["overall"] < bounds["overall"][1]
    assert all(low <= twelve["tasks"][name] <= high for name, (low, high) in bounds["tasks"].items())


def test_labels_have_sensitivity_and_specificity(twelve: dict[str, Any]) -> None:
    (diabetic, *_) = twelve["labels"][L4B]
    assert diabetic == {
        "label": DR,
        "sensitivity": 1,
        "specificity": 0,
        "harmonic_mean": 0,
        "positives": 1,
        "negatives": 1,
        "auroc": None,
        "scored": 0,
    }


def test_grades_have_a_quadratic_kappa(twelve: dict[str, Any]) -> None:
    # One answer off by one: observed 1; expected (30 + 15 + 10 + 2 * 15 + 0) / 5 = 17.
    assert twelve["quadratic_kappa"][L4C] == {"value": pytest.approx(1 - 1 / 17), "n": 5}


def test_a_line_a_question_tells_how_it_was_read(tmp_path: Path, twelve: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in (tmp_path / "out" / "questions.jsonl").read_text().splitlines()]
    assert len(lines) == twelve["counts"]["questions"] == 47
    assert [line for line in lines if line["file"] == L4B][1] == {
        "file": L4B,
        "key": "DDR/1.jpg",
        "image": "DDR/1.jpg",
        "patient": "DDR/1.jpg",
        "question": "which?",
        "options": [DR, GLAUCOMA, NORMAL],
        "gold": [GLAUCOMA],
        "answer": "A,B",
        "read": "A,B",
        "rule": "letter",
        "chosen": [DR, GLAUCOMA],
        "correct": False,
    }


def test_absent_task_files_are_left_out_of_every_mean(tmp_path: Path) -> None:
    write_replica(tmp_path / "FunBench", tmp_path / "answers", TASKS)
    (tmp_path / "answers" / L1A).unlink()
    (tmp_path / "answers" / L3A.format(1, "Haemorrhage")).unlink()
    found = evaluate(tmp_path)
    assert found["levels"]["L1-modality_perception"] == pytest.approx(37 / 45)
    assert found["tasks"]["L3a-lesion_recognition"] == 1
    assert found["absent"] == [L1A, L3A.format(1, "Haemorrhage")]


def test_answers_with_tags_are_unwrapped(tmp_path: Path) -> None:
    tagged = [
        Asked(i.options, i.gold, f"<think>Yes or No, A or B.</think><answer>{i.said}</answer>") for i in HAEMORRHAGE
    ]
    found = scores(tmp_path, {L4A: tagged})
    assert found["overall"] == pytest.approx(2 / 3)
    # The published scorer sees both options' texts in each answer and so reads none of them by a rule.
    compat = evaluate(tmp_path, "--compat", out="compat")
    assert compat["counts"]["unmatched"] == 4


def test_both_rates_zero_is_zero_and_reported_or_nan_as_published(tmp_path: Path) -> None:
    tasks = {L4A: asked(YES_NO, ("Yes", "B"), ("No", "A")), L2B: asked(SIDE, ("Left eye", "B"), ("Right eye", "A"))}
    found = scores(tmp_path, tasks)
    assert (found["overall"], found["levels"]["L4-disease_diagnosis"]) == (0.5, 0)
    assert any(L4A in line and "taken as 0" in line for line in found["undefined"])
    compat = evaluate(tmp_path, "--compat", out="compat")
    assert (compat["overall"], compat["levels"]) == (
        None,
        {"L2-anatomy_perception": 1, "L4-disease_diagnosis": None},
    )
    assert "overall: no value" in compat["undefined"]
    assert compat["intervals"]["levels"] == {}


def test_label_offered_to_its_positives_only_is_left_out_of_the_mean(tmp_path: Path) -> None:
    rows = [
        Asked((DR, NORMAL), [DR], "A"),
        Asked((GLAUCOMA, NORMAL), [GLAUCOMA], "A"),
        Asked((DR, RVO, NORMAL), [NORMAL], "A"),
    ]
    # DR: sens 1, spec 0 -> 0. Glaucoma is never offered to an eye without it: no specificity. Normal: sens 0 -> 0.
    found = scores(tmp_path, {L4B: [*rows, Asked((RVO, NORMAL), [RVO], "A")]})
    # RVO: sens 1, spec 1 -> 1.
    assert found["overall"] == pytest.approx(1 / 3)
    assert any(GLAUCOMA in line for line in found["undefined"])
    assert evaluate(tmp_path, "--compat", out="compat")["overall"] is None


def test_missing_and_unreadable_answers_count_as_wrong_and_are_counted(tmp_path: Path) -> None:
    rows = asked(YES_NO, ("Yes", "A"), ("Yes", "no idea, yes perhaps"), ("No", "B"))
    found = scores(tmp_path, {L4A: [*rows, Asked(YES_NO, "Yes", None), Asked(YES_NO, "No", "")]})
    # Yes: sens 1 of 3; a No that was not read still says nothing false of Yes: spec 2/2. 2 * 1/3 / (4/3) = 1/2.
    assert found["overall"] == pytest.approx(1 / 2)
    assert (found["counts"]["unanswered"], found["counts"]["unmatched"]) == (1, 2)
    note = (tmp_path / "out" / "scores.md").read_text()
    assert "2 answers chose no option by any rule" in note
    assert "1 questions have no stored answer" in note


def test_the_sentence_model_that_read_answers_is_named_with_its_hash(tmp_path: Path) -> None:
    found = scores(tmp_path, {L4A: asked(YES_NO, ("Yes", "A"), ("No", "the retina looks healthy"))})
    assert found["sentence_model"] is None
    found = evaluate(tmp_path, "--sentence-model", "minilm")
    assert found["counts"]["read_by"]["nearest by similarity"] == 1
    folder = model_folder("minilm")
    parts = (hashlib.sha256((folder / n).read_bytes()) for n in ("config.json", "tokenizer.json", "model.safetensors"))
    files = hashlib.sha256(b"".join(part.digest() for part in parts)).hexdigest()[:16]
    assert found["sentence_model"] == {"model": "minilm", "files": files}
    assert f"minilm, files {files}" in (tmp_path / "out" / "scores.md").read_text()


def test_auroc_of_options_with_scores(tmp_path: Path) -> None:
    rows = [
        Asked(YES_NO, gold, {"answer": "A", "scores": {"Yes": score, "No": 1 - score}})
        for gold, score in (("Yes", 0.9), ("Yes", 0.75), ("No", 0.3), ("No", 0.75))
    ]
    (yes, no) = scores(tmp_path, {L4A: rows})["labels"][L4A]
    assert (yes["label"], yes["auroc"], yes["scored"]) == ("Yes", 3.5 / 4, 4)
    assert (no["label"], no["auroc"]) == ("No", 3.5 / 4)
    assert "| 0.8750 |" in (tmp_path / "out" / "scores.md").read_text()
    scores(tmp_path, {L4A: [*rows, Asked(YES_NO, "No", "B")]})
    assert "| 0.8750 (of 4) |" in (tmp_path / "out" / "scores.md").read_text()


def test_two_runs_are_compared_on_the_questions_of_both(tmp_path: Path) -> None:
    golds = ["Yes"] * 4 + ["No"] * 4
    scores(tmp_path, {L4A: asked(YES_NO, *zip(golds, "AAAABBBA", strict=True))})  # 7 right, the last wrong
    write_replica(tmp_path / "x", tmp_path / "answers", {L4A: asked(YES_NO, *zip(golds, "BBBBABBB", strict=True))})
    other = evaluate(tmp_path, "--against", str(tmp_path / "out"), out="other")
    # Right here only: the last; there only: the first five. Exact: 2 * (1 + 6) / 2^6.
    pair = {"questions": 8, "only_ours": 1, "only_theirs": 5, "p": pytest.approx(14 / 64)}
    assert other["against"] == {"all": pair, "L4a-binary_condition_diagnosis": pair}
    assert "McNemar" in (tmp_path / "other" / "scores.md").read_text()


def test_run_without_a_common_question_is_no_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores(tmp_path, {L4A: asked(YES_NO, ("Yes", "A"))})
    (tmp_path / "other").mkdir()
    line = {"file": L2B, "key": "DDR/0.jpg", "correct": True}
    (tmp_path / "other" / "questions.jsonl").write_text(json.dumps(line) + "\n")
    paths = ["--root", tmp_path / "FunBench", "--predictions", tmp_path / "answers", "--out", tmp_path / "new"]
    words = map(str, [*paths, "--against", tmp_path / "other"])
    assert main(["evaluate", "--benchmark", "funbench", *words]) == 2
    assert f"--against {tmp_path / 'other'}: no question of this funbench there" in capsys.readouterr().err


def test_answer_on_which_the_published_scorer_ends_is_wrong_under_compat_also_in_part(tmp_path: Path) -> None:
    rows = [Asked((DR, NORMAL), [DR], "A, F"), Asked((DR, NORMAL), [NORMAL], "B")]
    # DR: sens 1, spec 1 where F is left out of "A, F"; sens 0 where the whole answer is.
    assert scores(tmp_path, {L4B: rows})["overall"] == 1
    compat = evaluate(tmp_path, "--compat", out="compat")
    assert (compat["overall"], compat["counts"]["stops_published_scorer"]) == (0, 1)


def test_published_row_may_name_a_task_without_stored_answers(tmp_path: Path) -> None:
    table = tmp_path / "others.csv"
    table.write_text("model,source,L1a-coarse_modality_perception,L2b-laterality\nSome-VLM,Table 3,0.9,0.5\n")
    write_replica(tmp_path / "FunBench", tmp_path / "unused", {L1A: COARSE_MODALITY})
    found = scores(tmp_path, {L2B: LATERALITY}, "--published", str(table))
    assert found["absent"] == [L1A]
    text = (tmp_path / "out" / "scores.md").read_text()
    assert any("L2b" in line and line.endswith("0.5000 |") for line in text.splitlines())


def test_published_rows_stand_beside_ours_and_are_marked(tmp_path: Path) -> None:
    table = tmp_path / "others.csv"
    table.write_text("model,source,overall,L2b-laterality\nSome-VLM,Table 3,0.35,\n")
    found = scores(tmp_path, {L2B: LATERALITY}, "--published", str(table))
    assert found["as published"] == [{"model": "Some-VLM", "source": "Table 3", "scores": {"overall": 0.35}}]
    text = (tmp_path / "out" / "scores.md").read_text()
    assert "Some-VLM (as published: Table 3)" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| overall ")]
    assert (line.split(" | ")[1], line.split(" | ")[-1]) == ("0.8000", "0.3500 |")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("model,source,overal\nX,T,1\n", "unknown column 'overal'; allowed: model, source, L2-anatomy_perception"),
        ("model,overall\nX,1\n", "no column 'source'"),
        ("model,source,overall\nX,T,53.5\n", "line 2: overall=53.5 must be a number in [0, 1]"),
        ("model,source,overall\nX,,0.5\n", "line 2: needs model, source and one cell for each column"),
        ("model,source,overall\nX,T\n", "line 2: needs model, source and one cell for each column"),
    ],
)
def test_bad_published_table_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str, message: str
) -> None:
    write_replica(tmp_path / "FunBench", tmp_path / "answers", {L2B: LATERALITY})
    (tmp_path / "p.csv").write_text(table)
    words = ["--root", tmp_path / "FunBench", "--predictions", tmp_path / "answers", "--out", tmp_path / "out"]
    code = main(["evaluate", "--benchmark", "funbench", *map(str, words), "--published", str(tmp_path / "p.csv")])
    assert code == 2
    assert message in capsys.readouterr().err


def test_out_that_cannot_be_written_or_would_replace_the_other_run_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores(tmp_path, {L2B: LATERALITY})
    words = ["--root", tmp_path / "FunBench", "--predictions", tmp_path / "answers"]
    for extra, message in (
        (["--out", "/proc/none/out"], "--out /proc/none/out cannot be written"),
        (["--out", tmp_path / "out" / "scores.md"], "is a file; give a folder"),
        (["--out", tmp_path / "out", "--against", tmp_path / "out"], "would replace what is compared with"),
    ):
        assert main(["evaluate", "--benchmark", "funbench", *map(str, [*words, *extra])]) == 2
        assert message in capsys.readouterr().err
