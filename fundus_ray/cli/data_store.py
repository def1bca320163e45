"""`fundus-ray data benchmark | pack | check`: lists of benchmark images, and stores without them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fundus_ray.cli.arguments import add


def register(group: Any) -> None:
    """Add the commands to the topic `data`."""
    command = add(group, "benchmark", _benchmark, "list a benchmark's images, so that training keeps off them")
    command.add_argument("name", metavar="NAME", help="as it is called in reports")
    command.add_argument("--keys", type=Path, required=True, metavar="PATH", help="its task files, or one key a line")
    command.add_argument("--root", type=Path, metavar="DIR", help="where its images lie; without it only keys count")
    command.add_argument("--out", required=True, metavar="PARQUET")

    command = add(group, "pack", _pack, "write a store from a JSONL of samples, without the benchmarks' images")
    command.add_argument("rows", type=Path, metavar="JSONL", help="as for data.source=jsonl; its name is the source")
    command.add_argument("--out", required=True, metavar="DIR", help="the store: a folder, or s3://... and such")
    command.add_argument("--benchmarks", action="append", default=[], metavar="PARQUET", help="may be given again")
    command.add_argument("--licence", required=True, metavar="TEXT", help="of the images")
    command.add_argument(
        "--eval-fraction", type=_share, default=0.2, metavar="X", help="patients held out (default 0.2)"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="which ones (default 0)")
    command.add_argument("--workers", type=_count, default=1, metavar="N", help="processes that hash (default 1)")

    command = add(group, "check", _check, "read a store in full: hashes, halves, leaks")
    command.add_argument("store", metavar="DIR")
    command.add_argument("--benchmarks", action="append", default=[], metavar="PARQUET", help="further lists")


def _benchmark(args: argparse.Namespace) -> None:
    from fundus_ray.data.leaks.benchmark import benchmark_images, write_benchmarks
    from fundus_ray.data.leaks.keys import benchmark_keys

    keys = benchmark_keys(args.keys)
    images, unread = benchmark_images(args.name, [(key, args.root / key if args.root else None) for key in keys])
    write_benchmarks(args.out, [images])
    print(f"wrote {args.out}: {len(keys)} images of {args.name}, {unread} of them by key only")


def _pack(args: argparse.Namespace) -> None:
    from fundus_ray.data.jsonl import jsonl_samples
    from fundus_ray.data.leaks.benchmark import read_benchmarks
    from fundus_ray.data.store.pack import pack
    from fundus_ray.knowledge.vocabulary import load_vocabulary

    rows = args.rows.resolve()
    samples = jsonl_samples(rows, finding_ids=load_vocabulary().ids, eval_fraction=args.eval_fraction, seed=args.seed)
    packed = pack(
        args.out,
        samples,
        licences={rows.stem: args.licence},
        benchmarks=[one for path in args.benchmarks for one in read_benchmarks(path)],
        eval_fraction=args.eval_fraction,
        seed=args.seed,
        image_root=str(rows.parent),
        workers=args.workers,
    )
    halves = ", ".join(f"{count} {split}" for split, count in packed.manifest.counts["split"].items())
    print(f"wrote {args.out}: {halves}; {len(packed.leaks)} images left out, {len(packed.copies)} pairs of copies")


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
