"""A benchmark of rendered images in the very files of FunBench: folders, names, keys, prompts.

In: labelled images and what their kinds tell apart. Out: below a folder, one JSON for each of the twelve tasks (of L3:
for each lesion), whose keys are image paths relative to that folder. A task without a question gets no file, as one
cannot be scored.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np

from fundus_ray.data.labelled import Labelled, Space
from fundus_ray.data.option_order import in_order
from fundus_ray.data.questions import wording
from fundus_ray.data.questions.ask import questions
from fundus_ray.data.rendered import descriptions
from fundus_ray.errors import DataError
from fundus_ray.obs.strict_json import write_json
from fundus_ray.types import Sample

SINGLE = (
    "Please choose the most suitable option based on the image and the question. "
    "Answer with the option's letter directly."
)
SEVERAL = (
    "Please choose all the suitable options based on the image and the question. "
    "Answer with the option's letter directly. Please separate the answers with commas if needed."
)
TASK_FILES = {
    "L1a": "L1-modality_perception/L1a-coarse_modality_perception.json",
    "L1b": "L1-modality_perception/L1b-fine_modality_perception.json",
    "L2a": "L2-anatomy_perception/L2a-od_fovea_positioning.json",
    "L2b": "L2-anatomy_perception/L2b-laterality.json",
    "L3a": "L3-lesion_analysis/L3a-lesion_recognition/L3a{number}-lesion_recognition-{lesion}.json",
    "L3b": "L3-lesion_analysis/L3b-lesion_localization/L3b{number}-lesion_localization-{lesion}.json",
    "L3c": "L3-lesion_analysis/L3c-lesion_size_estimation/L3c{number}-lesion_size_estimation-{lesion}.json",
    "L3d": "L3-lesion_analysis/L3d-lesion_counting/L3d{number}-lesion_counting-{lesion}.json",
    "L4a": "L4-disease_diagnosis/L4a-binary_condition_diagnosis.json",
    "L4b": "L4-disease_diagnosis/L4b-multi_condition_diagnosis.json",
    "L4c": "L4-disease_diagnosis/L4c-dr_grading.json",
    "L4d": "L4-disease_diagnosis/L4d-amd_categorization.json",
}
LESIONS = (  # numbered from 0 in each of these tasks
    "Fibrous_proliferation",
    "Haemorrhage",
    "Hard_exudate",
    "Intraretinal_Fluid",
    "Intraretinal_hemorrhage",
    "Microaneurysm",
    "Neovascularization",
    "Pigment_Epithelial_Detachment",
    "Preretinal_hemorrhage",
    "Soft_exudate",
    "Subretinal_Fluid",
    "Vitreous_hemorrhage",
)
NUMBERED = {
    "L3a": LESIONS,
    "L3b": LESIONS,
    "L3c": tuple(name for name in LESIONS if name != "Microaneurysm"),
    "L3d": ("Haemorrhage", "Intraretinal_hemorrhage", "Microaneurysm", "Soft_exudate"),
}
SEVERAL_RIGHT = ("L3b", "L4b")  # tasks whose right answer is a list, also of one


def write_benchmark(
    root: Path, images: Iterable[tuple[Labelled, Space]], *, seed: int, option_order: str = "given"
) -> dict[str, int]:
    """Write the task files; how many questions each has, by file name below `root`. option_order: "given" is
    FunBench's, drawn by seed but for bins; "sorted" gives an option one letter wherever the same ones are listed.

    Raises DataError where an image lies elsewhere than its key says, or a file cannot be written.
    """
    files: dict[str, dict[str, Any]] = defaultdict(dict)
    sources: dict[str, set[str]] = defaultdict(set)
    for row, space in images:
        if row.image != root.resolve() / row.key:
            raise DataError(f"{row.image} must lie at {root.resolve() / row.key}, as the benchmark calls it {row.key}")
        for sample in questions(row, space=space, seed=seed, split="eval"):
            name = file_of(sample)
            files[name][row.key] = record_of(in_order(sample, option_order=option_order), row, seed=seed)
            sources[name].add(row.source)
    for name, data in files.items():
        info = {"data source": sorted(sources[name]), "number of images": len(data)}
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"info": info, "data": data})
        except OSError as err:
            raise DataError(f"{path} cannot be written: {err.strerror or err}") from None
    return {name: len(files[name]) for name in sorted(files)}


def file_of(sample: Sample) -> str:
    """The task file that a question belongs to."""
    name = TASK_FILES[sample.task]
    if sample.task not in NUMBERED:
        return name
    lesion = wording.LESIONS[sample.id.rsplit(":", 1)[1]].replace(" ", "_")
    return name.format(number=NUMBERED[sample.task].index(lesion), lesion=lesion)


def record_of(sample: Sample, row: Labelled, *, seed: int) -> dict[str, Any]:
    """One question as a task file has it."""
    letters = dict(zip(sample.options, ascii_uppercase, strict=False))
    several = sample.task in SEVERAL_RIGHT
    listed = ", ".join(f"{letter}. {option}" for option, letter in letters.items())
    ask, asked = SEVERAL if several else SINGLE, f"The question is: {sample.question}\nThe options are: {listed}."
    description = _description(sample, row, seed=seed)
    return {
        "E-mode2": None if description is None else f"{ask}\n{description}\n{asked}",
        "E-mode3": f"{ask}\n{asked}",
        "gt": ",".join(letters[option] for option in sample.answer),
        "raw_data": {
            "options": list(sample.options),
            "question": sample.question,
            "gt": list(sample.answer) if several else sample.answer[0],
        },
    }


def _description(sample: Sample, row: Labelled, *, seed: int) -> str | None:
    """What the second way of asking tells of the image; None for tasks that it leaves out."""
    if sample.task == "L2b" and row.disc and row.fovea:
        return descriptions.of_sides(row.disc, row.fovea)
    if sample.task == "L3a":
        return descriptions.of_lesions(_lesions(row))
    if sample.task in ("L4b", "L4c", "L4d"):
        name = hashlib.sha256(sample.id.encode()).digest()[:8]
        return descriptions.of_labels(sample.answer, np.random.default_rng([seed, int.from_bytes(name)]))
    return None


def _lesions(row: Labelled) -> Sequence[str]:
    return [name for finding, name in wording.LESIONS.items() if finding in (row.findings or ())]
