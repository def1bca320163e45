"""One row of a store: a `Sample`, and the fingerprint of its image.

The image's path is kept relative to the manifest's image root where it lies below it, so that images can be moved.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from fundus_ray.data.leaks.benchmark import PRINT, print_bytes
from fundus_ray.data.leaks.fingerprint import Words
from fundus_ray.data.places import is_address
from fundus_ray.types import ImageRef, Modality, Sample

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("sha256", pa.string()),
        ("width_px", pa.int32()),
        ("height_px", pa.int32()),
        ("modality", pa.string()),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("answer", pa.list_(pa.string())),
        ("task", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("patient_id", pa.string()),
        ("findings", pa.list_(pa.string())),  # null = image not annotated
        ("looked_for", pa.list_(pa.string())),  # null = all
        ("fingerprint", PRINT),  # null = flat, or not made
    ]
)


def row_of(sample: Sample, mark: Words | None, *, image_root: str) -> dict[str, Any]:
    """The sample as a row."""
    return {
        "id": sample.id,
        "image": below(sample.image.path, image_root),
        "sha256": sample.image.sha256,
        "width_px": sample.image.width_px,
        "height_px": sample.image.height_px,
        "modality": sample.modality.value,
        "question": sample.question,
        "options": list(sample.options),
        "answer": list(sample.answer),
        "task": sample.task,
        "source": sample.source,
        "split": sample.split,
        "patient_id": sample.patient_id,
        "findings": None if sample.findings is None else list(sample.findings),
        "looked_for": None if sample.looked_for is None else list(sample.looked_for),
        "fingerprint": print_bytes(mark),
    }


def sample_of(row: Mapping[str, Any], *, image_root: str) -> Sample:
    """The row as a sample."""
    return Sample(
        id=row["id"],
        image=ImageRef(
            path=joined(row["image"], image_root),
            sha256=row["sha256"],
            width_px=row["width_px"],
            height_px=row["height_px"],
        ),
        modality=Modality(row["modality"]),
        question=row["question"],
        options=tuple(row["options"]),
        answer=tuple(row["answer"]),
        task=row["task"],
        source=row["source"],
        split=row["split"],
        patient_id=row["patient_id"],
        findings=None if row["findings"] is None else tuple(row["findings"]),
        looked_for=None if row["looked_for"] is None else tuple(row["looked_for"]),
    )


def root_of(folder: str) -> str:
    """A folder of images as it is kept: an address, or a whole path; "" where there is none."""
    if not folder or is_address(folder):
        return folder.rstrip("/")
    return os.path.abspath(Path(folder).expanduser())  # links stay: a mount may be named by one


def below(path: str, image_root: str) -> str:
    """`path` relative to the root where it lies below it, else as it is."""
    return path.removeprefix(f"{image_root}/") if image_root else path


def joined(path: str, image_root: str) -> str:
    """The reverse of `below`."""
    return path if not image_root or path.startswith("/") or is_address(path) else f"{image_root}/{path}"
