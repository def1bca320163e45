"""A public set on the disk -> one JSONL of labelled images whose files have been decoded and hashed.

In: a registry row and the set's folder. Out: OUT/<name>.jsonl (what `read_imported` reads), OUT/<name>.left_out.jsonl
(each row that was left out, and why) and OUT/<name>.json (counts). Files are in place only after a whole import.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import MISSING, Field, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from PIL import Image

from fundus_ray.bars import Bar
from fundus_ray.data.images import DECODE_ERRORS, image_ref, misfit
from fundus_ray.data.labelled import UNGRADABLE, BadRow, Labelled, PublicSet
from fundus_ray.errors import DataError
from fundus_ray.obs.strict_json import line_of, write_json
from fundus_ray.types import ImageRef, Modality

WINDOW = 8  # images in work for each thread: what bounds the memory
KNOWN = {field.name for field in fields(Labelled)} | {"sha256", "width_px", "height_px"}  # fields of a row


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a set. `left_out` counts rows by kind."""

    name: str
    root: str
    images: int
    left_out: Mapping[str, int]
    patients: int
    file: Path
    left_out_file: Path


def import_set(public: PublicSet, *, root: Path, out: Path, strict: bool, threads: int | None = None) -> Imported:
    """Read the set, decode and hash every image, and write the three files, in the reader's order.

    Images that the set itself marks as ungradable or as no fundus are left out and counted. Raises DataError where the
    set as a whole cannot be used or nothing is left of it; where `strict`, at the first row with a fault.
    """
    if not root.is_dir():
        raise DataError(f"--root {root} is not a folder; give the top folder of {public.title}")
    root = root.resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise DataError(f"--out {out} cannot be made a folder: {err.strerror or err}") from None
    files = [out / f"{public.name}.jsonl", out / f"{public.name}.left_out.jsonl"]
    parts = [path.with_name(f".{path.name}.part") for path in files]
    left_out: Counter[str] = Counter()
    patients: set[str] = set()
    keys: set[str] = set()
    try:
        with ExitStack() as stack:
            good, bad = (stack.enter_context(part.open("w", encoding="utf-8")) for part in parts)
            bar = stack.enter_context(Bar(desc=f"importing {public.name}", unit="row", mininterval=0.5))
            for item in _once(_in_order(public.read(root), threads=threads), keys):
                bar.update()
                if isinstance(item, BadRow):
                    left_out[item.kind] += 1
                    bar.set_postfix(left_out=left_out.total(), refresh=False)
                    if strict and not item.as_marked:
                        raise DataError(f"{public.name}: {item.where}: {item.why} (without --strict it is left out)")
                    bad.write(line_of(asdict(item)) + "\n")
                else:
                    patients.add(item[0].patient_id)
                    good.write(line_of(record_of(*item)) + "\n")
        if not keys:
            raise DataError(f"{root}: no row of {public.name} can be used: {_counts(left_out) or 'it has none'}")
        for part, path in zip(parts, files, strict=True):
            os.replace(part, path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    report = Imported(public.name, str(root), len(keys), dict(left_out), len(patients), *files)
    write_json(out / f"{public.name}.json", _report(report, public))
    return report


def summary(report: Imported) -> str:
    """What became of the set, in one or two lines."""
    total = report.images + sum(report.left_out.values())
    text = f"imported {report.images} of {total} rows, {report.patients} patients, into {report.file}"
    if report.left_out:
        text += f"\nleft out: {_counts(report.left_out)}; each is named in {report.left_out_file}"
    return text


def read_imported(path: Path) -> Iterator[tuple[Labelled, ImageRef]]:
    """The rows of an import, in its order, one in memory at a time. Raises DataError on a row that is not one."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                yield _read_record(line, where=f"{path}:{number}")
    except OSError as err:
        raise DataError(f"{path} cannot be read: {err.strerror or err}") from None


def _read_record(line: str, *, where: str) -> tuple[Labelled, ImageRef]:
    try:
        record = json.loads(line)
        if unknown := sorted(set(record) - KNOWN):
            raise ValueError(f"unknown field {unknown[0]!r}")
        ref = ImageRef(record["image"], record["sha256"], width_px=record["width_px"], height_px=record["height_px"])
        return _labelled(record), ref
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise DataError(f"{where} is not a row of `fundus-ray data import`: {err!r}") from None


def _in_order(
    rows: Iterable[Labelled | BadRow], *, threads: int | None
) -> Iterator[BadRow | tuple[Labelled, ImageRef]]:
    """Each row with its image decoded, several at a time: Pillow and hashlib let other threads run meanwhile."""
    threads = threads or len(os.sched_getaffinity(0))
    waiting: deque[Future[BadRow | tuple[Labelled, ImageRef]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for row in rows:
            waiting.append(pool.submit(_checked, row))
            if len(waiting) >= threads * WINDOW:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _checked(row: Labelled | BadRow) -> BadRow | tuple[Labelled, ImageRef]:
    """The row with its image's reference, or why it is left out."""
    if isinstance(row, BadRow):
        return row
    if row.gradable is False:
        return BadRow(row.source, row.key, "the set calls this image ungradable", UNGRADABLE)
    if not row.image.is_file():
        return BadRow(row.source, row.key, f"image {row.image} does not exist", "missing file")
    try:
        ref = image_ref(row.image)
    except DataError as err:
        return BadRow(row.source, row.key, str(err), "unreadable image")
    for mask in row.masks.values():
        why = _unfit(mask, ref)
        if why:
            return BadRow(row.source, row.key, why, "unusable mask")
    return row, ref


def _unfit(mask: Path, ref: ImageRef) -> str:
    """Why a mask cannot be laid over its image; "" where it can."""
    try:
        with Image.open(mask) as image:
            size = image.size
    except DECODE_ERRORS as err:
        return f"mask {mask} cannot be read: {' '.join(str(err).split())}"
    return misfit(mask, size=size, image=(ref.width_px, ref.height_px))


def _once(
    rows: Iterable[BadRow | tuple[Labelled, ImageRef]], keys: set[str]
) -> Iterator[BadRow | tuple[Labelled, ImageRef]]:
    """The rows, with a second one of the same image as a BadRow. `keys` takes those of the images that pass."""
    for row in rows:
        if not isinstance(row, BadRow):
            if row[0].key in keys:
                yield BadRow(row[0].source, row[0].key, "an earlier row is of the same image", "second row of an image")
                continue
            keys.add(row[0].key)
        yield row


def record_of(row: Labelled, ref: ImageRef) -> dict[str, Any]:
    """One line of the JSONL; fields that are as by default are left out."""
    said = {field.name: value for field in fields(Labelled) if (value := getattr(row, field.name)) != _default(field)}
    written: dict[str, Any] = {"image": str(row.image), "modality": row.modality.value}
    if row.masks:
        written["masks"] = {name: str(path) for name, path in row.masks.items()}
    return {**said, **written, "sha256": ref.sha256, "width_px": ref.width_px, "height_px": ref.height_px}


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _labelled(record: Mapping[str, Any]) -> Labelled:
    """The inverse of `record_of`."""
    readers: dict[str, Callable[[Any], Any]] = {
        "image": Path,
        "modality": Modality,
        "masks": lambda masks: {name: Path(path) for name, path in masks.items()},
    }
    names = [field.name for field in fields(Labelled) if field.name in record]
    return Labelled(**{name: readers.get(name, _tuple)(record[name]) for name in names})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _counts(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(left_out.items(), key=lambda item: -item[1]))


def _report(report: Imported, public: PublicSet) -> dict[str, Any]:
    about = {
        key: getattr(public, key) for key in ("title", "licence", "url", "patient_key", "citation", "same_people_as")
    }
    counts = {"images": report.images, "patients": report.patients, "left_out": report.left_out}
    return {"name": report.name, "root": report.root, **counts, "set": about}
