"""`fundus-ray evaluate`: answers to a public benchmark, stored ones or a model's, and their scores."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_ray.cli.arguments import add, take_overrides
from fundus_ray.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fundus_ray.config import Config
    from fundus_ray.evaluate.benchmarks.nearest import NearestOption
    from fundus_ray.evaluate.benchmarks.question import Benchmark
    from fundus_ray.evaluate.benchmarks.report import Beside
    from fundus_ray.evaluate_model import Answered

BENCHMARKS = ("funbench", "omnimedvqa", "gmai")
FORMS = ("benchmark", "think", "think-after", "direct")
CONTROLS = ("order", "image", "grey")
MODEL_OPTIONS = ("adapter", "images", "prompt", "e_mode", "image_px", "controls", "orders", "workers", "address")
READ = ("policy.dtype", "policy.probe_tolerance", "rollout.", "ray.", "loop.stall_s")  # settings with an effect here
NOT_READ = ("rollout.group_size", "rollout.temperature", "rollout.max_loras")
MAX_TOKENS = {"benchmark": 256, "direct": 256, "think": 1024, "think-after": 1024}  # FunBench's predict.py: 256
MODEL_LEN = 4096  # prompt, its image and the answer


def register(commands: Any) -> None:
    """Add the command."""
    command = add(commands, "evaluate", _evaluate, "score a model, or stored answers, on a public benchmark")
    command.add_argument("--benchmark", required=True, choices=BENCHMARKS)
    command.add_argument("--root", type=Path, required=True, metavar="DIR", help="the benchmark's files")
    who = command.add_mutually_exclusive_group(required=True)
    who.add_argument(
        "--predictions",
        type=Path,
        metavar="DIR",
        help="stored answers: a tree that mirrors the benchmark's, each file {image path, question_id, index: answer}",
    )
    who.add_argument("--model", type=Path, metavar="DIR", help="a checkpoint of any model that vLLM serves with images")
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
    _model_options(command.add_argument_group("with --model"))
    take_overrides(command)


def _model_options(group: Any) -> None:
    group.add_argument(
        "--adapter", type=Path, metavar="DIR", help="a run folder, a checkpoint of one, or a LoRA adapter of PEFT"
    )
    group.add_argument("--images", type=Path, metavar="DIR", help="where the images lie (default: --root)")
    group.add_argument("--prompt", choices=FORMS, help="the benchmark's own text (default), or this project's forms")
    group.add_argument("--e-mode", type=int, choices=(2, 3), help="funbench: with described findings, or 3 (default)")
    group.add_argument(
        "--image-px", type=_side, metavar="N", help="scale images to N x N; 0 = not (default: funbench 224, else 0)"
    )
    group.add_argument(
        "--controls", type=_controls, metavar="A,B", help=f"ask again otherwise: any of {', '.join(CONTROLS)}"
    )
    group.add_argument(
        "--orders", type=_count, metavar="K", help="orders of the options in --controls order (default 3)"
    )
    group.add_argument("--workers", type=_count, metavar="N", help="engines: short for rollout.workers=")
    group.add_argument("--address", metavar="ADDRESS", help="Ray: short for ray.address=")


@dataclass(frozen=True)
class _Answers:
    """All that is scored: as the benchmark asks, then the controls."""

    answered: Sequence[Answered]
    stray: Sequence[str] = ()
    made_with: dict[str, Any] = field(default_factory=dict)


def _evaluate(args: argparse.Namespace) -> None:
    from fundus_ray.evaluate.benchmarks.against import check_common, read_outcomes
    from fundus_ray.evaluate.benchmarks.nearest import NearestOption
    from fundus_ray.evaluate.benchmarks.published import OVERALL, read_published
    from fundus_ray.evaluate.benchmarks.report import notes, write_result
    from fundus_ray.evaluate.benchmarks.score import score, score_names

    _check_options(args)
    theirs = None if args.against is None else read_outcomes(args.against)
    nearest = None if args.sentence_model is None else NearestOption(args.sentence_model)
    benchmark = _read(args)
    if theirs is not None:
        check_common(args.against, theirs, benchmark)
    names = {OVERALL, *score_names(benchmark)}
    published = [] if args.published is None else read_published(args.published, names)
    answers = _stored(args, benchmark) if args.model is None else _asked(args, benchmark)
    results = [score(one.benchmark, one.answers, nearest=nearest, compat=args.compat) for one in answers.answered]
    beside = _beside(answers, results, published=published, theirs=theirs, nearest=nearest)
    try:
        write_result(args.out, results[0], beside)
    except OSError as err:
        raise ConfigError(f"--out {args.out} cannot be written: {err}") from None
    for note in (*_not_asked(answers, args.out), *notes(results[0], beside)):
        print(f"fundus-ray: note: {note}", file=sys.stderr)
    for (kind, name), value in results[0].scores.items():
        if kind in ("overall", "levels", "tasks"):
            print(f"{value:8.4f}  {name or kind}")
    for control in beside.controls:
        same = "" if control.same is None else f", same choice {control.same:.4f}"
        print(f"{control.scores['overall', '']:8.4f}  overall, {control.name}{same}")
    print(f"wrote {args.out / 'scores.json'}, scores.md, questions.jsonl")


def _not_asked(answers: _Answers, out: Path) -> list[str]:
    lines = [line for one in answers.answered for line in one.not_asked]
    return (
        [f"{len(lines)} questions could not be asked, all named in {out}/not_asked.jsonl: {lines[0]}"] if lines else []
    )


def _beside(answers: _Answers, results: Any, *, published: Any, theirs: Any, nearest: NearestOption | None) -> Beside:
    from fundus_ray.evaluate.benchmarks.controls import ORDER, control, over_orders
    from fundus_ray.evaluate.benchmarks.report import Beside
    from fundus_ray.evaluate.benchmarks.score import paired

    first, *others = results
    named = [(one.name, result) for one, result in zip(answers.answered[1:], others, strict=True)]
    orders = [result for name, result in named if name.startswith(ORDER)]
    return Beside(
        stray=answers.stray,
        published=published,
        against={} if theirs is None else paired(first, theirs),
        controls=[control(name, first, result) for name, result in named],
        orders=over_orders(first, orders) if orders else None,
        made_with=answers.made_with,
        cut_off=answers.answered[0].cut_off,
        sentence_model=None if nearest is None else nearest.named,
    )


def _check_options(args: argparse.Namespace) -> None:
    if args.compat and args.benchmark != "funbench":
        raise ConfigError(f"--compat is for funbench, not {args.benchmark}")
    if args.out.exists() and not args.out.is_dir():
        raise ConfigError(f"--out {args.out} is a file; give a folder")
    if args.against is not None and args.against.resolve() == args.out.resolve():
        raise ConfigError(f"--against {args.against} is --out, which would replace what is compared with; give another")
    given = [option for option in MODEL_OPTIONS if getattr(args, option) is not None]
    if args.model is None and (given or args.overrides):
        what = f"--{given[0].replace('_', '-')}" if given else args.overrides[0]
        raise ConfigError(f"{what} is for --model; --predictions runs no model")
    if args.e_mode is not None and (args.benchmark != "funbench" or args.prompt not in (None, "benchmark")):
        raise ConfigError("--e-mode is for funbench with --prompt benchmark")
    if args.images is not None and args.benchmark == "gmai":
        raise ConfigError("--images is not for gmai, whose images are in its tables")
    if args.orders is not None and "order" not in (args.controls or ()):
        raise ConfigError("--orders is for --controls order")
    for item in args.overrides:
        key = item.partition("=")[0]
        if not key.startswith(READ) or key in NOT_READ:
            raise ConfigError(f"{key} has no effect on evaluate; it reads policy.dtype, rollout.*, ray.*, loop.stall_s")


def _stored(args: argparse.Namespace, benchmark: Benchmark) -> _Answers:
    from fundus_ray.evaluate.benchmarks.predictions import read_predictions, strays
    from fundus_ray.evaluate_model import Answered

    answers = read_predictions(args.predictions, benchmark)
    return _Answers(
        answered=[Answered(name="", benchmark=benchmark, answers=answers)],
        stray=strays(args.predictions, benchmark, answers),
    )


def _asked(args: argparse.Namespace, benchmark: Benchmark) -> _Answers:
    from fundus_ray.evaluate.benchmarks.pictures import usual_px
    from fundus_ray.evaluate_model import Asking, answer_benchmark, made_with
    from fundus_ray.stored_model import find_model

    form = args.prompt or "benchmark"
    asking = Asking(
        form=form,
        e_mode=args.e_mode or 3,
        px=usual_px(args.benchmark) if args.image_px is None else args.image_px,
        controls=args.controls or (),
        orders=args.orders or 3,
    )
    config = _config(args, form=form)
    model = find_model(args.model, args.adapter)
    images = args.images or args.root
    answered = answer_benchmark(
        config, benchmark, model=model, asking=asking, root=args.root, images=images, out=args.out
    )
    told = made_with(config, benchmark, model=model, asking=asking, images=images)
    return _Answers(answered=answered, made_with=told)


def _config(args: argparse.Namespace, *, form: str) -> Config:
    from fundus_ray.config import load

    usual = [f"rollout.max_model_len={MODEL_LEN}", f"rollout.max_tokens={MAX_TOKENS[form]}"]
    short = [("rollout.workers", args.workers), ("ray.address", args.address)]
    named = [f"{key}={value}" for key, value in short if value is not None]
    return load(None, [*usual, *named, *args.overrides])


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


def _controls(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not set(names) <= set(CONTROLS) or len(set(names)) != len(names):
        raise argparse.ArgumentTypeError(f"{text} must be different ones of {', '.join(CONTROLS)} with commas between")
    return names


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 to 1000")
    return int(text)


def _side(text: str) -> int:
    if not text.isdecimal() or (text != "0" and not 28 <= int(text) <= 4096):
        raise argparse.ArgumentTypeError(f"{text} is neither 0 nor a whole number of 28 to 4096")
    return int(text)
