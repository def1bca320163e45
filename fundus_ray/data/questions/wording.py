"""What FunBench's questions say: their texts, options and bins.

Texts marked "ours" are our own, where the benchmark's file was not read. Option texts are kept letter by letter, with
the small first letters and the trailing blank that its files have.
"""

from __future__ import annotations

from fundus_ray.types import Modality

TEXTS: dict[str, tuple[str, ...]] = {
    "L1a": ("What type of image is this?",),  # ours
    "L1b": (
        "What modality was employed to capture this image?",
        "Which imaging technique was used to capture the image?",
        "What method was used to capture this image?",
        "What is the modality of this image?",
        "What imaging technique was employed to obtain this picture?",
    ),
    "L2a": (
        "Which is on the {side}, the optic disc or the fovea?",
        "Which structure is on the {side} side, the fovea or the optic disc?",
        "Considering the relative position of the optic disc and fovea, which one is on the {side}?",
        "Which structure, the fovea or the optic disc, is found on the {side} side?",
    ),
    "L2b": (
        "Which eye is shown in this image, the left or the right?",
        "Which eye is this, left or right?",
        "Does the image represent the left eye or the right eye?",
        "Is this the left eye or the right eye?",
        "Is this image showing the left eye or the right eye?",
    ),
    "L3a": (
        "Are there any signs of {lesion} in the given fundus image?",
        "Can any signs of {lesion} be found in this fundus image?",
        "Are there indications of {lesion} present in the fundus image?",
        "Does this fundus image reveal any evidence of {lesion}?",
        "Does this fundus image show any signs of {lesion}?",
    ),
    "L3b": (
        "Where can the {lesion}s be found in the fundus photograph?",
        "What are the positions of the {lesion}s in the fundus image?",
        "Where are the {lesion}s in this fundus image?",
        "Where are the {lesion}s located in the fundus image?",
    ),
    "L3c": (
        "How large is the area of the {lesion} in the fundus image?",
        "What is the area of the {lesion} in the fundus image?",
        "What is the size of the {lesion} depicted in the fundus photograph?",
        "How large is the {lesion} shown in this fundus photograph?",
        "How would you quantify the area of the {lesion} in this fundus image?",
    ),
    "L3d": (
        "How many {lesion} do you see in the image?",
        "How many {lesion} are there in the image?",
        "What is the number of {lesion} in the image?",
        "How many {lesion} can be identified in the picture?",
        "What is the total number of {lesion} shown in the image?",
    ),
    "L4a": (
        "Does this fundus image show any signs of illness?",
        "Are there any signs of diseases in the given fundus image?",
        "Are there indications of any diseases present in the fundus image?",
        "Can any signs of diseases be found in this fundus image?",
        "Does this fundus image reveal any evidence of diseases?",
    ),
    "L4b": (
        "Which abnormalities can be seen in this fundus image?",
        "What abnormalities are presented in this fundus image?",
        "What kinds of abnormal findings are depicted in this fundus photograph?",
        "What kinds of abnormalities can be found in this fundus photograph?",
        "What specific abnormalities are shown in this fundus image?",
    ),
    "L4c": ("What is the severity of diabetic retinopathy in this fundus image?",),  # ours
    "L4d": ("Which category of age-related macular degeneration does this fundus image show?",),  # ours
}
TASKS = tuple(TEXTS)
ONE_DISEASE = "L4a-one-disease"  # the task of a question about one disease, of a set that tells no other
ALONE = (  # ours, after the benchmark's questions about lesions
    "Does this fundus image show any signs of {disease}?",
    "Are there any signs of {disease} in the given fundus image?",
    "Are there indications of {disease} present in the fundus image?",
    "Does this fundus image reveal any evidence of {disease}?",
)

FUNDUS = "Fundus image"
NOT_FUNDUS = ("Remote sensing", "Whole-slide image", "Simulated environment", "Painting", "Natural image")
MODALITIES = {
    Modality.CFP: "Color fundus photography",
    Modality.UWF: "Ultra-wide field fundus photography",
    Modality.OCT: "Optical coherence tomography",
}
OTHER_MODALITIES = (
    "Wide field fundus photography",
    "Optical coherence tomography angiography",
    "fluorescein fundus angiography",
    "X-ray",
    "Magnetic resonance imaging",
    "computerized tomography",
    "Ultrasound",
    "Electrocardiogram",
)
STRUCTURES = ("Optic disc", "Fovea")
EYES = {"L": "Left eye", "R": "Right eye"}
LESIONS = {  # finding id -> the benchmark's name
    "microaneurysm": "Microaneurysm",
    "retinal_haemorrhage": "Haemorrhage",
    "dot_blot_haemorrhage": "Intraretinal hemorrhage",
    "hard_exudate": "Hard exudate",
    "cotton_wool_spot": "Soft exudate",
    "neovascularisation": "Neovascularization",
    "preretinal_haemorrhage": "Preretinal hemorrhage",
    "vitreous_haemorrhage": "Vitreous hemorrhage",
    "fibrous_proliferation": "Fibrous proliferation",
    "intraretinal_fluid": "Intraretinal Fluid",
    "subretinal_fluid": "Subretinal Fluid",
    "pigment_epithelial_detachment": "Pigment Epithelial Detachment",
}
COUNTED = ("microaneurysm", "retinal_haemorrhage", "dot_blot_haemorrhage", "cotton_wool_spot")
NOT_SIZED = ("microaneurysm",)
ABSENT = "Not observed in the image"
SIDE = "{side} side of the optic disc center"
DISC_AREA_EDGES = (0.5, 1.0, 1.5, 2.0)
DISC_AREA_BINS = (
    "No more than 0.5 disc area",
    "Between 0.5 and 1.0 disc area",
    "Between 1.0 and 1.5 disc areas",
    "Between 1.5 and 2.0 disc areas",
    "More than 2.0 disc areas",
)
IMAGE_AREA_EDGES = (0.01, 0.02, 0.03, 0.04)  # the benchmark's for intraretinal fluid; ours for the other two
IMAGE_AREA_BINS = (  # ours
    "No more than 0.01 of the image area",
    "Between 0.01 and 0.02 of the image area",
    "Between 0.02 and 0.03 of the image area",
    "Between 0.03 and 0.04 of the image area",
    "More than 0.04 of the image area",
)
COUNT_EDGES = (5, 15, 25, 35)
COUNT_BINS = ("No more than 5", "Between 5 and 15", "Between 15 and 25", "Between 25 and 35", "More than 35 ")
NO_ABNORMALITY = "No abnormality"
OTHER_ABNORMALITY = "Other abnormalities not included in the options"
DR_GRADES = (
    "No any diabetic retinopathy",
    "Mild nonproliferative diabetic retinopathy",
    "Moderate nonproliferative diabetic retinopathy",
    "Severe nonproliferative diabetic retinopathy",
    "Proliferative diabetic retinopathy",
)
AMD_STAGES = {
    "none": "No any age-related macular degeneration",
    "early": "Early age-related macular degeneration",
    "intermediate": "Intermediate age-related macular degeneration",
    "late": "Late age-related macular degeneration",
}
