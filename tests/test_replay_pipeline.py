"""A replay on real parts: data, a learner actor on Ray, the loop, checkpoints, report. Recorded are groups that no
engine wrote, so that the test needs none: random tokens, of which the first rollout was paid."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fundus_ray.cli import main
from fundus_ray.config import Config, load, to_yaml
from fundus_ray.data.order import samples_in_order
from fundus_ray.data.source import load_data
from fundus_ray.errors import ConfigError
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.obs.recorded import write_recorded
from fundus_ray.obs.strict_json import read_json, read_lines
from fundus_ray.pipeline import run
from fundus_ray.policy.load import expand_image_token, load_processor, prompt_text
from fundus_ray.policy.weights_hash import weights_sha256
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.recording import recorded_from
from fundus_ray.types import (
    PolicyVersion,
    RewardStatus,
    Rollout,
    RolloutGroup,
    Sample,
    ScoredGroup,
    ScoredRollout,
)

STEPS, GROUPS = 4, 2
SETTINGS = (
    *("data.train_samples=6", "data.eval_samples=2", "sft.steps=0", "rollout.group_size=2", "run.record=true"),
    *(f"loop.steps={STEPS}", f"loop.groups_per_step={GROUPS}", "loop.checkpoint_every=2", "loop.async_ratio=1"),
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, tiny_policy: Path) -> Path:
    """A run folder with four updates that took three groups each, one of them dropped."""
    runs = tmp_path_factory.mktemp("runs")
    config = load(None, [*SETTINGS, f"run.dir={runs}", f"policy.path={tiny_policy}"])
    folder = runs / "live"
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml(config))
    (folder / "facts.json").write_text(
        json.dumps({"recorded": recorded_from(tiny_policy, sha256=weights_sha256(tiny_policy))})
    )
    split = load_data(config, cache_dir=runs / "cache", finding_ids=load_vocabulary().ids)
    sample_at = samples_in_order(split.train, order="shuffled", seed=0)
    for step in range(1, STEPS + 1):
        groups = [group(config, sample_at(i), group_id=i) for i in range(3 * step - 3, 3 * step)]
        write_recorded(folder, step, groups)
    return folder


def group(config: Config, sample: Sample, *, group_id: int) -> ScoredGroup:
    """Written by the version before the one that it trains."""
    draw = np.random.default_rng(group_id)
    prompt = build_prompt(sample, group_id=group_id, seed=2 * group_id)
    processor = load_processor(config.policy.path)
    ids = processor.tokenizer(prompt_text(processor, prompt))["input_ids"]
    version = PolicyVersion(step=max(0, group_id // 3 - 1), sha256="0" * 64)
    scored = []
    for at in range(2):
        tokens = tuple(int(token) for token in draw.integers(20, 60, size=3 + at))
        rollout = Rollout(tokens, (-6.0,) * len(tokens), "text", "stop", seed=2 * group_id + at, policy=version)
        scored.append(
            ScoredRollout(
                rollout=rollout,
                status=RewardStatus.SCORED,
                total=1.0 - at,
                parts={"accuracy": 1.0 - at},
                answer=None,
                findings=(),
                claims=(),
                explanation=(),
                evidence=(),
                snapshot="",
            )
        )
    written = RolloutGroup(
        prompt,
        tuple(expand_image_token(ids, image_token_id=processor.image_token_id, count=16)),
        tuple(item.rollout for item in scored),
        worker="rollout-0",
        started_s=0.0,
        finished_s=1.0,
    )
    dropped = group_id % 3 == 0
    return ScoredGroup(written, tuple(scored), not dropped, "no_spread" if dropped else "", 1.0, 2.0)


def end_of(folder: Path) -> dict[str, object]:
    adapter: dict[str, object] = read_json(folder / "facts.json")["adapter"]
    return adapter


def test_a_place_for_checkpoints_that_is_of_no_known_kind_is_refused_before_anything_starts(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(recorded.parent.iterdir())
    assert main(["train", "--replay", str(recorded), "run.checkpoints=nosuch://bucket"]) == 2
    assert "run.checkpoints=nosuch://bucket: " in capsys.readouterr().err
    assert set(recorded.parent.iterdir()) == before


def test_a_replay_that_was_killed_and_resumed_ends_with_the_adapter_of_one_that_was_not(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = recorded.parent
    assert main(["train", "--replay", str(recorded)]) == 0
    whole = (runs / "latest").resolve()
    parts = runs / "killed"
    shutil.copytree(whole, parts)
    shutil.rmtree(parts / "checkpoints" / "step-000004")  # as if it had been killed before this one was complete
    assert main(["train", "--replay", str(recorded), "--resume", str(parts)]) == 0

    assert end_of(whole) == end_of(parts)
    assert end_of(whole)["step"] == STEPS
    said = capsys.readouterr().out
    assert said.count(f"policy version {STEPS}: adapter sha256 {end_of(whole)['sha256']}") == 2
    assert "replay: policy version 0 is the first of 3 that differ from the recorded ones" in said  # made up above
    spans = read_json(parts / "trace-after-2.json")["traceEvents"]
    assert [span["args"]["step"] for span in spans if span["name"] == "update"] == [2, 3]  # and no more
    for folder in (whole, parts):
        steps = list(read_lines(folder / "metrics.jsonl"))
        assert [step["step"] for step in steps] == [1, 2, 3, 4]
        assert all(step["grad_norm"] > 0 for step in steps)
        assert [step["dropped/no_spread"] for step in steps] == [1.0] * 4
        assert not any("delivery/proven" in step for step in steps)
        summary = read_json(folder / "summary.json")
        assert (summary["lag_max"], summary["adapter_deliveries_proven"]) == (1, 0)
        assert f"| replay of | {recorded} |" in (folder / "report.md").read_text()
    taken = [line["group_id"] for path in sorted((parts / "rollouts").iterdir()) for line in read_lines(path)]
    assert taken == [group_id for group_id in range(3 * STEPS) for _ in range(2)]

    with pytest.raises(ConfigError, match=rf"is a replay: go on with --replay {recorded} --resume {parts}"):
        run(load(parts / "config.yaml", []), resume=parts)
