#!/usr/bin/env python
"""The whole way on a FunBench-shaped benchmark of held-out rendered eyes: one table of all twelve tasks.

    python scripts/benchmark_phantoms.py [--train N] [--held-out N] [--kinds KIND ...] [section.key=value ...]

    rendered eyes -> import JSONL -> store without the benchmark's images -> warm start, RLVR (configs/benchmark.yaml)
                  -> benchmark    -> `fundus-ray evaluate` of the warm start (before) and of the last adapter (after)

Scores are FunBench's: the harmonic mean of sensitivity and specificity, over labels, sub-tasks, tasks, levels. Chance
is the same score of options drawn evenly, mean of 20 draws. Brackets: 95 % bootstrap over patients; p: McNemar, exact.

Each step is kept in runs/benchmark and found again; a change of the settings makes what depends on it anew. Writes
benchmark.md there; with --readme the section of README.md too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finished_runs import facts_of, finished
from readme_section import write_section

from fundus_ray.cli import main as fundus_ray
from fundus_ray.config import load
from fundus_ray.evaluate.benchmarks.funbench import read_funbench_root
from fundus_ray.evaluate.benchmarks.question import Benchmark, Question, Verdict
from fundus_ray.evaluate.benchmarks.statistic import OVERALL, Name, funbench_statistic, places, point

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = "scripts/benchmark_phantoms.py"
RECIPE = ROOT / "configs" / "benchmark.yaml"
CHANCE_DRAWS = 20
DONE = "DONE"  # marks a folder that was written to its end
STORE = "store"  # of such a folder
ASKED = ("--prompt", "think", "--image-px", "0")  # as in training; the eyes are small already


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=1500, help="eyes of each kind to learn from (default 1500)")
    parser.add_argument("--held-out", type=int, default=200, help="of each kind in the benchmark (default 200)")
    parser.add_argument("--kinds", nargs="+", default=["cfp", "oct", "uwf"], help="default cfp oct uwf")
    parser.add_argument("--seed", type=int, default=0, help="of the rendered eyes (default 0)")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark"), help="default runs/benchmark")
    parser.add_argument("--readme", action="store_true", help="also write the section of README.md")
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE")
    args = parser.parse_intermixed_args()
    config = load(RECIPE, args.overrides)
    drawn: dict[str, Any] = {
        "kinds": args.kinds,
        "train": args.train,
        "held_out": args.held_out,
        "px": config.data.image_px,
        "option_order": config.data.option_order,
    }
    eyes = once(args.folder / "eyes", lambda out: render(out, **drawn, seed=args.seed), **drawn, seed=args.seed)
    benchmark = eyes / "benchmark"
    store = once(args.folder / "store", lambda out: pack(out, eyes=eyes), eyes=eyes.name)
    settings = [
        f"data.path={(store / STORE).resolve()}",
        f"run.dir={args.folder}",
        "evaluate.photo=false",
        *args.overrides,
    ]
    run_dir = finished(load(RECIPE, settings), evaluated="after")
    scores = evaluate_both(run_dir, benchmark)
    text = table(scores, chance=chance(read_funbench_root(benchmark), draws=CHANCE_DRAWS))
    print("\n" + text)
    (args.folder / "benchmark.md").write_text(text + "\n")
    print(f"\nwritten to {args.folder / 'benchmark.md'}")
    if args.readme:
        write_section(text, script=SCRIPT, root=ROOT)


def once(folder: Path, make: Any, **settings: Any) -> Path:
    """The folder that `make` filled with these settings, from an earlier call or now."""
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    place = folder.with_name(f"{folder.name}-{key}")
    if not (place / DONE).is_file():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        make(place)
        (place / DONE).write_text(json.dumps(settings) + "\n")
    return place


def render(
    out: Path, *, kinds: Sequence[str], train: int, held_out: int, px: int, option_order: str, seed: int
) -> None:
    """`out`/*.jsonl: the eyes to learn from, as an import leaves them; `out`/benchmark: the held-out ones."""
    sizes = ("--train", str(train), "--held-out", str(held_out), "--image-px", str(px), "--seed", str(seed))
    run("data", "phantoms", "--out", str(out), "--kinds", *kinds, *sizes, "--option-order", option_order)


def pack(out: Path, *, eyes: Path) -> None:
    """`out`/store: the twelve tasks' questions, without what the benchmark shows."""
    known, root = out / "benchmark.parquet", str(eyes / "benchmark")
    run("data", "benchmark", "phantoms", "--keys", root, "--root", root, "--out", str(known))
    imports = map(str, sorted(eyes.glob("*.jsonl")))
    run("data", "pack", *imports, "--benchmarks", str(known), "--out", str(out / STORE))


def evaluate_both(run_dir: Path, benchmark: Path) -> dict[str, Mapping[str, Any]]:
    """scores.json of the warm start and of the last adapter; answers of an earlier call are not asked for again."""
    base = facts_of(run_dir)["policy"]["base"]
    before, after = run_dir / "benchmark-before", run_dir / "benchmark-after"
    shared = ("--benchmark", "funbench", "--root", str(benchmark), "--model", base, *ASKED)
    run("evaluate", *shared, "--out", str(before))
    run("evaluate", *shared, "--adapter", str(run_dir), "--out", str(after), "--against", str(before))
    return {
        when.name.removeprefix("benchmark-"): json.loads((when / "scores.json").read_text()) for when in (before, after)
    }


def run(*words: str) -> None:
    """A command of `fundus-ray`, which must succeed."""
    print(f"$ fundus-ray {' '.join(words)}", flush=True)
    if code := fundus_ray(words):
        raise SystemExit(code)


def chance(benchmark: Benchmark, *, draws: int) -> dict[Name, float]:
    """Score of answers drawn evenly from the options, one option each; mean over the draws."""
    totals: dict[Name, list[float]] = {}
    for draw in range(draws):
        files = {file.path: [_drawn(question, draw) for question in file.questions] for file in benchmark.files}
        place = places([verdict for own in files.values() for verdict in own])
        for name, value in point(funbench_statistic(files, place, guard=True), len(place)).items():
            totals.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in totals.items()}


def _drawn(question: Question, draw: int) -> Verdict:
    rng = random.Random(f"{draw}:{question.file}:{question.key}")
    return Verdict(question, None, "", "drawn", (rng.choice(question.options),))


def table(scores: Mapping[str, Mapping[str, Any]], *, chance: Mapping[Name, float]) -> str:
    """Markdown: a line for the whole, each level and each task."""
    before, after = scores["before"], scores["after"]
    counts = after["counts"]
    lines = [
        f"{counts['questions']} questions about held-out rendered eyes of {counts['patients']} patients; "
        f"{counts['unmatched']} answers after and {before['counts']['unmatched']} before chose no option. "
        f"{os.cpu_count()} CPUs.",
        "",
        "| score of | chance | before RLVR | after RLVR | change |",
        "|---|---|---|---|---|",
        _line("overall", chance[OVERALL], before, after, kind="overall"),
        *(_line(name, chance["levels", name], before, after, kind="levels") for name in sorted(after["levels"])),
        *(_line(name, chance["tasks", name], before, after, kind="tasks") for name in sorted(after["tasks"])),
        "",
        _paired(after["against"]["all"]),
    ]
    return "\n".join(lines)


def _line(name: str, drawn: float, before: Mapping[str, Any], after: Mapping[str, Any], *, kind: str) -> str:
    pair = [_of(scores, kind, name) for scores in (before, after)]
    bounds = [_of(scores["intervals"], kind, name) for scores in (before, after)]
    cells = [_cell(value, bound) for value, bound in zip(pair, bounds, strict=True)]
    change = "" if None in pair else f"{100 * (pair[1] - pair[0]):+.1f}"
    return f"| {name} | {drawn:.3f} | {cells[0]} | {cells[1]} | {change} |"


def _of(scores: Mapping[str, Any], kind: str, name: str) -> Any:
    return scores["overall"] if kind == "overall" else scores[kind].get(name)


def _cell(value: float | None, bounds: Sequence[float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else "")


def _paired(pair: Mapping[str, Any]) -> str:
    return (
        f"Of {pair['questions']} questions {pair['only_ours']} are right after RLVR alone and {pair['only_theirs']} "
        f"before it alone (McNemar, exact: p = {pair['p']:.2g})."
    )


if __name__ == "__main__":
    main()
