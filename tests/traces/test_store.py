"""A folder of traces: gone on with after a crash, exported for other trainers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fundus_ray.errors import ConfigError, DataError
from fundus_ray.policy.load import load_processor, prompt_text
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.traces.filter import NO_REPLY, SAMPLE_CHANGED, SAMPLE_GONE
from fundus_ray.traces.link import LinkedTrace, Relation
from fundus_ray.traces.store import TraceFolder, kept_traces, write_verdicts
from fundus_ray.types import Sample

MADE_WITH = {"reader": "model", "snapshot": "snap"}


def trace(sample: Sample) -> LinkedTrace:
    return LinkedTrace(
        sample_id=sample.id,
        text="<think>Findings: drusen. Conclusion: normal.</think><answer>A</answer>",
        findings=("drusen",),
        conclusion=("normal",),
        relations=(Relation("drusen", "normal", "supportive", "normal#0"),),
        snapshot="snap",
    )


def by_id(samples: tuple[Sample, ...]) -> dict[str, Sample]:
    return {sample.id: sample for sample in samples}


def test_what_is_kept_comes_back_as_it_was(tmp_path: Path, samples: tuple[Sample, ...]) -> None:
    folder = TraceFolder(tmp_path, made_with=MADE_WITH)
    folder.add(trace(samples[0]), samples[0], rejected="", reply="{}")
    folder.add(trace(samples[1]), samples[1], rejected="uncited_relation", reply="{}")
    folder.close()
    assert list(kept_traces(tmp_path, by_id(samples))) == [trace(samples[0])]
    assert folder.counts() == {"kept": 1, "uncited_relation": 1}


def test_a_folder_is_gone_on_with_after_a_crash_in_the_middle_of_a_line(
    tmp_path: Path, samples: tuple[Sample, ...]
) -> None:
    folder = TraceFolder(tmp_path, made_with=MADE_WITH)
    folder.add(trace(samples[0]), samples[0], rejected="", reply="")
    folder.close()
    with (tmp_path / "traces.jsonl").open("a") as file:
        file.write('{"sample_id": "half')
    again = TraceFolder(tmp_path, made_with=MADE_WITH)
    assert again.verdicts == {samples[0].id: ""}
    again.add(trace(samples[1]), samples[1], rejected="", reply="")
    again.close()
    assert [t.sample_id for t in kept_traces(tmp_path, by_id(samples))] == [samples[0].id, samples[1].id]


def test_a_folder_made_with_other_settings_is_refused(tmp_path: Path, samples: tuple[Sample, ...]) -> None:
    TraceFolder(tmp_path, made_with={**MADE_WITH, "snapshot": "never used"}).close()
    folder = TraceFolder(tmp_path, made_with=MADE_WITH)  # nothing was written, so nothing disagrees
    folder.add(trace(samples[0]), samples[0], rejected="", reply="")
    folder.close()
    with pytest.raises(ConfigError, match=r"made with snapshot='snap', not 'other'; take another --out"):
        TraceFolder(tmp_path, made_with={**MADE_WITH, "snapshot": "other"})


def test_the_export_holds_the_kept_ones_once_with_an_image_mark_and_once_without(
    tmp_path: Path, samples: tuple[Sample, ...]
) -> None:
    folder = TraceFolder(tmp_path, made_with=MADE_WITH)
    folder.add(trace(samples[0]), samples[0], rejected="", reply="")
    folder.add(trace(samples[1]), samples[1], rejected="unparseable", reply="")
    assert folder.export({s.id: s for s in samples}) == 1
    folder.close()
    (row,) = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()]
    question = build_prompt(samples[0], group_id=0, seed=0).user
    assert [m["role"] for m in row["messages"]] == ["system", "user", "assistant"]
    assert row["messages"][1]["content"] == f"<image>{question}"
    assert row["messages"][2]["content"] == trace(samples[0]).text
    assert row["images"] == [samples[0].image.path]
    (same,) = pq.read_table(tmp_path / "kept.parquet").to_pylist()
    assert (same["images"], same["messages"][0], same["messages"][2]) == (
        row["images"],
        row["messages"][0],
        row["messages"][2],
    )
    assert same["messages"][1]["content"] == question
    assert same["relations"] == [
        {"finding": "drusen", "label": "normal", "role": "supportive", "passage_id": "normal#0"}
    ]


def test_both_exports_give_a_trainer_the_prompt_that_the_policy_is_asked_with(
    tmp_path: Path, samples: tuple[Sample, ...], tiny_policy: Path
) -> None:
    folder = TraceFolder(tmp_path, made_with=MADE_WITH)
    folder.add(trace(samples[0]), samples[0], rejected="", reply="")
    folder.export({s.id: s for s in samples})
    folder.close()
    processor = load_processor(str(tiny_policy))
    expected = prompt_text(processor, build_prompt(samples[0], group_id=0, seed=0)) + trace(samples[0]).text

    # TRL makes parts of each content, the images before the text of the first question.
    (row,) = pq.read_table(tmp_path / "kept.parquet").to_pylist()
    parts: list[dict[str, object]] = [{"role": m["role"], "content": m["content"]} for m in row["messages"]]
    parts[1]["content"] = [{"type": "image"}, {"type": "text", "text": parts[1]["content"]}]
    assert processor.apply_chat_template(parts, tokenize=False).startswith(expected)

    # ms-swift and LLaMA-Factory put the image's tokens where the mark stands.
    (row,) = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()]
    text = processor.apply_chat_template(row["messages"], tokenize=False)
    assert text.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>").startswith(expected)


def test_a_folder_has_one_writer_at_a_time(tmp_path: Path) -> None:
    first = TraceFolder(tmp_path, made_with=MADE_WITH)
    with pytest.raises(ConfigError, match=f"{tmp_path}: another process is writing to it; wait until it ends"):
        TraceFolder(tmp_path, made_with=MADE_WITH)
    first.close()
    TraceFolder(tmp_path, made_with=MADE_WITH).close()


def test_traces_of_samples_that_are_not_given_are_left_out_of_the_export(
    tmp_path: Path, samples: tuple[Sample, ...]
) -> None:
    folder = TraceFolder(tmp_path, made_with=MADE_WITH)
    folder.add(replace(trace(samples[0]), sample_id="elsewhere"), samples[0], rejected="", reply="")
    assert folder.export({s.id: s for s in samples}) == 0
    folder.close()


def test_a_folder_without_traces_is_named(tmp_path: Path, samples: tuple[Sample, ...]) -> None:
    with pytest.raises(DataError, match=r"is not a folder of traces: it has no traces\.jsonl"):
        list(kept_traces(tmp_path, by_id(samples)))


@pytest.mark.parametrize("change", [{"options": ("x", "y")}, {"answer": ("x",)}])
def test_a_trace_is_not_used_for_a_sample_that_only_has_its_id(
    tmp_path: Path, samples: tuple[Sample, ...], change: dict[str, tuple[str, ...]]
) -> None:
    folder = TraceFolder(tmp_path, made_with=MADE_WITH)
    folder.add(trace(samples[0]), samples[0], rejected="", reply="")
    folder.close()
    other = replace(samples[0], **change)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"traces\.jsonl:1: .* has another image, answer or order of options now"):
        list(kept_traces(tmp_path, {other.id: other}))


def test_a_sample_that_a_filter_did_not_find_is_written_again(tmp_path: Path, samples: tuple[Sample, ...]) -> None:
    folder = TraceFolder(tmp_path, made_with=MADE_WITH)
    for sample, verdict in zip(samples, ("", SAMPLE_GONE, SAMPLE_CHANGED, NO_REPLY, "unparseable"), strict=False):
        folder.add(replace(trace(sample), sample_id=sample.id), sample, rejected=verdict, reply="")
    folder.close()
    again = TraceFolder(tmp_path, made_with=MADE_WITH)
    assert again.verdicts == {samples[0].id: "", samples[4].id: "unparseable"}
    again.close()


def test_traces_judged_by_other_knowledge_are_not_gone_on_with(tmp_path: Path, samples: tuple[Sample, ...]) -> None:
    folder = TraceFolder(tmp_path, made_with=MADE_WITH)
    folder.add(trace(samples[0]), samples[0], rejected="", reply="")
    folder.close()
    write_verdicts(tmp_path, [""], judged_with="newer")
    with pytest.raises(ConfigError, match=r"judged with knowledge snapshot newer .* not snap; filter them again"):
        TraceFolder(tmp_path, made_with=MADE_WITH)
    write_verdicts(tmp_path, [""], judged_with="snap")
    TraceFolder(tmp_path, made_with=MADE_WITH).close()


def test_the_export_is_in_the_samples_order_whoever_answered_first(tmp_path: Path, samples: tuple[Sample, ...]) -> None:
    folder = TraceFolder(tmp_path, made_with=MADE_WITH)
    for sample in (samples[2], samples[0], samples[1]):
        folder.add(replace(trace(sample), sample_id=sample.id), sample, rejected="", reply="")
    folder.export(by_id(samples))
    folder.close()
    assert [row["id"] for row in pq.read_table(tmp_path / "kept.parquet").to_pylist()] == [s.id for s in samples[:3]]
