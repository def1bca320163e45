"""Which eye is drawn: a disease, its grade or stage, and how each of its findings is painted.

In: a random generator. Out: a `Case`. The grades are those of the International Clinical Diabetic Retinopathy scale:
1 microaneurysms alone; 2 more than those; 3 over 20 haemorrhages in each of four quadrants; 4 new vessels, or blood in
front of the retina. The stages are the Beckman classification's: early, medium drusen; intermediate, large drusen or
pigmentary changes; late, atrophy or blood under the macula; a healthy eye has small drusen at most. Small are those
under 63 micrometres and large those over 125; the three kinds are drawn apart in size, so that the picture decides. How
often each occurs is our own choice, and so is that drusen are drawn larger than they are, so that a small picture shows
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from fundus_ray.data.rendered import marks, patches
from fundus_ray.data.rendered.marks import Paint

DR, AMD, GLAUCOMA = "diabetic retinopathy", "age-related macular degeneration", "glaucoma"
HYPERTENSIVE, OCCLUSION = "hypertensive retinopathy", "retinal vein occlusion"
DETACHMENT, PIGMENTOSA = "retinal detachment", "retinitis pigmentosa"
STAGES = ("early", "intermediate", "late")
OVER_TWENTY = 21
# Radii of drusen, in pixels of a 112 px picture: a diameter of 63 micrometres is drawn with 0.65, one of 125 with 1.3.
SMALL, MEDIUM, LARGE = (0.4, 0.5), (0.85, 1.2), (1.5, 2.7)


@dataclass(frozen=True, slots=True)
class Case:
    """plan: finding id -> how it is painted; also: further findings that are seen where one of the plan is."""

    title: str
    diagnoses: tuple[str, ...]
    plan: Mapping[str, Paint] = field(default_factory=dict)
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # further finding -> those that make it up
    anatomy: Mapping[str, float] = field(default_factory=dict)  # finding of the eye itself -> severity in (0, 1]
    dr_grade: int | None = None
    amd_stage: str | None = None
    sector: int = 0
    torn: bool = False  # a detached retina has a break


HAEMORRHAGES = {"retinal_haemorrhage": ("dot_blot_haemorrhage", "flame_haemorrhage")}


def draw_photograph_case(rng: np.random.Generator) -> Case:
    """A case for a usual photograph: normal and glaucoma rarer, diabetic retinopathy of all grades the commonest."""
    kind = rng.choice(6, p=(0.18, 0.36, 0.19, 0.09, 0.09, 0.09))
    if kind == 0:
        return healthy(rng)
    if kind == 1:
        return diabetic(rng, grade=int(rng.integers(1, 5)))
    if kind == 2:
        return macular_degeneration(rng, stage=STAGES[rng.integers(3)])
    severity = float(rng.uniform(0.25, 1))
    if kind == 3:
        flame = {"flame_haemorrhage": partial(marks.flames, count=1)} if rng.random() < 0.3 else {}
        return Case(GLAUCOMA, (GLAUCOMA,), flame, HAEMORRHAGES, {"enlarged_cup": severity})
    if kind == 4:
        plan = _some(
            rng,
            flame_haemorrhage=(0.65, partial(marks.flames, count=int(rng.integers(2, 7)))),
            cotton_wool_spot=(0.6, partial(marks.cotton_wool, count=int(rng.integers(1, 7)))),
            hard_exudate=(0.5, partial(marks.hard_exudates, groups=int(rng.integers(1, 4)))),
        )
        return Case(HYPERTENSIVE, (HYPERTENSIVE,), plan, HAEMORRHAGES, {"arteriolar_narrowing": severity})
    return vein_occlusion(rng, severity=severity)


def draw_wide_case(rng: np.random.Generator) -> Case:
    """A case for an ultra-wide-field photograph, which shows the periphery too."""
    kind = rng.choice(6, p=(0.2, 0.32, 0.14, 0.12, 0.12, 0.1))
    if kind == 0:
        return Case("normal", (), dr_grade=0)
    if kind == 1:
        case = diabetic(rng, grade=int(rng.integers(1, 5)))
        lasered: dict[str, Paint] = {"laser_scars": partial(marks.laser_scars, count=int(rng.integers(60, 140)))}
        return replace(case, plan={**lasered, **case.plan}) if case.dr_grade == 4 and rng.random() < 0.4 else case
    if kind == 2:
        also = {"corrugated_retina": ("detached_retina",)}
        return Case(
            DETACHMENT, (DETACHMENT,), {"detached_retina": patches.detachment}, also, torn=bool(rng.random() < 0.6)
        )
    if kind == 3:
        plan = {"bone_spicules": partial(marks.bone_spicules, count=int(rng.integers(30, 70)))}
        return Case(PIGMENTOSA, (PIGMENTOSA,), plan, anatomy={"arteriolar_narrowing": float(rng.uniform(0.4, 1))})
    if kind == 4:
        return vein_occlusion(rng, severity=float(rng.uniform(0.25, 1)))
    return replace(macular_degeneration(rng, stage=STAGES[rng.integers(1, 3)]), title=AMD, amd_stage=None)


def draw_laid_case(rng: np.random.Generator) -> Case:
    """A case of lesions alone, for an eye whose disc and vessels stay as they are."""
    kind = rng.choice(3, p=(0.2, 0.5, 0.3))
    if kind == 0:
        return Case("normal", (), dr_grade=0, amd_stage="none")
    if kind == 1:
        return diabetic(rng, grade=int(rng.integers(1, 5)))
    return macular_degeneration(rng, stage=STAGES[rng.integers(3)])


def healthy(rng: np.random.Generator) -> Case:
    """No disease: at most a few small drusen, which age brings."""
    plan = _some(rng, drusen=(0.08, partial(marks.drusen, count=int(rng.integers(1, 4)), sizes=SMALL, apart=True)))
    return Case("normal", (), plan, dr_grade=0, amd_stage="none")


def diabetic(rng: np.random.Generator, *, grade: int) -> Case:
    """Diabetic retinopathy of grade 1 to 4."""
    plan: dict[str, Paint] = {"microaneurysm": partial(marks.microaneurysms, count=_many(rng))}
    also: dict[str, tuple[str, ...]] = {}
    if grade >= 2:
        plan |= _some(
            rng,
            dot_blot_haemorrhage=(0.85, _blots(rng)),
            hard_exudate=(0.7, partial(marks.hard_exudates, groups=int(rng.integers(1, 5)))),
            cotton_wool_spot=(0.45, partial(marks.cotton_wool, count=int(rng.integers(1, 9)))),
        )
        if len(plan) == 1:
            plan["dot_blot_haemorrhage"] = partial(marks.blots, count=3)
    if grade == 3:
        if "hard_exudate" in plan:  # else the haemorrhages would not find room
            plan["hard_exudate"] = partial(marks.hard_exudates, groups=1)
        if "cotton_wool_spot" in plan:
            plan["cotton_wool_spot"] = partial(marks.cotton_wool, count=int(rng.integers(1, 4)))
        plan["dot_blot_haemorrhage"] = partial(marks.four_quadrants, each=OVER_TWENTY + int(rng.integers(3)))
        also["severe_haemorrhages"] = ("dot_blot_haemorrhage",)
    if grade == 4:
        plan |= _proliferative(rng)
    return Case(f"{DR}, grade {grade}", (DR,), plan, also | HAEMORRHAGES, dr_grade=grade)


def _proliferative(rng: np.random.Generator) -> dict[str, Paint]:
    """At least one of the four signs."""
    signs: dict[str, Paint] = {
        "neovascularisation": partial(patches.new_vessels, tufts=int(rng.integers(1, 5))),
        "preretinal_haemorrhage": patches.preretinal_blood,
        "vitreous_haemorrhage": patches.vitreous_blood,
        "fibrous_proliferation": partial(patches.fibrous_bands, bands=int(rng.integers(1, 4))),
    }
    names = list(signs)
    sure = names[rng.integers(4)]
    drawn = rng.random(4) < (0.5, 0.35, 0.2, 0.35)
    return {name: signs[name] for name, there in zip(names, drawn, strict=True) if there or name == sure}


def macular_degeneration(rng: np.random.Generator, *, stage: str) -> Case:
    """Age-related macular degeneration. The late stage is atrophic or neovascular."""
    title, diagnoses = f"{AMD}, {stage}", (AMD,)
    if stage == "early":
        medium = partial(marks.drusen, count=int(rng.integers(6, 22)), sizes=MEDIUM, apart=True)
        plan: dict[str, Paint] = {"drusen": medium}
        return Case(title, diagnoses, plan, {"medium_drusen": ("drusen",)}, amd_stage=stage)
    plan = {"drusen": partial(marks.drusen, count=int(rng.integers(9, 28)), sizes=LARGE)}
    also = {"large_drusen": ("drusen",)}
    if stage == "intermediate":
        plan |= _some(rng, pigment_changes=(0.45, partial(marks.pigment_clumps, count=int(rng.integers(2, 7)))))
    elif rng.random() < 0.5:
        plan["geographic_atrophy"] = partial(patches.atrophy, patches=int(rng.integers(1, 4)))
    else:
        plan["subretinal_haemorrhage"] = patches.subretinal_blood
        plan |= _some(rng, hard_exudate=(0.5, partial(marks.hard_exudates, groups=2)))
    return Case(title, diagnoses, plan, also, amd_stage=stage)


def vein_occlusion(rng: np.random.Generator, *, severity: float) -> Case:
    """A branch retinal vein occlusion: bleeding in the upper or the lower half alone."""
    sector = int(rng.choice([-1, 1]))
    above_or_below = partial(_in_half, sector=sector)
    plan: dict[str, Paint] = {
        "flame_haemorrhage": partial(marks.flames, count=int(rng.integers(25, 60)), sector=sector, dense=True),
        **_some(
            rng,
            dot_blot_haemorrhage=(0.6, partial(marks.blots, count=int(rng.integers(3, 20)), where=above_or_below)),
            cotton_wool_spot=(0.5, partial(marks.cotton_wool, count=int(rng.integers(1, 7)), sector=sector)),
        ),
    }
    also = {**HAEMORRHAGES, "sectoral_haemorrhages": HAEMORRHAGES["retinal_haemorrhage"]}
    return Case(OCCLUSION, (OCCLUSION,), plan, also, {"venous_tortuosity": severity}, sector=sector)


def _in_half(_: float, v: float, *, sector: int) -> bool:
    return v * sector > 0


def _some(rng: np.random.Generator, **chances: tuple[float, Paint]) -> dict[str, Paint]:
    """Each finding with its own chance."""
    return {name: paint for name, (chance, paint) in chances.items() if rng.random() < chance}


def _blots(rng: np.random.Generator) -> Paint:
    """The more haemorrhages, the smaller: else they would not find room."""
    count = _many(rng)
    return partial(marks.blots, count=count, sizes=(1.3, 3.0) if count <= 15 else (0.9, 2.0))


def _many(rng: np.random.Generator) -> int:
    """1 to 45 lesions: every bin of the counting questions comes up."""
    low, high = ((1, 5), (6, 15), (16, 25), (26, 35), (36, 45))[rng.integers(5)]
    return int(rng.integers(low, high + 1))
