"""Images that several sets share, as Retinal-Lesions lies within Kaggle DR.

In: pictures with fingerprints. Out: pairs of near copies, and from them which patients must stay in one half.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fundus_ray.data.leaks.benchmark import stacked
from fundus_ray.data.leaks.guard import Picture
from fundus_ray.data.leaks.neighbours import PrintIndex
from fundus_ray.data.patients import Patient


@dataclass(frozen=True, slots=True)
class Copies:
    """Two pictures that show the same; `later` comes after `earlier` in the order given."""

    earlier: Picture
    later: Picture
    distance: int  # bits of 512
    orientation: str


def near_copies(pictures: Sequence[Picture]) -> Iterator[Copies]:
    """Every pair of near copies from different patients. Pictures without a fingerprint have none.

    Within a patient there may be very many: slices of one volume, repeated photographs.
    """
    prints, rows = stacked(picture.mark for picture in pictures)
    for near in PrintIndex(prints).near(prints):
        if near.entry >= near.query:
            continue
        earlier, later = pictures[rows[near.entry]], pictures[rows[near.query]]
        if (earlier.source, earlier.patient_id) != (later.source, later.patient_id):
            yield Copies(earlier, later, near.distance, near.orientation)


def same_patients(copies: Sequence[Copies]) -> list[tuple[Patient, Patient]]:
    """Pairs for `split_patients`: whose images are copies."""
    pairs = (((one.earlier.source, one.earlier.patient_id), (one.later.source, one.later.patient_id)) for one in copies)
    return list(dict.fromkeys(pairs))
