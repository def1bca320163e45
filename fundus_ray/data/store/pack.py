"""Samples of several public sets -> a store to train on, without what the benchmarks test on.

In: samples of any sets, and benchmarks. Out: the store, and beside its shards what was left out and why:

    excluded.jsonl   each image left out: source, path, benchmark, key, reason, distance, orientation
    left_out.jsonl   each image whose labels or masks cannot be used: source, key, reason
    copies.jsonl     each pair of images that show the same; their patients are in one half
    report.md        all of them, counted

All images are hashed once. About a kilobyte an image is held in memory; samples are not, where they are made as they
are asked for (questions/imported.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fundus_ray.bars import Bar
from fundus_ray.data.labelled import BadRow
from fundus_ray.data.leaks.benchmark import BenchmarkImages
from fundus_ray.data.leaks.duplicates import Copies, near_copies, same_patients
from fundus_ray.data.leaks.fingerprint import Words, file_fingerprints
from fundus_ray.data.leaks.guard import Leak, LeakGuard, Picture, all_leaks, leak_summary, picture_of
from fundus_ray.data.leaks.names import image_name
from fundus_ray.data.patients import Patient, split_patients
from fundus_ray.data.places import place
from fundus_ray.data.store.manifest import Manifest
from fundus_ray.data.store.write import refuse_store, write_store
from fundus_ray.errors import DataError
from fundus_ray.obs.strict_json import lines_of
from fundus_ray.types import Sample

EXCLUDED, LEFT_OUT, COPIES, REPORT = "excluded.jsonl", "left_out.jsonl", "copies.jsonl", "report.md"


@dataclass(frozen=True, slots=True)
class Packed:
    """What became of the samples."""

    manifest: Manifest
    leaks: tuple[Leak, ...]
    left_out: tuple[BadRow, ...]
    copies: tuple[Copies, ...]


def pack(
    folder: str | Path,
    samples: Iterable[Sample | BadRow],
    *,
    pictures: Iterable[Picture],
    licences: Mapping[str, str],
    benchmarks: Sequence[BenchmarkImages],
    eval_fraction: float,
    seed: int,
    image_root: str = "",
    workers: int = 1,
) -> Packed:
    """Leave out the benchmarks' images, divide the rest by patient and write it.

    pictures: the image of every sample, at least once. A sample that has a `split` already gets a new one, by patient
    over all sets: see data/patients.py. Sets are to be given in a fixed order, new ones last. Raises DataError as
    `write_store`, where an image cannot be read, and where nothing is left to train on. The held-out half may be empty.
    """
    refuse_store(place(folder))
    place(folder).write(REPORT, b"being written\n")  # what cannot be written is known before all images are hashed
    shown = _fingerprinted(pictures, workers=workers)
    found = all_leaks(shown, LeakGuard(benchmarks))
    gone = {leak.path for leak in found.values()}
    kept = [picture for picture in shown if picture.path not in gone]
    if not kept:
        raise DataError(f"{folder}: of {len(shown)} images none is left, as the benchmarks test on all of them")
    copies = tuple(near_copies(kept))
    half = split_patients(
        [(picture.source, picture.patient_id) for picture in kept],
        eval_fraction=eval_fraction,
        seed=seed,
        same=[*same_patients(copies), *_known_as_one(kept)],
    )
    if "train" not in half.values():
        raise DataError(
            f"{folder}: nothing is left for training: all of {len(half)} patients are held out; pack with another "
            "--seed or a smaller --eval-fraction"
        )
    mark_of = {picture.path: picture.mark for picture in kept}
    left_out: list[BadRow] = []
    rows = _rows(folder, samples, half=half, mark_of=mark_of, left_out=left_out)
    manifest = write_store(folder, rows, licences=licences, image_root=image_root, benchmarks=benchmarks)
    packed = Packed(manifest, tuple(found[at] for at in sorted(found)), tuple(left_out), copies)
    _write_report(folder, packed)
    return packed


def pictures_of(samples: Iterable[Sample]) -> Iterator[Picture]:
    """The image of each sample."""
    return (picture_of(sample, None) for sample in samples)


def _fingerprinted(pictures: Iterable[Picture], *, workers: int) -> list[Picture]:
    """One picture for each image and patient (two sets may name one file), each file hashed once."""
    owners: dict[tuple[str, str, str], Picture] = {}
    for picture in pictures:
        owners.setdefault((picture.path, picture.source, picture.patient_id), picture)
    paths = list(dict.fromkeys(path for path, _, _ in owners))
    prints = Bar(file_fingerprints(paths, workers=workers), total=len(paths), desc="fingerprints", unit="image")
    mark_of = dict(zip(paths, prints, strict=True))
    return [replace(picture, mark=mark_of[picture.path]) for picture in owners.values()]


def _rows(
    folder: str | Path,
    samples: Iterable[Sample | BadRow],
    *,
    half: Mapping[Patient, str],
    mark_of: Mapping[str, Words | None],
    left_out: list[BadRow],
) -> Iterator[tuple[Sample, Words | None]]:
    """The samples of the images in `mark_of`, with their halves. Raises DataError at the end where there is none."""
    written = 0
    for sample in samples:
        if isinstance(sample, BadRow):
            left_out.append(sample)
        elif sample.image.path in mark_of:
            written += 1
            yield replace(sample, split=half[sample.source, sample.patient_id]), mark_of[sample.image.path]
    if not written:
        why = f"; {len(left_out)} images have labels that cannot be used, {left_out[0].why}" if left_out else ""
        raise DataError(f"{folder}: no question can be asked of {len(mark_of)} images{why}")


def _known_as_one(pictures: Iterable[Picture]) -> Iterator[tuple[Patient, Patient]]:
    """Patients with a file in common, byte by byte (flat images have no fingerprint), and patients whose images' names
    say that they are one, in sets that share their names."""
    patient_of: dict[tuple[str, ...], Patient] = {}
    for picture in pictures:
        patient = (picture.source, picture.patient_id)
        name = image_name(picture.path, source=picture.source)
        for mark in [(picture.sha256,), *([(name.family, name.patient)] if name.patient else [])]:
            first = patient_of.setdefault(mark, patient)
            if first != patient:
                yield first, patient


def _write_report(folder: str | Path, packed: Packed) -> None:
    target = place(folder)
    target.write(EXCLUDED, lines_of(map(asdict, packed.leaks)).encode())
    target.write(LEFT_OUT, lines_of(map(asdict, packed.left_out)).encode())
    target.write(COPIES, lines_of(map(_pair, packed.copies)).encode())
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
        f"{len(packed.left_out)} images have labels or masks that cannot be used (each one: {LEFT_OUT}).",
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
