"""Machines that exist on paper, and as much of a checkpoint as is read without its weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fundus_ray.config import Config
from fundus_ray.doctor.ask_nodes import Machine
from fundus_ray.doctor.case import Case
from fundus_ray.doctor.needs import PACKAGES, needs_of
from fundus_ray.places import Node, groups_of

GIB = 1 << 30
GPU_BYTES = 81_559 << 20  # what nvidia-smi says of an H100 of 80 GB
OWN = {"python": "3.11.7", "fundus_ray": "0123456789ab", **dict.fromkeys(PACKAGES, "1.0")}


def node(name: str = "10.0.0.1", **total: float) -> Node:
    """A machine of which nothing is in use; 16 CPUs where nothing else is said."""
    amounts = {"CPU": 16.0, **total}
    return Node(name, amounts, amounts)


def machine(config: Config, place: Node, *, snapshot: str = "", **answers: Any) -> Machine:
    """One that answers as a good one does, but for `answers`."""
    needs = needs_of(config, snapshot=snapshot)
    gpu = {"name": "NVIDIA H100 80GB HBM3", "total": GPU_BYTES, "used": 0}
    good = {
        "host": place.name,
        "versions": OWN,
        "memory": {"total": 512 * GIB, "free": 500 * GIB},
        "shared_memory": 64 * GIB,
        "gpus": [gpu] * int(place.total.get("GPU", 0)),
        "disks": {str(needs.run_dir): 1000 * GIB},
        "models": {m: {"config": "", "bytes": 0, "problem": ""} for m in needs.question("x")["models"]},
        "images": {ref.path: {"sha256": ref.sha256} for ref in needs.images},
        "marker": {"problem": ""},
        "search": {"cluster": "one", "index": "fundus-ray-x", "passages": 7} if snapshot else {},
    }
    return Machine(place, {**good, **answers})


def case_of(config: Config, machines: Sequence[Machine], *, snapshot: str = "") -> Case:
    """What the checks look at."""
    return Case(needs_of(config, snapshot=snapshot), groups_of(config), machines, own=OWN)


def checkpoint(folder: Path, config: dict[str, Any], *, max_pixels: int = 1_003_520) -> Path:
    """As much of a checkpoint as is read without its weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps({"min_pixels": 3136, "max_pixels": max_pixels}))
    return folder
