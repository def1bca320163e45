"""A user's JSONL: good rows become samples, every bad row is named by file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fundus_ray.data.jsonl import jsonl_samples
from fundus_ray.errors import DataError
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.types import Modality, Sample

OPTIONS = ["normal", "glaucoma", "drusen"]
IDS = load_vocabulary().ids


def picture(path: Path, *, value: int) -> Path:
    Image.fromarray(np.full((8, 8, 3), value, dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for value in range(10):
        picture(tmp_path / f"{value}.png", value=value)
    whole = picture(tmp_path / "cut.png", value=99).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    return tmp_path


def row(value: int = 0, **changes: Any) -> dict[str, Any]:
    """A good row about image `value`; a change to ... leaves the column out."""
    base = {"image": f"{value}.png", "modality": "CFP", "question": "Which?", "options": OPTIONS, "answer": "normal"}
    return {name: item for name, item in {**base, **changes}.items() if item is not ...}


def write(folder: Path, rows: list[dict[str, Any] | str]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in rows), encoding="utf-8")
    return path


def load(folder: Path, rows: list[dict[str, Any] | str], *, fraction: float = 0.3, seed: int = 0) -> list[Sample]:
    return list(jsonl_samples(write(folder, rows), finding_ids=IDS, eval_fraction=fraction, seed=seed))


BAD: dict[str, tuple[dict[str, Any] | str, str]] = {
    "broken JSON": ('{"image": "1.png",', "not valid JSON"),
    "deeply nested JSON": ("[" * 100_000, "not valid JSON"),
    "no object": ("[1, 2]", "a JSON object is expected, not list"),
    "missing image column": (row(1, image=...), "missing column image"),
    "missing columns": (row(1, question=..., answer=...), "missing columns question, answer"),
    "null answer": (row(1, answer=None), "missing column answer"),
    "misspelt optional column": (row(1, finding=["drusen"]), "unknown column 'finding'; did you mean 'findings'"),
    "unknown modality": (row(1, modality="MRI"), "modality is 'MRI'; allowed are CFP, OCT, UWF"),
    "answer not among options": (row(1, answer="cataract"), "answer 'cataract' is neither an option"),
    "letter beyond options": (row(1, answer="D"), "answer 'D' is neither an option nor one of the letters A to C"),
    "one wrong answer of two": (row(1, answer=["A", "cataract"]), "answer 'cataract'"),
    "no answer": (row(1, answer=[]), "answer is an empty list"),
    "blank answer": (row(1, answer=" "), "answer is"),
    "answer of a wrong type": (row(1, answer=3), "answer is 3; a list of non-empty texts"),
    "one option": (row(1, options=["normal"]), "options holds 1; 2 to 26"),
    "no option": (row(1, options=[]), "options holds 0; 2 to 26"),
    "options are no list": (row(1, options="normal"), "options is"),
    "same option twice": (row(1, options=["normal", "Normal"]), "options holds the same text twice"),
    "missing image": (row(1, image="gone.png"), "gone.png does not exist"),
    "truncated image": (row(1, image="cut.png"), "cut.png is damaged"),
    "no image": (row(1, image="text.png"), "text.png is damaged or not an image"),
    "image is no text": (row(1, image=5), "image is 5; a non-empty text"),
    "empty question": (row(1, question=""), "question is"),
    "findings are no list": (row(1, findings="drusen"), "findings is"),
    "a finding is no text": (row(1, findings=["drusen", 3]), "findings is"),
    "an unknown finding": (row(1, findings=["ghost vessel"]), "finding 'ghost vessel' is not in the vocabulary"),
    "duplicate id": (row(1, id="first"), "id 'first' is already that of line 1"),
    "unknown split": (row(1, split="test"), "split is 'test'; allowed are train, eval"),
    "patient is no text": (row(1, patient_id=[1]), "patient_id is [1]"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named_by_file_and_line(folder: Path, name: str) -> None:
    bad, message = BAD[name]
    with pytest.raises(DataError) as caught:
        load(folder, [row(0, id="first"), "", bad, row(2)])
    assert f"rows.jsonl:3: {message}" in str(caught.value).replace(f"image {folder}/", "")
    assert "\n" not in str(caught.value)
    assert "more" not in str(caught.value)


def test_all_bad_rows_are_counted_and_the_first_five_told(folder: Path) -> None:
    bad: list[dict[str, Any] | str] = [row(i % 5, modality=f"M{i}") for i in range(8)]
    with pytest.raises(DataError) as caught:
        load(folder, [row(9), *bad])
    text = str(caught.value)
    assert text.startswith(f"{folder}/rows.jsonl:2: modality is 'M0'")
    assert "(and 7 more: " in text
    assert [f"rows.jsonl:{line}:" in text for line in range(2, 10)] == [True] * 5 + [False] * 3
    assert text.endswith("; ...)")
    assert "\n" not in text


def test_five_bad_rows_are_all_told(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(folder, [row(i, modality=f"M{i}") for i in range(5)])
    assert str(caught.value).endswith("allowed are CFP, OCT, UWF)")
    assert "rows.jsonl:5: modality is 'M4'" in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_named(folder: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl: the file is empty"):
        load(folder, [content])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl does not exist"):
        jsonl_samples(tmp_path / "none.jsonl", finding_ids=IDS, eval_fraction=0.2, seed=0)


def test_a_file_in_another_encoding_is_named(folder: Path) -> None:
    (folder / "rows.jsonl").write_bytes(json.dumps(row()).encode("utf-16"))
    with pytest.raises(DataError, match=r"rows\.jsonl is not UTF-8"):
        jsonl_samples(folder / "rows.jsonl", finding_ids=IDS, eval_fraction=0.2, seed=0)


@pytest.mark.parametrize(
    ("given_answer", "expected"),
    [
        ("glaucoma", ("glaucoma",)),
        ("Glaucoma ", ("glaucoma",)),
        ("B", ("glaucoma",)),
        ("b", ("glaucoma",)),
        (["A", "drusen"], ("normal", "drusen")),
        (["B", "glaucoma"], ("glaucoma",)),
    ],
)
def test_an_answer_is_an_option_text_or_a_letter_or_several(
    folder: Path, given_answer: Any, expected: tuple[str, ...]
) -> None:
    assert load(folder, [row(0, answer=given_answer), row(1)])[0].answer == expected


def test_an_option_that_looks_like_a_letter_wins_over_the_letter(folder: Path) -> None:
    assert load(folder, [row(0, options=["B", "A"], answer="A"), row(1)])[0].answer == ("A",)


def test_a_row_without_options_is_free_text(folder: Path) -> None:
    sample = load(folder, [row(0, options=..., answer="a red spot"), row(1)])[0]
    assert (sample.options, sample.answer) == ((), ("a red spot",))


def test_optional_columns_are_kept_and_absent_findings_stay_unknown(folder: Path) -> None:
    first, second, third = load(
        folder, [row(0, id=7, findings=["drusen"], task="grading", patient_id=3), row(1), row(2, findings=[])]
    )
    assert (first.id, first.findings, first.task, first.patient_id) == ("7", ("drusen",), "grading", "3")
    assert (second.id, second.findings, second.task) == ("rows-2", None, "question")
    assert second.patient_id == second.image.sha256
    assert third.findings == ()


def test_modality_is_read_in_any_case_and_a_byte_order_mark_is_skipped(folder: Path) -> None:
    path = write(folder, [row(0, modality="oct"), row(1)])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert jsonl_samples(path, finding_ids=IDS, eval_fraction=0.2, seed=0)[0].modality is Modality.OCT


def test_a_line_separator_inside_a_text_does_not_break_the_row(folder: Path) -> None:
    raw = json.dumps(row(0, question="one\u2028two"), ensure_ascii=False)
    assert load(folder, [raw, row(1)])[0].question == "one\u2028two"


def test_the_asked_share_of_patients_is_held_out_and_none_is_divided(folder: Path) -> None:
    rows: list[dict[str, Any] | str] = [row(i, patient_id=f"p{i // 2}") for i in range(10)]
    samples = load(folder, rows, fraction=0.4)
    held_out = {sample.patient_id for sample in samples if sample.split == "eval"}
    assert len(held_out) == 2  # of five
    assert all((sample.patient_id in held_out) == (sample.split == "eval") for sample in samples)


def test_the_split_follows_the_seed(folder: Path) -> None:
    rows: list[dict[str, Any] | str] = [row(i) for i in range(10)]
    splits = [[sample.split for sample in load(folder, rows, seed=seed)] for seed in (0, 0, 1, 2)]
    assert splits[0] == splits[1]
    assert len({tuple(one) for one in splits}) > 1


def test_a_given_split_is_kept_and_draws_the_patients_other_rows_with_it(folder: Path) -> None:
    rows: list[dict[str, Any] | str] = [
        row(0, patient_id="a", split="eval"),
        row(1, patient_id="a"),
        row(2, patient_id="b", split="train"),
        row(3, patient_id="b"),
    ]
    assert [sample.split for sample in load(folder, rows)] == ["eval", "eval", "train", "train"]


def test_the_same_image_without_a_patient_stays_with_the_patient_it_is_known_from(folder: Path) -> None:
    rows: list[dict[str, Any] | str] = [row(0, patient_id="a"), row(0), *(row(i) for i in range(1, 6))]
    samples = load(folder, rows)
    assert samples[1].patient_id == "a"
    assert samples[0].split == samples[1].split


def test_a_single_patient_cannot_be_split(folder: Path) -> None:
    with pytest.raises(DataError, match="all rows are of one patient"):
        load(folder, [row(0, patient_id="a"), row(1, patient_id="a")])


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["0.png", "CFP", "A"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
COLUMNS = ["image", "modality", "question", "options", "answer", "findings", "patient_id", "task", "id", "split"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(COLUMNS), JSON_VALUES, max_size=3))
def test_whatever_a_row_holds_it_is_a_sample_or_a_data_error(folder: Path, changes: dict[str, Any]) -> None:
    try:
        samples = load(folder, [row(0, **changes), row(1, patient_id="other")])
    except DataError:
        return
    assert len(samples) == 2
    assert all(answer in sample.options or not sample.options for sample in samples for answer in sample.answer)
