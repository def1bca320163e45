"""What a public data set says of one image, before any question is asked about it.

In: a set's own label files (data/public/). Out: `Labelled`, from which questions are made (questions/), or a `BadRow`
that names what cannot be used. A reader never raises for one row; a label file or a column that is missing makes the
whole set unusable and is a DataError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fundus_ray.types import Modality

UNGRADABLE, NO_FUNDUS = "ungradable", "no fundus"  # kinds of rows that a set marks itself as of no use


@dataclass(frozen=True, slots=True)
class Labelled:
    """One image with all its labels. None: the set does not say; an empty tuple: it says that there is none.

    key: the image's path relative to the set's root, with `/`, as the set (and a benchmark that uses it) writes it.
    dr_grade: 0 none, 1 mild, 2 moderate, 3 severe, 4 proliferative. disc, fovea: centres (x, y) [px] of this image.
    """

    source: str  # name in data/registry.py
    key: str
    image: Path
    modality: Modality
    patient_id: str  # unique within the source; the key where the set names no patient
    eye: str = ""  # "L", "R", "" = unknown
    official_split: str = ""  # "train", "val", "test", "" = the set has none
    diagnoses: tuple[str, ...] | None = None  # names of the set, mapped to those of knowledge/records; () = normal
    absent: tuple[str, ...] = ()  # diseases that the set says are not there, where it says nothing of others
    dr_grade: int | None = None
    dme_grade: int | None = None  # 0 none, 1 not, 2 involving the centre (IDRiD); 0 or 1 elsewhere
    amd_stage: str | None = None  # "none", "early", "intermediate", "late"
    findings: tuple[str, ...] | None = None  # ids of knowledge/findings.yaml
    masks: Mapping[str, Path] = field(default_factory=dict)  # finding id -> mask, lesion where > mask_above
    disc: tuple[float, float] | None = None
    fovea: tuple[float, float] | None = None
    gradable: bool | None = None  # False: the set says that the image is too poor to be graded
    annotated: tuple[str, ...] = ()  # finding ids that the set looked for: such a one outside `findings` is absent
    mask_values: Mapping[str, int] = field(default_factory=dict)  # ids whose mask marks them by exactly this grey value
    mask_above: int = 0  # grey value; a mask may hold a darker one for what its authors took out again
    disc_area_px: float | None = None  # area of the optic disc in this image [px]; sizes are told in it


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was left out: `where` is file and line or image, `why` one clear reason with the allowed values."""

    source: str
    where: str
    why: str
    kind: str = "unusable row"  # what the import counts it under: "missing file", "unknown code", ...

    @property
    def as_marked(self) -> bool:
        """The set itself says that nothing can be read from this image: no fault of the row."""
        return self.kind in (UNGRADABLE, NO_FUNDUS)


Reader = Callable[[Path], Iterator[Labelled | BadRow]]


@dataclass(frozen=True, slots=True)
class Space:
    """What a set tells apart, and so what its images can be asked about.

    conditions: diseases, each of which is absent where `diagnoses` is given without it. lesions: ids of
    knowledge/findings.yaml. alone: diseases that the set says to be there or not, while it says nothing of any other.
    """

    conditions: tuple[str, ...] = ()
    lesions: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)  # of a condition: the name of the kind -> the condition
    others: bool = False  # the set names diseases beside `conditions` too


def once(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """The names of all groups, each once, in their order."""
    return tuple(dict.fromkeys(name for group in groups for name in group))


@dataclass(frozen=True, slots=True)
class PublicSet:
    """One row of the registry."""

    name: str
    title: str
    modality: Modality
    licence: str  # as its source states it; "see its page" where that was not read
    url: str
    patient_key: str  # which column or part of the name tells patients apart; "" = none
    citation: str
    read: Reader
    space: Space = Space()
    same_people_as: str = ""  # name of the set whose images it labels again and whose patient ids it keeps
