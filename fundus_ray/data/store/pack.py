"""Samples of several public sets -> a store to train on, without what the benchmarks test on.

In: samples of any sets, and benchmarks. Out: the store, and beside its shards what was left out and why:

    excluded.jsonl   each image left out: source, path, benchmark, key, reason, distance, orientation
    copies.jsonl     each pair of images that show the same; their patients are in one half
    report.md        both, counted

All images are hashed once; the samples themselves, and about 500 bytes an image, are held in memory.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fundus_ray.data.leaks.benchmark import BenchmarkImages
from fundus_ray.data.leaks.duplicates import Copies, near_copies, same_patients
from fundus_ray.data.leaks.fingerprint import Words, file_fingerprints
from fundus_ray.data.leaks.guard import Leak, LeakGuard, all_leaks, leak_summary, picture_of
from fundus_ray.data.leaks.names import image_name
from fundus_ray.data.patients import Patient, split_patients
from fundus_ray.data.places import place
from fundus_ray.data.store.manifest import Manifest
from fundus_ray.data.store.write import write_store
from fundus_ray.errors import DataError
from fundus_ray.types import Sample

EXCLUDED, COPIES, REPORT = "excluded.jsonl", "copies.jsonl", "report.md"


@dataclass(frozen=True, slots=True)
class Packed:
    """What became of the samples."""

    manifest: Manifest
    leaks: tuple[Leak, ...]
    copies: tuple[Copies, ...]


def pack(
    folder: str | Path,
    samples: Sequence[Sample],
    *,
    licences: Mapping[str, str],
    benchmarks: Sequence[BenchmarkImages],
    eval_fraction: float,
    seed: int,
    image_root: str = "",
    workers: int = 1,
) -> Packed:
    """Leave out the benchmarks' images, divide the rest by patient and write it.

    A sample that has a `split` already gets a new one, by patient over all sets: see data/patients.py. Sets are to be
    given in a fixed order, new ones last. Raises DataError as `write_store`, where an image cannot be read, and where
    nothing is left.
    """
    # One picture for each image and patient: two sets may name one file.
    owners: dict[tuple[str, str, str], Sample] = {}
    for sample in samples:
        owners.setdefault((sample.image.path, sample.source, sample.patient_id), sample)
    mark_of = _marks(list(dict.fromkeys(path for path, _, _ in owners)), workers=workers)
    pictures = [picture_of(sample, mark_of[sample.image.path]) for sample in owners.values()]
    found = all_leaks(pictures, LeakGuard(benchmarks))
    gone = {leak.path for leak in found.values()}
    kept = [picture for picture in pictures if picture.path not in gone]
    if not kept:
        raise DataError(f"{folder}: of {len(pictures)} images none is left, as the benchmarks test on all of them")
    copies = tuple(near_copies(kept))
    half = split_patients(
        [(picture.source, picture.patient_id) for picture in kept],
        eval_fraction=eval_fraction,
        seed=seed,
        same=[*same_patients(copies), *_known_as_one(one for one in samples if one.image.path not in gone)],
    )
    rows = (
        (replace(sample, split=half[sample.source, sample.patient_id]), mark_of[sample.image.path])
        for sample in samples
        if sample.image.path not in gone
    )
    manifest = write_store(folder, rows, licences=licences, image_root=image_root, benchmarks=benchmarks)
    packed = Packed(manifest, tuple(found[at] for at in sorted(found)), copies)
    _write_report(folder, packed)
    return packed


def _marks(paths: Sequence[str], *, workers: int) -> dict[str, Words | None]:
    prints = file_fingerprints(paths, workers=workers)
    return dict(zip(paths, tqdm(prints, total=len(paths), desc="fingerprints", unit="image"), strict=True))


def _known_as_one(samples: Iterable[Sample]) -> Iterator[tuple[Patient, Patient]]:
    """Patients with a file in common, byte by byte (flat images have no fingerprint), and patients whose images' names
    say that they are one, in sets that share their names."""
    patient_of: dict[tuple[str, ...], Patient] = {}
    for sample in samples:
        patient = (sample.source, sample.patient_id)
        name = image_name(sample.image.path, source=sample.source)
        for mark in [(sample.image.sha256,), *([(name.family, name.patient)] if name.patient else [])]:
            first = patient_of.setdefault(mark, patient)
            if first != patient:
                yield first, patient


def _write_report(folder: str | Path, packed: Packed) -> None:
    target = place(folder)
    target.write(EXCLUDED, _lines([asdict(leak) for leak in packed.leaks]))
    target.write(COPIES, _lines([_pair(copies) for copies in packed.copies]))
    target.write(REPORT, report(packed).encode())


def report(packed: Packed) -> str:
    """What was left out and why, and what the sets share, as Markdown."""
    counts = packed.manifest.counts
    lines = [
        f"# {counts['rows']} samples of {counts['images']} images, {counts['patients']} patients",
        "",
        f"{len(packed.leaks)} images were left out, as a benchmark tests on them or on the same patient "
        f"(each one: {EXCLUDED}).",
        "",
        "| source | benchmark | recognised by | images |",
        "|---|---|---|---|",
        *(f"| {r['source']} | {r['benchmark']} | {r['why']} | {r['images']} |" for r in leak_summary(packed.leaks)),
        "",
        f"{len(packed.copies)} pairs of images show the same (each one: {COPIES}); their patients share a half.",
        "",
        "| earlier source | later source | pairs |",
        "|---|---|---|",
    ]
    pairs = Counter((one.earlier.source, one.later.source) for one in packed.copies)
    lines += [f"| {earlier} | {later} | {count} |" for (earlier, later), count in pairs.most_common()]
    lines += ["", "| source | licence | samples |", "|---|---|---|"]
    lines += [f"| {name} | {packed.manifest.licences[name]} | {n} |" for name, n in counts["source"].items()]
    return "\n".join(lines) + "\n"


def _pair(copies: Copies) -> dict[str, Any]:
    ends = {"earlier": copies.earlier, "later": copies.later}
    named = {end: {"source": one.source, "path": one.path} for end, one in ends.items()}
    return {**named, "distance": copies.distance, "orientation": copies.orientation}


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
