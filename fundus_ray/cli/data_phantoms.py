"""`fundus-ray data sheet | phantoms`: rendered images to look at, to train on, and as a benchmark."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fundus_ray.cli.arguments import add

KINDS = ("cfp", "oct", "uwf", "photo")  # as data/rendered/kinds.py names them


def register(group: Any) -> None:
    """Add the commands to the topic `data`."""
    command = add(group, "sheet", _sheet, "a contact sheet of phantoms, one row a disease, as a PNG")
    command.add_argument("--out", type=Path, required=True, metavar="PNG")
    command.add_argument("--columns", type=int, default=8, metavar="N", help="phantoms of each disease (default 8)")
    command.add_argument(
        "--modality", choices=KINDS, help="graded phantoms of this kind; without it those of the quickstart"
    )
    command.add_argument("--masks", action="store_true", help="outline each finding's mask; needs --modality")

    command = add(group, "phantoms", _phantoms, "draw labelled phantoms to train on, and a FunBench-shaped benchmark")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets SOURCE.jsonl, train/, benchmark/")
    command.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=", ".join(KINDS)
    )
    command.add_argument("--train", type=int, default=500, metavar="N", help="for training, of each kind (default 500)")
    command.add_argument(
        "--held-out", type=int, default=100, metavar="N", help="in the benchmark, of each kind (default 100)"
    )
    command.add_argument("--image-px", type=int, default=224, metavar="PX", help="width of an image (default 224)")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="which images (default 0)")
    command.add_argument(
        "--option-order",
        choices=("given", "sorted"),
        default="given",
        help="of the benchmark's options: as FunBench draws them, or sorted, so that the same ones keep their letters",
    )


def _sheet(args: argparse.Namespace) -> None:
    from fundus_ray.data.rendered.sheet import write_graded_sheet, write_sheet
    from fundus_ray.errors import DataError

    if args.modality:
        write_graded_sheet(args.out, kind=args.modality, columns=args.columns, outlines=args.masks)
    elif args.masks:
        raise DataError("--masks needs --modality: cfp, oct, uwf or photo")
    else:
        write_sheet(args.out, columns=args.columns)
    print(f"wrote {args.out}")


def _phantoms(args: argparse.Namespace) -> None:
    from fundus_ray.data.rendered.sets import write_sets

    written = write_sets(
        args.out,
        kinds=args.kinds,
        train=args.train,
        held_out=args.held_out,
        image_px=args.image_px,
        seed=args.seed,
        option_order=args.option_order,
    )
    for path in written.imports:
        print(f"wrote {path}: {args.train} images to train on")
    if written.benchmark:
        total, files = sum(written.questions.values()), len(written.questions)
        print(
            f"wrote {written.benchmark}: {total} questions in {files} task files, for `evaluate --benchmark funbench`"
        )
