"""`fundus-ray data benchmark | pack | check`: lists of benchmark images, and stores without them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_ray.cli.arguments import add
from fundus_ray.errors import ConfigError

if TYPE_CHECKING:
    from fundus_ray.types import Sample


def register(group: Any) -> None:
    """Add the commands to the topic `data`."""
    command = add(group, "benchmark", _benchmark, "list a benchmark's images, so that training keeps off them")
    command.add_argument("name", metavar="NAME", help="as it is called in reports")
    command.add_argument(
        "--keys", type=Path, required=True, metavar="PATH", help="its task files or tables, or one key a line"
    )
    command.add_argument("--root", type=Path, metavar="DIR", help="where its images lie; without it only keys count")
    command.add_argument(
        "--modality",
        action="append",
        default=[],
        metavar="NAME",
        help="where files name them: instead of fundus and OCT",
    )
    command.add_argument("--out", required=True, metavar="PARQUET")
    _register_pack(group)

    command = add(group, "check", _check, "read a store in full: hashes, halves, leaks")
    command.add_argument("store", metavar="DIR")
    command.add_argument("--benchmarks", action="append", default=[], metavar="PARQUET", help="further lists")


def _register_pack(group: Any) -> None:
    command = add(group, "pack", _pack, "write a store to train on, without the benchmarks' images")
    command.add_argument(
        "rows",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="imported sets (folders of `data import`, or its NAME.jsonl), which are asked FunBench's twelve kinds of "
        "question; or a JSONL of your own questions, as for data.source=jsonl",
    )
    command.add_argument("--out", required=True, metavar="DIR", help="the store: a folder, or s3://... and such")
    command.add_argument("--benchmarks", action="append", default=[], metavar="PARQUET", help="may be given again")
    command.add_argument("--tasks", nargs="+", metavar="TASK", help="of imported sets: L1a ... L4d (default all)")
    command.add_argument("--open", action="store_true", help="of imported sets: without options, for free answers")
    command.add_argument("--licence", metavar="TEXT", help="of the images of your own questions")
    command.add_argument(
        "--eval-fraction", type=_share, default=0.2, metavar="X", help="patients held out (default 0.2)"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="who is held out, and wording (default 0)")
    command.add_argument("--workers", type=_count, default=1, metavar="N", help="processes that hash (default 1)")


def _benchmark(args: argparse.Namespace) -> None:
    from fundus_ray.data.leaks.benchmark import benchmark_images, write_benchmarks
    from fundus_ray.data.leaks.keys import benchmark_pictures
    from fundus_ray.evaluate.benchmarks.modality import kept_modality

    pictures = benchmark_pictures(
        args.keys, root=args.root, keep=lambda modality: kept_modality(modality, args.modality)
    )
    images, unread = benchmark_images(args.name, pictures)
    if args.root and unread == len(images.keys):
        raise ConfigError(f"--root {args.root} holds none of the {unread} images, such as {images.keys[0]}")
    write_benchmarks(args.out, [images])
    print(f"wrote {args.out}: {len(images.keys)} images of {args.name}, {unread} of them by key only")


def _pack(args: argparse.Namespace) -> None:
    from fundus_ray.data.leaks.benchmark import read_benchmarks
    from fundus_ray.data.questions.imported import ImportedSets, sort_files
    from fundus_ray.data.questions.wording import TASKS
    from fundus_ray.data.registry import origin_of
    from fundus_ray.data.store.pack import pack, pictures_of

    unknown = sorted(set(args.tasks or ()) - set(TASKS))
    if unknown:
        raise ConfigError(f"--tasks {unknown[0]} is no task; known are {', '.join(TASKS)}")
    imports, asked = sort_files([path.resolve() for path in args.rows])
    sets = ImportedSets(imports, tasks=tuple(args.tasks or TASKS), closed=not args.open, seed=args.seed)
    _check_options(args, imports=imports, asked=asked)
    own = _own_questions(asked)
    imported = list(sets.pictures())
    licences = {source: origin_of(source).licence for source in {picture.source for picture in imported}}
    pictures = [*imported, *pictures_of(own)]
    packed = pack(
        args.out,
        chain(sets.samples(), own),
        pictures=pictures,
        licences={**licences, **{file.stem: args.licence for file in asked}},
        benchmarks=[one for path in args.benchmarks for one in read_benchmarks(path)],
        eval_fraction=args.eval_fraction,
        seed=args.seed,
        image_root=_shared_folder(
            [*(str(file.parent) for file in asked), *(os.path.dirname(p.path) for p in pictures)]
        ),
        workers=args.workers,
    )
    halves = ", ".join(f"{count} {split}" for split, count in packed.manifest.counts["split"].items())
    print(f"wrote {args.out}: {halves}; {len(packed.leaks)} images left out, {len(packed.copies)} pairs of copies")
    if "eval" not in packed.manifest.counts["split"]:
        print("no patient is held out: train with evaluate.samples=0, or pack with another --seed or --eval-fraction")
    if packed.left_out:
        first = packed.left_out[0]
        print(f"{len(packed.left_out)} images have labels that cannot be used, the first: {first.where}: {first.why}")


def _check_options(args: argparse.Namespace, *, imports: Sequence[Path], asked: Sequence[Path]) -> None:
    from fundus_ray.data.registry import ORIGINS

    if asked and not args.licence:
        raise ConfigError(f"{asked[0]} holds questions of your own: give the licence of their images (--licence TEXT)")
    taken = next((file for file in asked if file.stem in ORIGINS), None)
    if taken:
        raise ConfigError(
            f"{taken} would count as the public set {taken.stem}, with its patients and licence; rename it"
        )
    if args.licence and not asked:
        raise ConfigError("--licence is for your own questions; of imported sets `fundus-ray data sets` has it")
    if not imports and (args.tasks or args.open):
        raise ConfigError("--tasks and --open are for imported sets; your own questions are taken as they are")


def _own_questions(files: Sequence[Path]) -> list[Sample]:
    if not files:
        return []
    from fundus_ray.data.jsonl import undivided_samples
    from fundus_ray.knowledge.vocabulary import load_vocabulary

    ids = load_vocabulary().ids
    # Their halves are drawn with those of all other sets.
    return [sample for file in files for sample in undivided_samples(file, finding_ids=ids)]


def _shared_folder(folders: Sequence[str]) -> str:
    """The folder that all of these lie in, below which the store names its images."""
    return os.path.commonpath(set(folders))


def _check(args: argparse.Namespace) -> None:
    from fundus_ray.data.leaks.benchmark import read_benchmarks
    from fundus_ray.data.store.halves import check_store
    from fundus_ray.data.store.manifest import verify_shards
    from fundus_ray.data.store.read import Store
    from fundus_ray.knowledge.vocabulary import load_vocabulary

    store = Store(args.store)
    verify_shards(store.folder, store.manifest)
    further = tuple(one for path in args.benchmarks for one in read_benchmarks(path))
    check_store(store, finding_ids=load_vocabulary().ids, further=further)
    counts = store.manifest.counts
    print(f"{args.store} is whole: {counts['rows']} samples, {counts['images']} images, no known leak")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 0.9:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0 and at most 0.9")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)
