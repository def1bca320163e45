#!/usr/bin/env python
"""What reasoning traces are worth before any RL: warm starts of equally many steps on traces and on bare answers.

    python scripts/compare_warm_starts.py --seeds 0,1,2 [--config configs/quickstart.yaml] [section.key=value ...]

For each seed, from the same policy: on the traces that were kept; on the answers of the very same samples; on the
answers of all training samples, which need no filter and so are more. All are read on the same held-out samples. A
policy that is taught bare answers states no finding, so its finding F1 is 0 by construction. Intervals: Wilson's, 95 %.

What is finished is kept in RUN_DIR, so that a second call goes on. Writes RUN_DIR/warm_starts.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

from compare_seeds import interval
from finished_runs import facts_of, finished

from fundus_ray.config import load

KINDS = ("traces", "their answers", "all answers")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated (default 0,1,2)")
    parser.add_argument("--config", type=Path, default=Path("configs/quickstart.yaml"))
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_intermixed_args()
    rows = {seed: one_seed(args.config, args.overrides, seed=seed) for seed in map(int, args.seeds.split(","))}
    text = table(rows)
    print("\n" + text)
    out = Path(load(args.config, args.overrides).run.dir) / "warm_starts.md"
    out.write_text(text + "\n")
    print(f"\nwritten to {out}")


def one_seed(recipe: Path, overrides: list[str], *, seed: int) -> dict[str, dict[str, Any]]:
    """Held-out evaluation by kind, each with `examples`: how many different ones it learned from."""
    shared = [*overrides, f"run.seed={seed}", "run.name=warm-start", "loop.steps=0", "evaluate.photo=false"]
    config = load(recipe, shared)
    if not config.traces.reader or config.sft.traces or config.sft.target != "traces":
        raise SystemExit(
            "a recipe whose traces a reader writes is needed: traces.reader set, sft.traces and target not"
        )
    traces = facts_of(finished(config, evaluated="before"))["traces"]["folder"]
    settings = {
        "traces": shared,
        "their answers": [*shared, "sft.target=answers", f"sft.traces={traces}"],
        "all answers": [*shared, "sft.target=answers"],
    }
    found = {}
    for kind in KINDS:
        folder = finished(load(recipe, settings[kind]), evaluated="before")
        base = Path(facts_of(folder)["policy"]["base"])
        examples = len((base.parent / "traces.jsonl").read_text().splitlines())
        found[kind] = {**json.loads((folder / "evaluation-before.json").read_text()), "examples": examples}
    return found


def table(rows: dict[int, dict[str, dict[str, Any]]]) -> str:
    """Markdown: a line a seed and kind, then the median gain of traces over each control."""
    n = next(iter(rows.values()))["traces"]["n"]
    lines = [
        f"{len(rows)} seeds, n = {n} held-out samples each, {os.cpu_count()} CPUs",
        "",
        "| seed | warm start on | examples | accuracy | finding F1 | well-formed |",
        "|---|---|---|---|---|---|",
    ]
    for seed, kinds in rows.items():
        for kind in KINDS:
            e = kinds[kind]
            f1 = f"{e['finding_f1']:.3f}" if e["finding_f1"] is not None else "-"
            lines.append(f"| {seed} | {kind} | {e['examples']} | {interval(e)} | {f1} | {e['format_rate']:.3f} |")
    for control in KINDS[1:]:
        gains = [100 * (kinds["traces"]["accuracy"] - kinds[control]["accuracy"]) for kinds in rows.values()]
        lines += ["", f"accuracy of traces over {control}: median {statistics.median(gains):+.1f} points, "]
        lines[-1] += f"by seed {', '.join(f'{gain:+.1f}' for gain in gains)}"
    return "\n".join(lines)


if __name__ == "__main__":
    main()
