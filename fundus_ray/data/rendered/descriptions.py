"""What a picture shows in words, as FunBench's second way of asking ("E-mode2") tells it to a model without eyes.

In: labels of one image. Out: phrases. For lesions they say how those look that are there; for diseases and grades they
are drawn from a list of each label, as the benchmark's are, whatever the image shows. Lists marked "ours" are our own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST = 3  # phrases of a label

LOOKS = {  # the benchmark's name of a lesion, as in questions/wording.py
    "Microaneurysm": "tiny red dot shaped lesions",
    "Haemorrhage": "dot-blot or flame-shaped lesions in dark red",
    "Intraretinal hemorrhage": "dot-blot lesions in dark red",
    "Hard exudate": "white or yellowish white deposits with sharp margins",
    "Soft exudate": "yellow-white or grayish-white, slightly elevated, cloud-like lesions with fimbriate border",
    # ours:
    "Neovascularization": "fine, irregular, abnormal vessels on the disc or elsewhere",
    "Preretinal hemorrhage": "boat-shaped blood in front of the retina with a level top",
    "Vitreous hemorrhage": "a diffuse dark red haze that hides the retina",
    "Fibrous proliferation": "white-grey bands of fibrous tissue along the vessels",
    "Intraretinal Fluid": "dark round spaces within the retina",
    "Subretinal Fluid": "a dark space between the retina and the pigment epithelium",
    "Pigment Epithelial Detachment": "a dome-shaped elevation of the pigment epithelium",
}
_RETINOPATHY = ("microaneurysms", "dot-blot hemorrhages")
LABELS = {
    "diabetic retinopathy": (
        "neovascularization",
        "intraretinal microvascular abnormalities",
        "microaneurysms",
        "dot-blot hemorrhages",
        "venous beading",
        "vitreous hemorrhage",
        "preretinal hemorrhage",
    ),
    "Moderate nonproliferative diabetic retinopathy": _RETINOPATHY,
    "glaucoma": (
        "high cup/disc ratio",
        "focal neuro-retinal rim thinning or notching",
        "disc hemorrhage",
    ),
    "age-related macular degeneration": (
        "serous fluid in macular area",
        "drusen in macular area",
        "subretinal hemorrhage in macular area",
    ),
    "Intermediate age-related macular degeneration": (
        "large size drusen in macular area",
        "extensive soft drusen in macular area",
    ),
    "Late age-related macular degeneration": (
        "choroidal neovascular membrane",
        "serous fluid",
        "subretinal fibrosis",
        "sub-RPE hemorrhage",
    ),
    "retinal detachment": (
        "separation of the retina from the RPE",
        "corrugated or undulated appearance",
    ),
    "No abnormality": ("clear and normal view of retina, optic nerve head, macula and vessels",),
    # ours:
    "No any diabetic retinopathy": ("clear and normal view of retina, optic nerve head, macula and vessels",),
    "Mild nonproliferative diabetic retinopathy": ("microaneurysms",),
    "Severe nonproliferative diabetic retinopathy": (*_RETINOPATHY, "hemorrhages in four quadrants", "venous beading"),
    "Proliferative diabetic retinopathy": ("neovascularization", "vitreous hemorrhage", "preretinal hemorrhage"),
    "No any age-related macular degeneration": ("clear and normal view of the macula",),
    "Early age-related macular degeneration": ("medium size drusen in macular area",),
    "hypertensive retinopathy": ("arteriolar narrowing", "flame-shaped hemorrhages", "cotton wool spots"),
    "retinal vein occlusion": (
        "tortuous and dilated veins",
        "flame-shaped hemorrhages in one sector",
        "cotton wool spots",
    ),
    "retinitis pigmentosa": ("bone spicule pigmentation", "attenuated vessels", "waxy pale disc"),
    "diabetic macular oedema": ("intraretinal cystoid spaces", "thickened macula", "hyperreflective foci"),
    "central serous chorioretinopathy": ("serous fluid under the macula", "thick choroid"),
    "macular hole": ("full-thickness defect at the fovea", "raised edges with cystic spaces"),
    "epiretinal membrane": (
        "hyperreflective line on the inner retinal surface",
        "flattened foveal pit",
        "retinal folds",
    ),
}


def of_labels(labels: Sequence[str], rng: np.random.Generator) -> str:
    """ "Description: the fundus image shows f1, f2 and f3." with up to three phrases of each label."""
    phrases: list[str] = []
    for label in labels:
        known = LABELS[label]
        phrases += [known[i] for i in rng.permutation(len(known))[:MOST]]
    return _shows(phrases)


def of_lesions(lesions: Sequence[str]) -> str:
    """The same of the lesions (the benchmark's names) that are there."""
    return _shows([LOOKS[name] for name in lesions] or list(LABELS["No abnormality"]))


def of_sides(disc: tuple[float, float], fovea: tuple[float, float]) -> str:
    """On which side the fovea is; our own words."""
    side = "left" if fovea[0] < disc[0] else "right"
    return f"Description: the fundus image shows the fovea on the {side} side of the optic disc."


def _shows(phrases: Sequence[str]) -> str:
    first, last = phrases[:-1], phrases[-1]
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"Description: the fundus image shows {listed}."
