"""The kinds of rendered images that have all labels, by name: cfp, oct, uwf, photo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fundus_ray.data.by_name import by_name
from fundus_ray.data.labelled import Space
from fundus_ray.data.rendered import cases, oct_signs
from fundus_ray.data.rendered.cfp import draw_cfp
from fundus_ray.data.rendered.drawn import Drawn
from fundus_ray.data.rendered.oct import draw_oct
from fundus_ray.data.rendered.photo_lesions import draw_on_photo
from fundus_ray.data.rendered.uwf import draw_uwf
from fundus_ray.types import Modality

VERSION = 2  # raise it whenever a picture or label of any seed changes

RETINA = (  # what the flat pictures are asked about
    "microaneurysm",
    "retinal_haemorrhage",
    "dot_blot_haemorrhage",
    "hard_exudate",
    "cotton_wool_spot",
    "neovascularisation",
    "preretinal_haemorrhage",
    "vitreous_haemorrhage",
    "fibrous_proliferation",
)
FLUIDS = ("intraretinal_fluid", "subretinal_fluid", "pigment_epithelial_detachment")


@dataclass(frozen=True, slots=True)
class Kind:
    """draw(seed, image_px=width): the picture. licence: of the pictures."""

    source: str
    title: str
    modality: Modality
    draw: Callable[..., Drawn]
    space: Space
    licence: str


OURS = "Apache-2.0, as this project"

KINDS: dict[str, Kind] = {
    "cfp": Kind(
        "phantoms-cfp",
        "drawn colour fundus photographs",
        Modality.CFP,
        draw_cfp,
        Space((cases.DR, cases.AMD, cases.GLAUCOMA, cases.HYPERTENSIVE, cases.OCCLUSION), RETINA),
        OURS,
    ),
    "oct": Kind(
        "phantoms-oct",
        "drawn OCT B-scans",
        Modality.OCT,
        draw_oct,
        Space((oct_signs.AMD, oct_signs.DME, oct_signs.CSC, oct_signs.HOLE, oct_signs.MEMBRANE), FLUIDS),
        OURS,
    ),
    "uwf": Kind(
        "phantoms-uwf",
        "drawn ultra-wide-field photographs",
        Modality.UWF,
        draw_uwf,
        Space((cases.DR, cases.AMD, cases.OCCLUSION, cases.DETACHMENT, cases.PIGMENTOSA), RETINA),
        OURS,
    ),
    "photo": Kind(
        "lesions-on-photo",
        "drawn lesions on one real photograph",
        Modality.CFP,
        draw_on_photo,
        Space((cases.DR, cases.AMD), RETINA),
        "CC0 (photograph by M. Haggstrom, shipped with scikit-image)",
    ),
}


def kind_of(name: str) -> Kind:
    """The kind of this name. Raises DataError with the nearest name, or all of them."""
    return by_name(KINDS, name, what="kind of rendered image")
