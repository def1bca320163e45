"""The questions that one labelled image can answer, in FunBench's twelve task types.

In: a `Labelled` and what its set annotates. Out: `Sample`s, closed (with options) or open (without). Wording, choice
and order of options follow from the seed and the sample's id alone, so that they do not depend on other images.
A task whose labels are missing is not asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fundus_ray.data.images import image_ref
from fundus_ray.data.labelled import Labelled, Space
from fundus_ray.data.questions import measure, wording
from fundus_ray.errors import DataError
from fundus_ray.types import ImageRef, Modality, Sample

OPTIONS_OF_CONDITIONS, WRONG_OF_FOUR = 5, 3


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question before its wording is drawn. `wrong` are candidates, of which `draw` are taken (None = all)."""

    task: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    draw: int | None = None
    lesion: str = ""
    disease: str = ""  # the one that is asked about
    side: str = ""
    fixed: tuple[str, ...] = ()  # options whose order stays


def questions(
    row: Labelled,
    *,
    space: Space,
    seed: int,
    split: str,
    image: ImageRef | None = None,
    tasks: Sequence[str] = wording.TASKS,
    closed: bool = True,
) -> tuple[Sample, ...]:
    """All questions of `tasks` that `row` can answer, in the order of TASKS; none of an image that its set calls too
    poor. image: what the import made of it; read here where it is not given.

    Raises DataError where the image or a mask cannot be used, or a label lies outside its range or `space`; ValueError
    for an unknown task.
    """
    unknown = sorted(set(tasks) - set(wording.TASKS))
    if unknown:
        raise ValueError(f"unknown tasks {', '.join(unknown)}; known: {', '.join(wording.TASKS)}")
    if row.gradable is False:
        return ()
    image = image or image_ref(row.image)
    asked = (*_anatomy(row, seed), *_lesions(row, space, image), *_diagnoses(row, space))
    kept = sorted((one for one in asked if one.task in tasks), key=lambda one: wording.TASKS.index(one.task))
    return tuple(_sample(one, row=row, image=image, seed=seed, split=split, closed=closed) for one in kept)


def _anatomy(row: Labelled, seed: int) -> Iterator[_Asked]:
    yield _Asked("L1a", (wording.FUNDUS,), wording.NOT_FUNDUS, draw=WRONG_OF_FOUR)
    own = wording.MODALITIES[row.modality]
    others = tuple(name for name in (*wording.MODALITIES.values(), *wording.OTHER_MODALITIES) if name != own)
    yield _Asked("L1b", (own,), others, draw=WRONG_OF_FOUR)
    if row.modality is Modality.OCT:
        return
    disc_right = row.disc[0] > row.fovea[0] if row.disc and row.fovea else {"R": True, "L": False}.get(row.eye)
    if disc_right is not None:
        side = ("left", "right")[int(_rng(seed, f"{row.source}:{row.key}:side").integers(2))]
        right = wording.STRUCTURES[(side == "right") != disc_right]
        yield _Asked("L2a", (right,), _others(wording.STRUCTURES, right), side=side)
    if row.eye:
        yield _Asked("L2b", (wording.EYES[row.eye],), _others(tuple(wording.EYES.values()), wording.EYES[row.eye]))


def _lesions(row: Labelled, space: Space, image: ImageRef) -> Iterator[_Asked]:
    for lesion in space.lesions:
        present, mask = _presence(row, lesion, image)
        if present is None or lesion not in wording.LESIONS:
            continue
        yield _yes_or_no("L3a", present, lesion=lesion)
        if mask is None and present:
            continue  # known to be there, but not where
        pixels = np.zeros((1, 1), dtype=bool) if mask is None else mask
        if row.disc is not None and row.eye and row.modality is not Modality.OCT:
            where = measure.sides(pixels, disc=row.disc, eye=row.eye)
            names = (wording.ABSENT, *(wording.SIDE.format(side=side) for side in measure.SIDES))
            right = tuple(wording.SIDE.format(side=side) for side in where) or (wording.ABSENT,)
            yield _Asked("L3b", right, tuple(name for name in names if name not in right), lesion=lesion)
        if lesion not in wording.NOT_SIZED:
            yield from _size(row, lesion, area_px=int(pixels.sum()), image_px=image.width_px * image.height_px)
        if lesion in wording.COUNTED:
            yield _binned("L3d", lesion, measure.count(pixels), wording.COUNT_EDGES, wording.COUNT_BINS)


def _presence(row: Labelled, lesion: str, image: ImageRef) -> tuple[bool | None, NDArray[np.bool_] | None]:
    """(whether it is there, its mask). None: not looked for; not drawn."""
    labelled = True if lesion in (row.findings or ()) else False if lesion in row.annotated else None
    if lesion not in row.masks:
        return labelled, None
    mask = measure.read_mask(
        row.masks[lesion],
        width_px=image.width_px,
        height_px=image.height_px,
        above=row.mask_above,
        value=row.mask_values.get(lesion),
    )
    drawn = bool(mask.any())
    if labelled is not None and labelled != drawn:
        raise DataError(f"{row.key}: {lesion} is {'drawn' if drawn else 'empty'} in its mask but not so labelled")
    return drawn, mask


def _size(row: Labelled, lesion: str, *, area_px: int, image_px: int) -> Iterator[_Asked]:
    if row.modality is Modality.OCT:
        yield _binned("L3c", lesion, area_px / image_px, wording.IMAGE_AREA_EDGES, wording.IMAGE_AREA_BINS)
    elif row.disc_area_px is not None:
        if row.disc_area_px <= 0:
            raise DataError(f"{row.key}: the disc's area is {row.disc_area_px} px; it must be above 0")
        yield _binned("L3c", lesion, area_px / row.disc_area_px, wording.DISC_AREA_EDGES, wording.DISC_AREA_BINS)


def _binned(task: str, lesion: str, value: float, edges: tuple[float, ...], bins: tuple[str, ...]) -> _Asked:
    options = (wording.ABSENT, *bins)
    right = options[1 + measure.bin_of(value, edges)] if value > 0 else wording.ABSENT
    return _Asked(task, (right,), _others(options, right), lesion=lesion, fixed=options)


def _diagnoses(row: Labelled, space: Space) -> Iterator[_Asked]:
    if row.diagnoses is not None and space.conditions:
        yield _yes_or_no("L4a", bool(row.diagnoses))
        yield _conditions(row, row.diagnoses, space)
    for disease in space.alone:
        if disease in (row.diagnoses or ()):
            yield _yes_or_no("L4a", True, disease=disease)
        elif disease in row.absent or row.diagnoses == ():
            yield _yes_or_no("L4a", False, disease=disease)
    if row.dr_grade is not None:
        if not 0 <= row.dr_grade < len(wording.DR_GRADES):
            raise DataError(f"{row.key}: DR grade {row.dr_grade} is not in 0-4")
        grade = wording.DR_GRADES[row.dr_grade]
        yield _Asked("L4c", (grade,), _others(wording.DR_GRADES, grade))
    if row.amd_stage is not None:
        if row.amd_stage not in wording.AMD_STAGES:
            raise DataError(f"{row.key}: AMD stage {row.amd_stage!r} is not one of {', '.join(wording.AMD_STAGES)}")
        stage = wording.AMD_STAGES[row.amd_stage]
        yield _Asked("L4d", (stage,), _others(tuple(wording.AMD_STAGES.values()), stage))


def _conditions(row: Labelled, diagnoses: tuple[str, ...], space: Space) -> _Asked:
    others = (wording.OTHER_ABNORMALITY,) if space.others else ()
    names = (*space.conditions, wording.NO_ABNORMALITY, *others)
    told = [space.kinds.get(name, name) for name in diagnoses]
    right = dict.fromkeys(name if name in names else wording.OTHER_ABNORMALITY for name in told)
    if wording.OTHER_ABNORMALITY in right and not space.others:
        outside = ", ".join(name for name in told if name not in names)
        raise DataError(f"{row.key}: {outside} is not among the conditions that {row.source} tells apart")
    answers = tuple(right) or (wording.NO_ABNORMALITY,)
    wrong = tuple(name for name in names if name not in answers)
    return _Asked("L4b", answers, wrong, draw=max(0, OPTIONS_OF_CONDITIONS - len(answers)))


def _sample(asked: _Asked, *, row: Labelled, image: ImageRef, seed: int, split: str, closed: bool) -> Sample:
    about = asked.lesion or asked.disease
    name = f"{row.source}:{row.key}:{asked.task}" + (f":{about}" if about else "")
    rng = _rng(seed, name)
    texts = wording.ALONE if asked.disease else wording.TEXTS[asked.task]
    text = texts[rng.integers(len(texts))]
    taken = min(len(asked.wrong), len(asked.wrong) if asked.draw is None else asked.draw)
    wrong = [asked.wrong[i] for i in rng.permutation(len(asked.wrong))[:taken]]
    mixed = [*asked.right, *wrong]
    options = asked.fixed or tuple(mixed[i] for i in rng.permutation(len(mixed)))
    return Sample(
        id=name,
        image=image,
        modality=row.modality,
        question=text.format(lesion=wording.LESIONS.get(asked.lesion, ""), disease=asked.disease, side=asked.side),
        options=options if closed else (),
        answer=tuple(option for option in options if option in asked.right),
        task=wording.ONE_DISEASE if asked.disease else asked.task,
        source=row.source,
        split=split,
        patient_id=row.patient_id,
        findings=row.findings,
        looked_for=row.annotated or None,
    )


def _yes_or_no(task: str, yes: bool, *, lesion: str = "", disease: str = "") -> _Asked:
    right, wrong = ("Yes", "No") if yes else ("No", "Yes")
    return _Asked(task, (right,), (wrong,), lesion=lesion, disease=disease)


def _others(options: tuple[str, ...], right: str) -> tuple[str, ...]:
    return tuple(option for option in options if option != right)


def _rng(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])])
