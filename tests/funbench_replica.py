"""FunBench-shaped folders for tests: task files and stored answers in the exact layout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

L1A = "L1-modality_perception/L1a-coarse_modality_perception.json"
L1B = "L1-modality_perception/L1b-fine_modality_perception.json"
L2A = "L2-anatomy_perception/L2a-od_fovea_positioning.json"
L2B = "L2-anatomy_perception/L2b-laterality.json"
L3A = "L3-lesion_analysis/L3a-lesion_recognition/L3a{}-lesion_recognition-{}.json"
L3B = "L3-lesion_analysis/L3b-lesion_localization/L3b{}-lesion_localization-{}.json"
L3C = "L3-lesion_analysis/L3c-lesion_size_estimation/L3c{}-lesion_size_estimation-{}.json"
L3D = "L3-lesion_analysis/L3d-lesion_counting/L3d{}-lesion_counting-{}.json"
L4A = "L4-disease_diagnosis/L4a-binary_condition_diagnosis.json"
L4B = "L4-disease_diagnosis/L4b-multi_condition_diagnosis.json"
L4C = "L4-disease_diagnosis/L4c-dr_grading.json"
L4D = "L4-disease_diagnosis/L4d-amd_categorization.json"


@dataclass(frozen=True)
class Asked:
    """One question of a replica; `gold` a list where several options may be right; `said` None = no stored answer."""

    options: Sequence[str]
    gold: str | list[str]
    said: Any
    image: str = ""


def write_replica(root: Path, predictions: Path, tasks: Mapping[str, Sequence[Asked]]) -> None:
    """The benchmark below `root`, the answers below `predictions`."""
    for file, asked in tasks.items():
        images = [item.image or f"DDR/{i}.jpg" for i, item in enumerate(asked)]
        rows = {image: row(item) for image, item in zip(images, asked, strict=True)}
        write_json(root / file, {"info": {"data source": ["DDR"], "number of images": len(rows)}, "data": rows})
        said = {image: item.said for image, item in zip(images, asked, strict=True) if item.said is not None}
        write_json(predictions / file, said)


def row(item: Asked) -> dict[str, Any]:
    gold = item.gold if isinstance(item.gold, list) else [item.gold]
    letters = [letter for letter, option in zip(ascii_uppercase, item.options, strict=False) if option in gold]
    listed = ", ".join(f"{letter}. {o}" for letter, o in zip(ascii_uppercase, item.options, strict=False))
    return {
        "E-mode2": None,
        "E-mode3": f"The question is: which?\nThe options are: {listed}.",
        "gt": ",".join(letters),
        "raw_data": {"options": list(item.options), "question": "which?", "gt": item.gold},
    }


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
