"""What a run wrote is read back, explained, and scored again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fundus_ray.audit.explain import explain
from fundus_ray.audit.lines import find, read_groups
from fundus_ray.audit.rescore import Rescored, check_out, comparison, rescore, write_rescored
from fundus_ray.cli import main
from fundus_ray.config import load
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.obs.rollout_lines import group_of, rollout_lines
from fundus_ray.obs.strict_json import line_of
from fundus_ray.types import CheckedClaim, ScoredGroup, Verdict

MakeGroup = Callable[..., ScoredGroup]
TEXTS = (
    "<think>Findings: enlarged optic cup. No drusen. Conclusion: glaucoma.</think><answer>B</answer>",
    "<think>Findings: drusen. Conclusion: normal.</think><answer>A</answer>",
    "no idea \x1b[2J",
)


def scored(make_group: MakeGroup, *, group_id: int, totals: list[float | None]) -> ScoredGroup:
    """A group whose chains are TEXTS."""
    made = make_group(totals, group_id=group_id)
    sample = dataclasses.replace(made.group.prompt.sample, findings=("enlarged_cup",))
    rollouts = tuple(dataclasses.replace(r, text=t) for r, t in zip(made.group.rollouts, TEXTS, strict=False))
    group = dataclasses.replace(
        made.group, rollouts=rollouts, prompt=dataclasses.replace(made.group.prompt, sample=sample)
    )
    claim = CheckedClaim("enlarged_cup", "glaucoma", True, 17, 36, Verdict.SUPPORTED, 0.9, "record", "glaucoma-1", "ok")
    items = tuple(
        dataclasses.replace(s, rollout=r, findings=("enlarged_cup",), claims=(claim,))
        for s, r in zip(made.scored, rollouts, strict=True)
    )
    return dataclasses.replace(made, group=group, scored=items)


@pytest.fixture
def file(tmp_path: Path, make_group: MakeGroup) -> Path:
    groups = [
        scored(make_group, group_id=17, totals=[0.9, 0.1, 0.0]),
        scored(make_group, group_id=18, totals=[None, None]),
    ]
    path = tmp_path / "step-000001.jsonl"
    lines = [line for group in groups for line in rollout_lines(group, image_paths=False)]
    path.write_text("".join(line_of(line) + "\n" for line in lines))
    return path


def test_lines_hold_the_group_that_they_were_written_from(make_group: MakeGroup) -> None:
    whole = scored(make_group, group_id=3, totals=[0.5, 0.25])
    again = group_of([json.loads(line_of(line)) for line in rollout_lines(whole, image_paths=True)])
    assert again.prompt.sample == whole.group.prompt.sample
    assert [r.text for r in again.rollouts] == list(TEXTS[:2])
    assert again.policy == whole.group.policy
    assert (again.prompt.group_id, again.prompt.seed) == (whole.group.prompt.group_id, whole.group.prompt.seed)


def test_lines_name_an_image_by_its_hash_and_no_patient_unless_asked_and_can_be_scored_again(
    make_group: MakeGroup,
) -> None:
    whole = scored(make_group, group_id=3, totals=[0.5, 0.25])
    text = "".join(line_of(line) for line in rollout_lines(whole, image_paths=False))
    image = whole.group.prompt.sample.image
    assert "eye one" in image.path
    assert "eye one" not in text
    assert '"p3"' not in text  # the patient
    assert text.count(image.sha256) == 2
    again = group_of([json.loads(line_of(line)) for line in rollout_lines(whole, image_paths=False)])
    nameless = dataclasses.replace(whole.group.prompt.sample, image=dataclasses.replace(image, path=""), patient_id="")
    assert again.prompt.sample == nameless


def test_groups_and_rollouts_are_found_by_id_and_by_sample(file: Path) -> None:
    groups = read_groups(file)
    assert [len(group.lines) for group in groups] == [3, 2]
    assert [line.where for line in find(groups, "17.1", path=file)] == [f"{file}:2"]
    assert [line.fields["id"] for line in find(groups, "phantom-18", path=file)] == ["18.0", "18.1"]
    assert len(read_groups(file.parent)) == 2


@pytest.mark.parametrize(
    ("wanted", "said"), [("17.9", "near are 17.0, 17.1, 17.2"), ("zzz", "ids go from 17.0 to 18.1")]
)
def test_an_id_that_is_not_there_names_those_near(file: Path, wanted: str, said: str) -> None:
    with pytest.raises(DataError, match=f"holds no rollout '{wanted}'; {said}"):
        find(read_groups(file), wanted, path=file)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ('{"id":', ":6: not JSON"),
        ("[]", ":6: not an object"),
        ('{"id": "1.0"}', ":6: not a scored rollout: no `group_id` in it"),
    ],
)
def test_a_broken_line_is_named_by_file_and_line(file: Path, broken: str, said: str) -> None:
    file.write_text(file.read_text() + broken + "\n")
    with pytest.raises(DataError, match=f"{file}{said}"):
        read_groups(file)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"modality": "MRI"}, "`modality` must be one of CFP, OCT, UWF, not 'MRI'"),
        ({"answer": 5}, "`answer` must be a list of texts or null, not 5"),
        ({"explanation": None}, "`explanation` must be a list of texts, not None"),
        ({"total": "0.5"}, "`total` must be a number, not '0.5'"),
        ({"total": float("nan")}, "`total` must be a number, not nan"),
        ({"findings": [["x"]]}, "`findings` must be a list of texts, not [['x']]"),
        ({"options": "AB"}, "`options` must be a list of texts, not 'AB'"),
        ({"parts": {"accuracy": "1"}}, "`parts` must be an object of numbers or nulls, not {'accuracy': '1'}"),
        ({"weights": [1]}, "`weights` must be an object of numbers, not [1]"),
        ({"status": "fine"}, "`status` must be one of scored, unparseable, unscorable, not 'fine'"),
        ({"policy": {"step": 1}}, "no `policy.sha256` in it"),
        ({"policy": []}, "`policy` must be an object, not []"),
        ({"image_px": [112]}, "`image_px` must be two whole numbers, not [112]"),
        ({"evidence": [{"id": "x"}]}, "no `evidence[0].title` in it"),
        ({"evidence": ["x"]}, "`evidence` must be a list of objects, not ['x']"),
        ({"claims": [{"finding": "drusen", "label": 3}]}, "`claims[0].label` must be a text, not 3"),
        ({"text": ["x" * 100]}, f"`text` must be a text, not ['{'x' * 58}..."),
    ],
)
def test_a_changed_line_is_named_by_file_line_and_field(file: Path, changed: dict[str, Any], said: str) -> None:
    lines = file.read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **changed})
    file.write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        read_groups(file)
    assert str(caught.value) == f"{file}:2: not a scored rollout: {said}"


def test_lines_of_before_weights_and_recital_were_written_are_read(file: Path) -> None:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    older = [{k: v for k, v in line.items() if k not in ("weights", "recited")} for line in lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in older))
    (line,) = find(read_groups(file), "17.1", path=file)
    assert "the weights are not on record" in explained(line.fields)


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl does not exist"):
        read_groups(tmp_path / "gone.jsonl")
    with pytest.raises(DataError, match="holds no scored rollout"):
        read_groups(tmp_path)


def test_a_rollout_is_explained_with_its_marks_parts_claims_and_passages(file: Path) -> None:
    (line,) = find(read_groups(file), "17.0", path=file)
    text = explain(line.fields, load_vocabulary())
    assert "What is the most likely diagnosis?" in text
    assert "A. normal; B. glaucoma" in text
    assert "Findings: [+enlarged optic cup]. No [-drusen]. Conclusion: glaucoma." in text
    assert "total         0.900, the weighted mean of the parts that apply; the weights are not on record" in text
    assert "grounding    does not apply" in text
    assert "enlarged optic cup speaks for glaucoma: supported (record, 0.90): ok" in text
    assert "Glaucoma (glaucoma-1, score 3.5): An enlarged cup is typical." in text
    assert "knowledge snapshot index-1" in text


def explained(line: Mapping[str, Any], **changed: Any) -> str:
    """The account of the line with other fields, each row's blanks collapsed."""
    return "\n".join(" ".join(row.split()) for row in explain({**line, **changed}, load_vocabulary()).split("\n"))


def test_the_total_is_shown_as_the_sum_that_it_is(file: Path) -> None:
    (line,) = find(read_groups(file), "17.0", path=file)
    parts = {"accuracy": 1.0, "format": 1.0, "consistency": 0.8, "knowledge": None, "grounding": 0.25}
    weights = {"accuracy": 1.0, "format": 0.1, "consistency": 0.7, "knowledge": 0.2, "grounding": 0.0}
    text = explained(line.fields, parts=parts, weights=weights, total=(1 + 0.1 + 0.56) / 1.8)
    assert "total 0.922 = (1 x 1.000 + 0.1 x 1.000 + 0.7 x 0.800) / 1.8" in text
    assert "consistency 0.800 (weight 0.7)" in text
    assert "knowledge does not apply\n" in text
    assert "grounding 0.250 (weight 0: not counted)" in text
    nothing = explained(line.fields, parts=parts, weights=dict.fromkeys(weights, 0.0), total=0.0)
    assert "total 0.000: no part with a weight applies" in nothing


def test_a_total_of_zero_for_want_of_an_answer_says_so(file: Path) -> None:
    (line,) = find(read_groups(file), "17.0", path=file)
    text = explained(line.fields, status="unparseable", answer=None, total=0.0, weights={"format": 1.0})
    assert "total 0.000: without an answer that can be read the total is 0" in text


def test_an_unscorable_rollout_has_no_score_and_says_why(file: Path) -> None:
    (line,) = find(read_groups(file), "18.0", path=file)
    text = explained(line.fields, explanation=["not scored: the search is down"], parts={"accuracy": None})
    assert "total no score: the search is down" in text
    assert "0.000" not in text
    assert "does not apply" not in text


def test_weights_are_written_with_the_scores_that_they_made(file: Path, tmp_path: Path) -> None:
    result = rescore(load(None, [f"run.dir={tmp_path}", "reward.grounding=0.25"]), read_groups(file))
    for line in result.new:
        assert line["weights"]["grounding"] == 0.25
        assert set(line["weights"]) == set(line["parts"])
        applying = [(line["weights"][name], value) for name, value in line["parts"].items() if value is not None]
        if line["status"] == "scored":
            assert line["total"] == pytest.approx(sum(w * v for w, v in applying) / sum(w for w, _ in applying))


def test_a_finding_is_marked_where_it_is_first_stated_and_the_legend_says_so(file: Path) -> None:
    (line,) = find(read_groups(file), "17.0", path=file)
    text = explained(
        line.fields, text="Findings: drusen. Drusen are seen. No exudates. No drusen. Drusen. Conclusion: x."
    )
    assert "Findings: [+drusen]. Drusen are seen. No [-exudates]. No [-drusen]. Drusen. Conclusion: x." in text
    assert "each finding is marked once" in text


def test_what_a_model_wrote_cannot_steer_the_terminal(file: Path) -> None:
    (line,) = find(read_groups(file), "17.2", path=file)
    assert "\x1b" not in explain(line.fields, load_vocabulary())


def test_rescoring_under_the_same_settings_changes_nothing_the_second_time(file: Path, tmp_path: Path) -> None:
    config = load(None, [f"run.dir={tmp_path}"])
    first = rescore(config, read_groups(file))
    out = tmp_path / "again.jsonl"
    write_rescored(first, out)
    second = rescore(config, read_groups(out))
    assert [json.loads(line_of(a)) for a in second.old] == [json.loads(line_of(b)) for b in second.new]
    assert "Rank correlation of the totals (Spearman): 1.000, n = 5." in comparison(second)


def test_other_weights_change_the_totals_and_the_table_says_so(file: Path, tmp_path: Path) -> None:
    settings = [f"run.dir={tmp_path}", "reward.format=0", "reward.consistency=0", "reward.grounding=0"]
    result = rescore(load(None, settings), read_groups(file))
    assert [line["total"] for line in result.new] == [1.0, 0.0, 0.0, 1.0, 0.0]
    assert [line["text"] for line in result.new] == [*TEXTS, *TEXTS[:2]]
    table = comparison(result)
    assert "| **total** | 0.333 | 0.333 | +0.000 | 3 | 3 |" in table
    assert "2 rollouts had no score before" in table
    assert "Knowledge differs: snapshots" in table


def test_rollouts_that_get_no_score_now_are_counted_not_taken_as_zero(file: Path, tmp_path: Path) -> None:
    result = rescore(load(None, [f"run.dir={tmp_path}"]), read_groups(file))
    lost = ({**result.new[0], "status": "unscorable", "total": 0.0}, *result.new[1:])
    table = comparison(Rescored(result.old, lost))
    assert "| **total** | 0.050 |" in table  # of old totals 0.1 and 0
    assert "1 rollouts have no score now" in table


def test_the_runs_own_record_is_not_replaced(file: Path) -> None:
    for out, source in ((file, file), (file, file.parent)):
        with pytest.raises(ConfigError, match="would replace the run's own record"):
            check_out(out, source=source)


def test_a_place_that_cannot_be_written_is_named(file: Path, tmp_path: Path) -> None:
    taken, result = tmp_path / "taken", Rescored((), ())
    taken.mkdir()
    with pytest.raises(ConfigError, match=r"no/x\.jsonl cannot be written: .*/no is not a folder; make it first"):
        check_out(tmp_path / "no" / "x.jsonl", source=file)
    with pytest.raises(ConfigError, match="taken cannot be written: it is a folder"):
        check_out(taken, source=file)
    with pytest.raises(ConfigError, match="cannot be written"):
        write_rescored(result, taken)
    check_out(taken / "x.jsonl", source=file)
    assert list(taken.iterdir()) == []


def test_the_place_is_checked_before_anything_is_read_or_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reward", "rescore", "not/read.jsonl", "--out", str(tmp_path / "no" / "x.jsonl")]) == 2
    assert "make it first" in capsys.readouterr().err
