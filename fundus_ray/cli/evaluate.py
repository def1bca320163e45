"""`fundus-ray evaluate`: score answers to a public benchmark."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_ray.cli.arguments import add
from fundus_ray.errors import ConfigError

if TYPE_CHECKING:
    from fundus_ray.evaluate.benchmarks.question import Benchmark

BENCHMARKS = ("funbench", "omnimedvqa", "gmai")


def register(commands: Any) -> None:
    """Add the command."""
    command = add(commands, "evaluate", _evaluate, "score stored answers to a public benchmark as its authors do")
    command.add_argument("--benchmark", required=True, choices=BENCHMARKS)
    command.add_argument("--root", type=Path, required=True, metavar="DIR", help="the benchmark's files")
    command.add_argument(
        "--predictions",
        type=Path,
        required=True,
        metavar="DIR",
        help="stored answers: a tree that mirrors the benchmark's, each file {image path, question_id, index: answer}",
    )
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="for scores.json and the tables")
    command.add_argument("--compat", action="store_true", help="funbench: as the published scorer where that differs")
    command.add_argument(
        "--sentence-model",
        metavar="MODEL",
        help="reads answers that no rule reads: a folder of all-MiniLM-L6-v2, or `minilm` for the package's",
    )
    command.add_argument(
        "--modality", action="append", default=[], metavar="NAME", help="omnimedvqa, gmai: instead of fundus and OCT"
    )
    command.add_argument("--published", type=Path, metavar="CSV", help="published results, printed beside ours")
    command.add_argument("--against", type=Path, metavar="DIR", help="--out of another run: McNemar's test")


def _evaluate(args: argparse.Namespace) -> None:
    from fundus_ray.evaluate.benchmarks.against import read_outcomes
    from fundus_ray.evaluate.benchmarks.nearest import NearestOption
    from fundus_ray.evaluate.benchmarks.predictions import read_predictions, strays
    from fundus_ray.evaluate.benchmarks.published import OVERALL, read_published
    from fundus_ray.evaluate.benchmarks.report import notes, write_result
    from fundus_ray.evaluate.benchmarks.score import paired, score

    if args.compat and args.benchmark != "funbench":
        raise ConfigError(f"--compat is for funbench, not {args.benchmark}")
    if args.out.exists() and not args.out.is_dir():
        raise ConfigError(f"--out {args.out} is a file; give a folder")
    if args.against is not None and args.against.resolve() == args.out.resolve():
        raise ConfigError(f"--against {args.against} is --out, which would replace what is compared with; give another")
    theirs = None if args.against is None else read_outcomes(args.against)
    benchmark = _read(args)
    answers = read_predictions(args.predictions, benchmark)
    stray = strays(args.predictions, benchmark, answers)
    nearest = None if args.sentence_model is None else NearestOption(args.sentence_model)
    result = score(benchmark, answers, nearest=nearest, compat=args.compat)
    names = {OVERALL, *(name for kind, name in result.scores if kind in ("levels", "tasks"))}
    published = [] if args.published is None else read_published(args.published, names)
    against = None if theirs is None else paired(result, theirs)
    try:
        write_result(args.out, result, stray=stray, published=published, against=against)
    except OSError as err:
        raise ConfigError(f"--out {args.out} cannot be written: {err}") from None
    for note in notes(result, stray=stray):
        print(f"fundus-ray: note: {note}", file=sys.stderr)
    for (kind, name), value in result.scores.items():
        if kind in ("overall", "levels", "tasks"):
            print(f"{value:8.4f}  {name or kind}")
    print(f"wrote {args.out / 'scores.json'}, scores.md, questions.jsonl")


def _read(args: argparse.Namespace) -> Benchmark:
    from fundus_ray.evaluate.benchmarks.funbench import read_funbench_root
    from fundus_ray.evaluate.benchmarks.gmai import read_gmai_root
    from fundus_ray.evaluate.benchmarks.omnimedvqa import read_omnimedvqa_root

    if args.benchmark == "funbench":
        if args.modality:
            raise ConfigError("--modality is for omnimedvqa and gmai; funbench has its own levels")
        return read_funbench_root(args.root)
    read = read_omnimedvqa_root if args.benchmark == "omnimedvqa" else read_gmai_root
    return read(args.root, modalities=args.modality)
