#!/usr/bin/env python
"""RLVR against more of the same warm start, over several seeds: one table.

    python scripts/compare_seeds.py --seeds 0,1,2 [--config configs/quickstart.yaml] [section.key=value ...]

For each seed: the whole job of the recipe; then a control, which continues training on the traces from the same policy
version 0, for as many steps as the warm start made in the wall time that RL took, on all cores (RL shares them between
engine, learner and reward). Both are read by the same engine on the same held-out samples. Intervals: Wilson's, 95 %.

What is finished is kept in RUN_DIR, so that a second call goes on where the first one stopped. Writes RUN_DIR/seeds.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finished_runs import facts_of, finished

from fundus_ray.config import Config, load
from fundus_ray.data.source import load_data
from fundus_ray.knowledge.store import records_of
from fundus_ray.pipeline import run
from fundus_ray.policy.load import load_policy
from fundus_ray.sft.checkpoint import save_policy
from fundus_ray.sft.train import reshuffled, train_on_examples
from fundus_ray.sft.warm_start import trace_examples, traces_of

CONTROL_RATE_SHARE = 0.5  # of sft.learning_rate: the control starts from a policy whose rate has decayed


@dataclass(frozen=True)
class Row:
    """One seed's results; each evaluation as in summary.json."""

    seed: int
    before: dict[str, Any]
    after: dict[str, Any]
    control: dict[str, Any]
    rl_seconds: float

    @property
    def gain(self) -> float:
        """Points of held-out accuracy."""
        return 100 * (self.after["accuracy"] - self.before["accuracy"])

    @property
    def f1_gain(self) -> float:
        """Points of held-out finding F1."""
        return 100 * (self.after["finding_f1"] - self.before["finding_f1"])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated (default 0,1,2)")
    parser.add_argument("--config", type=Path, default=Path("configs/quickstart.yaml"))
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_intermixed_args()
    rows = [one_seed(args.config, args.overrides, seed=seed) for seed in map(int, args.seeds.split(","))]
    text = table(rows)
    print("\n" + text)
    out = Path(load(args.config, args.overrides).run.dir) / "seeds.md"
    out.write_text(text + "\n")
    print(f"\nwritten to {out}")


def one_seed(recipe: Path, overrides: list[str], *, seed: int) -> Row:
    """The job, then the control; or what an earlier call has left of them."""
    config = load(recipe, [*overrides, f"run.seed={seed}", "run.name=seeds", "evaluate.photo=false"])
    run_dir = finished(config, evaluated="after")
    facts = facts_of(run_dir)
    if "traces" in facts:  # the control learns from what the run learned from
        config = replace(config, sft=replace(config.sft, traces=facts["traces"]["folder"]))
    summary = json.loads((run_dir / "summary.json").read_text())
    kept = run_dir / "control.json"
    if not kept.is_file():
        kept.write_text(json.dumps(evaluate_control(config, run_dir, seconds=float(summary["wall_s"]["rl"]))))
    control = json.loads(kept.read_text())
    return Row(seed, summary["before"], summary["after"], control, float(summary["wall_s"]["rl"]))


def evaluate_control(config: Config, run_dir: Path, *, seconds: float) -> dict[str, Any]:
    """Train it and read the held-out samples with it."""
    base = Path(facts_of(run_dir)["policy"]["base"])
    warm_start = json.loads((base.parent / "sft.json").read_text())["seconds"]["training on traces"]
    steps = round(seconds * config.sft.steps / warm_start)
    folder = train_control(config, base=base, steps=steps, out=run_dir / "control")
    tested = replace(
        config,
        policy=replace(config.policy, path=str(folder)),
        sft=replace(config.sft, steps=0, traces=""),
        loop=replace(config.loop, steps=0),
        run=replace(config.run, name="control"),
    )
    summary = json.loads((run(tested) / "summary.json").read_text())
    return {**summary["before"], "steps": steps}


def train_control(config: Config, *, base: Path, steps: int, out: Path) -> Path:
    """Go on with the traces of the same seed from version 0's weights."""
    records = records_of(config.knowledge)
    cache_dir = Path(config.run.dir) / "cache"
    samples = load_data(config, cache_dir=cache_dir, finding_ids=records.vocabulary.ids).train
    policy = load_policy(base, dtype=config.policy.dtype)
    traces = traces_of(config, samples, records=records)
    examples = trace_examples(samples, traces, processor=policy.processor)
    rate = config.sft.learning_rate * CONTROL_RATE_SHARE
    rows = reshuffled(len(examples), seed=config.run.seed)
    name = "more training on traces"
    train_on_examples(config, policy, examples, steps=steps, learning_rate=rate, name=name, rows=rows)
    save_policy(policy, out)
    return out


def table(rows: list[Row]) -> str:
    """Markdown: a line a seed, then the median and the worst gain."""
    lines = [
        f"{len(rows)} seeds, n = {rows[0].before['n']} held-out samples each, {os.cpu_count()} CPUs",
        "",
        "| seed | accuracy before | after RLVR | gain | more SFT | F1 before | after RLVR | more SFT | RL s | steps |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        f1 = [f"{e['finding_f1']:.3f}" for e in (r.before, r.after, r.control)]
        lines.append(
            f"| {r.seed} | {interval(r.before)} | {interval(r.after)} | {r.gain:+.1f} | {interval(r.control)} "
            f"| {f1[0]} | {f1[1]} | {f1[2]} | {r.rl_seconds:.0f} | {r.control['steps']} |"
        )
    gains = [r.gain for r in rows]
    lines += [
        "",
        f"gain in accuracy: median {statistics.median(gains):+.1f} points, worst {min(gains):+.1f}; "
        f"change of finding F1: worst {min(r.f1_gain for r in rows):+.1f} points",
    ]
    return "\n".join(lines)


def interval(evaluation: dict[str, Any]) -> str:
    """0.700 [0.659, 0.738]."""
    return "{accuracy:.3f} [{accuracy_low:.3f}, {accuracy_high:.3f}]".format(**evaluation)


if __name__ == "__main__":
    main()
