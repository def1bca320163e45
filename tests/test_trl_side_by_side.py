"""The comparison with TRL asks both sides for the same, and counts right. (TRL itself runs in the script alone.)"""

from __future__ import annotations

import asyncio
import random
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from peft import LoraConfig
from side_by_side_ours import update_seconds
from side_by_side_policy import MEAN_MORE, MOST_MORE, extra_findings, stretched
from side_by_side_report import TRL, Figures, keep, kept, paired, report
from side_by_side_work import (
    WORKLOADS,
    TrlSetup,
    asked,
    fastest,
    grpo_arguments,
    held_out,
    lora_arguments,
    only_held_out,
    ours,
    outcome,
)
from trl_side_by_side import parsed

from fundus_ray.config import Config, load
from fundus_ray.data.order import sample_at
from fundus_ray.errors import DataError
from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.store import build_store
from fundus_ray.learner.algorithm import ALGORITHMS
from fundus_ray.learner.worker import LearnerWorker
from fundus_ray.policy.load import LORA_TARGETS
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.reward.checkers.record import RecordChecker
from fundus_ray.reward.worker import make_rubric
from fundus_ray.traces.writer import Trace
from fundus_ray.types import PolicyVersion, Rollout, RolloutGroup, Sample

RIGHT = "<think>Findings: drusen. Conclusion: {}.</think><answer>{}</answer>"


@pytest.fixture(params=list(WORKLOADS))
def both(request: pytest.FixtureRequest, tiny_policy: Path) -> tuple[Config, dict[str, object]]:
    """Our configuration and TRL's arguments of one workload."""
    work = WORKLOADS[request.param]
    settings = ours(work, policy=str(tiny_policy), updates=7, ratio=1.0, threads=(1, 1))
    config = load(None, [*settings, *held_out(True)])
    return config, grpo_arguments(work, updates=7, setup=TrlSetup(micro_batch=32), seed=0)


def test_both_sides_are_asked_for_the_same(both: tuple[Config, dict[str, object]], tiny_policy: Path) -> None:
    config, trl = both
    optimizer = LearnerWorker(config, str(tiny_policy), "")._optimizer.defaults
    clip = ALGORITHMS[config.learner.algorithm].clip
    assert trl["num_generations"] == config.rollout.group_size
    assert trl["temperature"] == config.rollout.temperature
    assert trl["max_completion_length"] == config.rollout.max_tokens
    assert trl["max_steps"] == config.loop.steps
    assert trl["num_iterations"] == config.learner.updates_per_batch
    assert trl["beta"] == config.learner.kl
    assert trl["loss_type"] == config.learner.algorithm
    assert (trl["epsilon"], trl["epsilon_high"]) == (clip.low, clip.high)
    assert trl["learning_rate"] == optimizer["lr"]
    assert (trl["adam_beta1"], trl["adam_beta2"]) == optimizer["betas"]
    assert trl["weight_decay"] == optimizer["weight_decay"]
    assert trl["max_grad_norm"] == config.learner.grad_clip
    # 32 rollouts a forward pass, 8 of them an optimizer step
    assert (trl["per_device_train_batch_size"], trl["gradient_accumulation_steps"]) == (32, 8)
    assert config.loop.groups_per_step * config.rollout.group_size == 256


def test_both_sides_train_the_same_adapter(both: tuple[Config, dict[str, object]], tiny_policy: Path) -> None:
    mine = LearnerWorker(both[0], str(tiny_policy), "")._policy.model.peft_config["default"]
    theirs = LoraConfig(**lora_arguments(LORA_TARGETS))
    keys = ("r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "use_rslora", "bias")
    assert [getattr(theirs, key) for key in keys] == [getattr(mine, key) for key in keys]


def test_settings_of_the_held_out_reading_alone_load(tiny_policy: Path) -> None:
    config = load(None, only_held_out(WORKLOADS["short"], policy=str(tiny_policy)))
    assert (config.loop.steps, config.evaluate.samples) == (0, 512)


def test_prompts_come_in_the_order_of_a_run(samples: tuple[Sample, ...]) -> None:
    prompts = asked(samples, updates=2)
    assert len(prompts) == 64
    assert [p.sample for p in prompts] == [sample_at(samples, seed=0, group_id=i) for i in range(64)]


def test_reward_of_trl_is_the_rubrics(samples: tuple[Sample, ...], tiny_policy: Path, tmp_path: Path) -> None:
    sample = samples[0]
    right = sample.options.index(sample.answer[0])
    letters = "ABCDEF"
    texts = [
        RIGHT.format(sample.answer[0], letters[right]),
        RIGHT.format(sample.answer[0], letters[(right + 1) % len(sample.options)]),
        f"I say <answer>{letters[right]}</answer>",
        "<think>Findings: drusen, drusen, drusen",
        "",
    ]
    settings = ours(WORKLOADS["short"], policy=str(tiny_policy), updates=1, ratio=0.0, threads=(1, 1))
    config, records = load(None, settings), load_records()
    version = PolicyVersion(step=0, sha256="")
    group = RolloutGroup(
        prompt=asked([sample], updates=1)[0],
        prompt_token_ids=(),
        rollouts=tuple(Rollout((), (), text, "stop", seed, version) for seed, text in enumerate(texts)),
        worker="w",
        started_s=0.0,
        finished_s=0.0,
    )

    async def totals() -> list[float]:
        store = await build_store(config.knowledge, folder=tmp_path)
        rubric = make_rubric(config, records=records, retriever=store, checker=RecordChecker(records))
        return [scored.total for scored in (await rubric.score_group(group)).scored]

    mine = [outcome(text, sample, vocabulary=records.vocabulary) for text in texts]
    assert mine == pytest.approx([1.0, 0.1 / 1.1, 1.0 / 1.1, 0.0, 0.0])
    assert asyncio.run(totals()) == pytest.approx(mine)


def test_added_findings_are_geometric_and_bounded() -> None:
    rng = random.Random(1)
    counts = [extra_findings(rng) for _ in range(20_000)]
    stay = MEAN_MORE / (MEAN_MORE + 1)
    expected = sum(stay**k for k in range(1, MOST_MORE + 1))  # sum of P(count >= k)
    assert statistics.fmean(counts) == pytest.approx(expected, rel=0.05)
    assert max(counts) == MOST_MORE
    assert sum(c >= 100 for c in counts) / len(counts) == pytest.approx(stay**100, abs=0.02)


def test_stretched_trace_keeps_its_form_and_answer() -> None:
    text = RIGHT.format("glaucoma", "B")
    trace = Trace("s", text, ("drusen",), ("glaucoma",))
    found = stretched(trace, ["hard exudates", "venous tortuosity"], rng=random.Random(3))
    assert len(found.text) > len(text)
    vocabulary = load_records().vocabulary
    long, short = read_chain(found.text, vocabulary), read_chain(text, vocabulary)
    assert (long.well_formed, long.answer) == (True, short.answer)
    with pytest.raises(ValueError, match="the trace of s has no list"):
        stretched(replace(trace, text="<think></think><answer>B</answer>"), ["drusen"], rng=random.Random(0))


def test_trl_is_tried_one_setting_after_the_other() -> None:
    def rate(setup: TrlSetup) -> float:
        return (setup.dtype == "autocast") + (setup.attention == "eager") - abs(setup.micro_batch - 128) / 1000

    best, rates = fastest(rate)
    assert best == TrlSetup("autocast", "eager", 128)
    assert len(rates) == 3 + 1 + 3  # each step keeps the best of the one before


def run_of(
    seconds: list[float], *, tokens: int, reward: float = 0.5, held: tuple[bool, ...] = (), commit: str = "abc"
) -> Figures:
    """Two groups of eight rollouts an update."""
    n = len(seconds)
    return Figures(
        update_s=seconds,
        generate_s=[s / 2 for s in seconds],
        score_s=[0.0] * n,
        train_s=[s / 4 for s in seconds],
        tokens=[[tokens] * 16] * n,
        cut=[0] * n,
        rewards=[[reward] * 8 + [reward + 0.25] * 8] * n,
        held_out=held,
        peak_mib=1000.0,
        commit=commit,
    )


def test_first_updates_and_the_last_are_left_out() -> None:
    one = run_of([100.0, 50.0, 2.0, 4.0, 8.0, 1.0], tokens=10)
    assert one.samples_per_s == 3 * 16 / 14.0
    assert one.whole_samples_per_s == 96 / 165.0
    assert one.tokens_per_s(one.generate_s) == 3 * 160 / 7.0


def test_report_has_ratio_lengths_and_verdict() -> None:
    theirs, mine = run_of([4.0] * 5, tokens=30), run_of([2.0] * 5, tokens=31, reward=0.75)
    text = report("long", {TRL: [theirs], "ours": [mine]}, notes="N.")
    assert "| ours | 8.0 | 2.00 | 8.0 | 2.00 | 496 | 1.00 | 992 | 0.50 | 0.00 | 1,000 |" in text
    assert "| TRL | 30.0 | 30 | 30 | 30 | 30 | 0.0% | 0.625 | 0.625 |" in text
    assert "ours - TRL, reward of the last 5 updates, by prompt: +0.250 [+0.250, +0.250]." in text
    assert text.endswith("Target 2.5 times TRL's samples/s: missed (ours, 2.00).")
    assert report("short", {TRL: [theirs], "ours": [mine]}, notes="").endswith("reached (ours, 2.00).")


def test_rate_and_verdict_are_of_the_whole_time_where_updates_alternate() -> None:
    # 64 rollouts in 2 + 6 + 2 + 6 s: 4 a second, as TRL with 4 s each; a median of the rates would say 5.3
    theirs, mine = run_of([4.0] * 7, tokens=30), run_of([4.0, 4.0, 2.0, 6.0, 2.0, 6.0, 4.0], tokens=30)
    text = report("short", {TRL: [theirs], "ours": [mine]}, notes="")
    assert "| ours | 4.0 | 1.00 | 4.0 | 4.00 |" in text
    assert text.endswith("missed (ours, 1.00).")


def test_report_says_how_much_was_run_and_at_which_commits() -> None:
    theirs, mine = run_of([4.0] * 5, tokens=30), run_of([2.0] * 5, tokens=30, commit="def with local changes")
    text = report("long", {TRL: [theirs], "ours": [mine]}, notes="N.")
    assert text.startswith(
        "**long**: 5 updates of 16 rollouts (a whole comparison has 12), 2 of them counted; 1 run of each side (a "
        "whole comparison has 3), medians over runs; commits abc, def with local changes. N."
    )
    assert "every run of ours has run.seed=0" in text
    whole = report(
        "long", {TRL: [run_of([4.0] * 12, tokens=30)] * 3, "ours": [run_of([2.0] * 12, tokens=30)] * 3}, notes=""
    )
    assert "a whole comparison" not in whole


def test_tables_are_made_anew_from_what_is_kept(tmp_path: Path) -> None:
    runs = {
        TRL: [run_of([4.0] * 5, tokens=30, held=(True,) * 4)],
        "ours": [run_of([2.0] * 5, tokens=31, held=(False,) * 4)],
    }
    keep(tmp_path, "short", runs, notes="N.")
    found, notes = kept(tmp_path, "short")
    assert report("short", found, notes=notes) == report("short", runs, notes="N.")
    with pytest.raises(
        DataError, match=r"long\.json is missing: no comparison of the workload long has come to its end"
    ):
        kept(tmp_path, "long")


def test_held_out_answers_are_compared_by_sample() -> None:
    theirs = run_of([4.0] * 5, tokens=30, held=(True, False, False, False))
    mine = run_of([2.0] * 5, tokens=31, held=(True, True, False, False))
    text = report("short", {TRL: [theirs], "ours": [mine]}, notes="")
    # differences 0, 1, 0, 0: mean 1/4, deviation 1/2, 1.96 x 0.5 / 2 = 0.49
    assert "(n = 4): 0.500 and 0.250, difference +0.250 [-0.240, +0.740]." in text


def test_paired_difference() -> None:
    # steps 1, 2, 3: mean 2, deviation 1, 1.96 / sqrt(3) = 1.132
    assert paired([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]) == "+2.000 [+0.868, +3.132]"


def test_update_is_timed_from_one_live_version_to_the_next() -> None:
    spans = [(0, 1e6, 5e5), (2, 6e6, 1e6), (1, 3e6, 1e6)]
    events = [{"name": "deliver", "args": {"step": s}, "ts": ts, "dur": dur} for s, ts, dur in spans]
    trace = {"traceEvents": [*events, {"name": "update", "args": {"step": 0}, "ts": 0.0, "dur": 1.0}]}
    assert update_seconds(trace, updates=2) == [2.5, 3.0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trl", "float32,sdpa,48"], "invalid trl_setup value: 'float32,sdpa,48'"),
        (["--trl", "float16,sdpa,64"], "invalid trl_setup value"),
        (["--updates", "3"], "--updates 0 or >= 4"),
        (["--repeats", "0"], "--repeats must be >= 1"),
        (["--policy", "/nowhere"], "--policy=/nowhere is not a checkpoint folder"),
        (
            ["--only", "ratio=2"],
            "--only=ratio=2 is a part of no side's name; there are ours, async_ratio=1; ours, async",
        ),
        (["--only", "ratio=1", "--readme"], "--readme is for all sides; leave out --only"),
        (["--kept", "--repeats", "2"], "--kept runs nothing; leave out --repeats"),
        (["--kept", "loop.steps=3"], "--kept runs nothing; leave out loop.steps=3"),
    ],
)
def test_wrong_options_are_named(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed(words)
    assert said in capsys.readouterr().err
