"""Which training images are a benchmark's, and why.

In: pictures (source, path, patient) with their fingerprints, and benchmarks. Out: for each picture that must go, a
`Leak`: by key (its path names the benchmark's image), by patient (the same person's eye), or by its fingerprint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fundus_ray.data.leaks.benchmark import BenchmarkImages, stacked
from fundus_ray.data.leaks.fingerprint import BITS, Words
from fundus_ray.data.leaks.names import image_name
from fundus_ray.data.leaks.neighbours import PrintIndex
from fundus_ray.errors import DataError
from fundus_ray.types import Sample

PICTURES_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Picture:
    """A training image; `owner` names it in messages (a sample's id, or its key)."""

    owner: str
    source: str
    path: str
    patient_id: str
    mark: Words | None = None
    sha256: str = ""  # of the file's bytes


@dataclass(frozen=True, slots=True)
class Leak:
    """`picture` is image `key` of `benchmark`, or of the same patient.

    why: "key", "patient", "fingerprint". distance: bits of 512 that differ; None where no fingerprint decided.
    """

    owner: str
    source: str
    path: str
    benchmark: str
    key: str
    why: str
    distance: int | None = None
    orientation: str = ""

    def text(self) -> str:
        """One readable line without its end."""
        how = {
            "key": "by its key",
            "patient": "of the same patient",
            "fingerprint": f"by its fingerprint, {self.distance} of {BITS} bits differ, {self.orientation}",
        }[self.why]
        return f"{self.owner} ({self.source}, image {self.path}): {self.benchmark} tests on {self.key} ({how})"


class LeakGuard:
    """Benchmarks, ready to be compared with."""

    def __init__(self, benchmarks: Sequence[BenchmarkImages]) -> None:
        self._images: dict[tuple[str, str], tuple[str, str]] = {}  # (family, image or patient) -> (benchmark, key)
        self._patients: dict[tuple[str, str], tuple[str, str]] = {}
        for one in benchmarks:
            for key in one.keys:
                name = image_name(key)
                self._images.setdefault((name.family, name.image), (one.name, key))
                if name.patient:
                    self._patients.setdefault((name.family, name.patient), (one.name, key))
        prints, rows = stacked(mark for one in benchmarks for mark in one.prints)
        named = [(one.name, key) for one in benchmarks for key in one.keys]
        self._named = [named[row] for row in rows]
        self._index = PrintIndex(prints)

    def leaks(self, pictures: Sequence[Picture]) -> dict[int, Leak]:
        """Position in `pictures` -> why it must go. What only another picture shows of its patient is not seen here:
        see `all_leaks`."""
        found: dict[int, Leak] = {}
        prints, rows = stacked(picture.mark for picture in pictures)
        for near in self._index.near(prints):
            at = int(rows[near.query])
            before = found.get(at)
            if before is None or near.distance < (before.distance or 0):
                benchmark, key = self._named[near.entry]
                found[at] = _leak(pictures[at], benchmark, key, "fingerprint", near.distance, near.orientation)
        for at, picture in enumerate(pictures):
            name = image_name(picture.path, source=picture.source)
            for why, known, part in (("patient", self._patients, name.patient), ("key", self._images, name.image)):
                if part and (name.family, part) in known and (why == "key" or at not in found):
                    found[at] = _leak(picture, *known[name.family, part], why)
        return found


def all_leaks(pictures: Sequence[Picture], guard: LeakGuard) -> dict[int, Leak]:
    """As `LeakGuard.leaks`, and also every copy of a picture that a key names, whose image the benchmark's list need
    not have, and every further picture of a patient who has one that is the benchmark's."""
    found = _leaks_in_parts(pictures, guard)
    named = [
        BenchmarkImages(leak.benchmark, (leak.key,), (pictures[at].mark,))
        for at, leak in found.items()
        if leak.why == "key"
    ]
    if named:
        found = _leaks_in_parts(pictures, LeakGuard(named)) | found
    patients = {person: leak for at, leak in sorted(found.items(), reverse=True) for person in _people(pictures[at])}
    for at, picture in enumerate(pictures):
        of_patient = next((patients[person] for person in _people(picture) if person in patients), None)
        if at not in found and of_patient is not None:
            found[at] = _leak(picture, of_patient.benchmark, of_patient.key, "patient")
    return found


def _leaks_in_parts(pictures: Sequence[Picture], guard: LeakGuard) -> dict[int, Leak]:
    found: dict[int, Leak] = {}
    for first in range(0, len(pictures), PICTURES_AT_ONCE):
        part = guard.leaks(pictures[first : first + PICTURES_AT_ONCE])
        found.update({first + at: leak for at, leak in part.items()})
    return found


def _people(picture: Picture) -> Iterator[tuple[str, str, str]]:
    """Who is shown: by the set's own patient id, and by the image's name where sets share their names."""
    if picture.patient_id:
        yield "set", picture.source, picture.patient_id
    name = image_name(picture.path, source=picture.source)
    if name.patient:
        yield "name", name.family, name.patient


def refuse_leaks(pictures: Iterable[Picture], *, guard: LeakGuard, remedy: str) -> None:
    """Raises DataError naming sample, benchmark and key where any picture is a benchmark's, and how many are."""
    first: Leak | None = None
    paths: set[str] = set()
    for part in _batches(pictures):
        leaks = guard.leaks(part)
        paths.update(leak.path for leak in leaks.values())
        if leaks and first is None:
            first = leaks[min(leaks)]
    if first is not None:
        raise DataError(f"known leak: training sample {first.text()}; {_images(len(paths))} in all; {remedy}")


def picture_of(sample: Sample, mark: Words | None) -> Picture:
    """The sample's image."""
    return Picture(sample.id, sample.source, sample.image.path, sample.patient_id, mark, sample.image.sha256)


def leak_summary(leaks: Sequence[Leak]) -> list[dict[str, str | int]]:
    """How many images went, by source, benchmark and reason, most first."""
    counts = Counter((leak.source, leak.benchmark, leak.why) for leak in leaks)
    return [
        {"source": source, "benchmark": benchmark, "why": why, "images": count}
        for (source, benchmark, why), count in counts.most_common()
    ]


def _leak(
    picture: Picture, benchmark: str, key: str, why: str, distance: int | None = None, orientation: str = ""
) -> Leak:
    return Leak(picture.owner, picture.source, picture.path, benchmark, key, why, distance, orientation)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _batches(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    part: list[Picture] = []
    for picture in pictures:
        part.append(picture)
        if len(part) == PICTURES_AT_ONCE:
            yield part
            part = []
    if part:
        yield part
