"""`fundus-ray data`: look at what is learned from, and import public data sets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fundus_ray.cli import data_phantoms, data_store
from fundus_ray.cli.arguments import add, take_overrides, topic


def register(commands: Any) -> None:
    """Add the topic."""
    group = topic(commands, "data", "look at the training images, import public sets, keep benchmarks out")
    data_phantoms.register(group)
    data_store.register(group)

    command = add(group, "image", _image, "which file an image is that a run names by its hash")
    command.add_argument("sha256", metavar="SHA256", help="its hash, or at least the first 8 digits")
    command.add_argument("--config", type=Path, required=True, metavar="YAML", help="the run's: RUN_DIR/config.yaml")
    take_overrides(command)

    add(group, "sets", _sets, "the public data sets that can be imported")

    command = add(group, "import", _import, "read a public data set as it lies on the disk: labels, masks, hashes")
    command.add_argument("name", metavar="NAME", help="as `fundus-ray data sets` lists it")
    command.add_argument("--root", type=Path, required=True, metavar="DIR", help="the set's own top folder")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets NAME.jsonl and what was left out")
    command.add_argument("--strict", action="store_true", help="stop at the first row with a fault")


def _image(args: argparse.Namespace) -> None:
    from fundus_ray.config import load
    from fundus_ray.data.by_hash import samples_of_image
    from fundus_ray.knowledge.store import records_of

    config = load(args.config, args.overrides)
    found = samples_of_image(
        config,
        args.sha256,
        cache_dir=Path(config.run.dir).resolve() / "cache",
        finding_ids=records_of(config.knowledge).vocabulary.ids,
    )
    for path, samples in found.items():
        print(f"{path}: {', '.join(samples)}")


def _sets(_: argparse.Namespace) -> None:
    from fundus_ray.data.registry import SETS

    for public in SETS.values():
        people = public.patient_key or "not named"
        print(f"{public.name}: {public.title}, {public.modality.value}; licence: {public.licence}; patients: {people}")
        print(f"    {public.url}\n    {public.citation}")


def _import(args: argparse.Namespace) -> None:
    from fundus_ray.data.importing import import_set, summary
    from fundus_ray.data.registry import public_set

    print(summary(import_set(public_set(args.name), root=args.root, out=args.out, strict=args.strict)))
