"""From a reader through its traces to version 0, on real parts: a tiny reader taught a little, vLLM over Ray."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fundus_ray.config import Config, load
from fundus_ray.data.source import load_data
from fundus_ray.first_policy import FirstPolicy, first_policy, idle_reader
from fundus_ray.knowledge.records import load_records
from fundus_ray.policy.load import load_policy
from fundus_ray.types import Sample

RECORDS = load_records()
SETTINGS = [
    "data.train_samples=24",
    "data.eval_samples=2",
    "data.option_order=sorted",
    "traces.reader=tiny",
    "traces.reader_samples=64",
    "traces.reader_steps=30",
    "policy.path=reader",
    "sft.steps=2",
    "sft.batch_size=8",
    "sft.vision_warmup_steps=2",
]


def made(config: Config, samples: tuple[Sample, ...], *, cache_dir: Path) -> tuple[FirstPolicy, list[str]]:
    stages: list[str] = []

    @contextmanager
    def stage(name: str, doing: str) -> Iterator[None]:
        stages.append(name)
        yield

    policy = first_policy(config, samples, records=RECORDS, cache_dir=cache_dir, stage=stage)
    return policy, stages


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "cache"


@pytest.fixture(scope="module")
def config(cache_dir: Path) -> Config:
    return load(None, [*SETTINGS, f"run.dir={cache_dir.parent}"])


@pytest.fixture(scope="module")
def train(config: Config, cache_dir: Path) -> tuple[Sample, ...]:
    return tuple(load_data(config, cache_dir=cache_dir, finding_ids=RECORDS.vocabulary.ids).train)


def test_the_policy_starts_from_the_reader_and_learns_the_traces_that_it_wrote(
    config: Config, train: tuple[Sample, ...], cache_dir: Path
) -> None:
    policy, stages = made(config, train, cache_dir=cache_dir)
    assert stages == ["reader", "traces", "sft"]
    assert sum(policy.verdicts.values()) == 24
    assert policy.traces is not None
    rows = [json.loads(line) for line in (policy.traces / "traces.jsonl").read_text().splitlines()]
    kept = {row["sample_id"]: row["text"] for row in rows if not row["rejected"]}
    assert len(kept) == policy.verdicts["kept"] > 0
    learned = [json.loads(line) for line in (policy.model_path.parent / "traces.jsonl").read_text().splitlines()]
    assert {row["sample_id"]: row["text"] for row in learned} == kept
    (reader,) = cache_dir.glob("reader-*/v0")
    mine, its = (load_policy(folder).model.state_dict() for folder in (policy.model_path, reader))
    assert mine.keys() == its.keys()
    moved = max(float((mine[key] - its[key]).abs().max()) for key in mine)
    assert 0 < moved < 0.05  # two steps away from it, and not a network of its own

    again, _ = made(config, train, cache_dir=cache_dir)
    assert again == policy
    assert len((policy.traces / "traces.jsonl").read_text().splitlines()) == 24  # nothing was read twice


def test_the_control_learns_bare_answers_of_all_samples_and_asks_no_reader_for_traces(
    config: Config, train: tuple[Sample, ...], cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    control = replace(config, sft=replace(config.sft, target="answers"))
    policy, stages = made(control, train, cache_dir=cache_dir)
    assert stages == ["reader", "sft"]
    assert (policy.traces, policy.verdicts) == (None, {})
    assert "== traces: none is written, as sft.target=answers learns no chain; " in capsys.readouterr().out
    learned = [json.loads(line) for line in (policy.model_path.parent / "traces.jsonl").read_text().splitlines()]
    letters = {s.id: "ABCDEF"[s.options.index(s.answer[0])] for s in train}
    assert {row["sample_id"]: row["text"] for row in learned} == {
        sample_id: f"<think></think><answer>{letter}</answer>" for sample_id, letter in letters.items()
    }


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["traces.reader=tiny"], ""),
        (["sft.traces=made"], ""),
        (["sft.steps=0", "policy.path={reader}"], ""),
        (
            ["traces.reader=tiny", "sft.traces=made"],
            "sft.traces=made is learned from; traces.reader=tiny and all other traces.* have no effect",
        ),
        (
            ["traces.reader=tiny", "sft.traces=made", "policy.path=reader"],
            "sft.traces=made is learned from; traces.reader=tiny is only what the policy starts from",
        ),
        (
            ["traces.reader=tiny", "sft.target=answers"],
            "sft.target=answers learns no chain; traces.reader=tiny and all other traces.* have no effect",
        ),
        (
            ["traces.reader={reader}", "policy.path=reader", "sft.steps=0"],
            "sft.steps=0 learns from none; traces.reader={reader} is only what the policy starts from",
        ),
    ],
)
def test_a_reader_that_writes_no_traces_is_told_of(overrides: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    found = idle_reader(load(None, [item.format(reader=tmp_path) for item in overrides]))
    assert found.removeprefix("traces: none is written, as ") == said.format(reader=tmp_path)
