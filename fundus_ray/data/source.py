"""Any data source as two disjoint halves.

In: the `data` section of the config and a cache folder. Out: a `DataSplit`: training and held-out samples that share no
patient and no image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fundus_ray.config import Config
from fundus_ray.data.jsonl import FindingIds, jsonl_samples
from fundus_ray.data.phantoms import phantom_samples
from fundus_ray.data.photo import photo_samples
from fundus_ray.errors import DataError
from fundus_ray.types import Sample


@dataclass(frozen=True, slots=True)
class DataSplit:
    """The two halves of a data set."""

    train: tuple[Sample, ...]
    evaluation: tuple[Sample, ...]


def load_data(config: Config, *, cache_dir: Path, finding_ids: FindingIds) -> DataSplit:
    """The samples of `config.data.source`; rendered ones are kept in `cache_dir`. Findings in a JSONL may be names or
    synonyms; from here on they are ids.

    Raises DataError on a file or row that cannot be used, an empty half, or a patient or image in both halves. The
    held-out half may be empty only where evaluation is off (`evaluate.samples=0`).
    """
    data, seed = config.data, config.run.seed
    if data.source == "jsonl":
        samples = jsonl_samples(
            Path(data.path).resolve(), finding_ids=finding_ids, eval_fraction=data.eval_fraction, seed=seed
        )
    else:
        rendered = {"phantoms": phantom_samples, "photo": photo_samples}[data.source]
        sizes = {"train": data.train_samples, "eval": data.eval_samples}
        samples = rendered(cache_dir, image_px=data.image_px, seed=seed, sizes=sizes)
    samples = tuple(in_order(sample, option_order=data.option_order) for sample in samples)
    origin = data.path or f"data.source={data.source}"
    split = divide(samples, origin=origin)
    if not split.train:
        raise DataError(f"{origin}: no sample is left for training")
    if not split.evaluation and config.evaluate.samples:
        raise DataError(f"{origin}: no sample is held out for evaluation; hold some out or set evaluate.samples=0")
    return split


def in_order(sample: Sample, *, option_order: str) -> Sample:
    """The sample with its options as `data.option_order` says."""
    return replace(sample, options=tuple(sorted(sample.options))) if option_order == "sorted" else sample


def divide(samples: Sequence[Sample], *, origin: str) -> DataSplit:
    """The halves by each sample's `split`. Raises DataError, naming `origin`, where they share patient or image."""
    split = DataSplit(
        train=tuple(sample for sample in samples if sample.split == "train"),
        evaluation=tuple(sample for sample in samples if sample.split == "eval"),
    )
    patients = {sample.patient_id: sample.id for sample in split.train}
    images = {sample.image.sha256: sample.id for sample in split.train}
    for sample in split.evaluation:
        for kind, key, seen in (("patient", sample.patient_id, patients), ("image", sample.image.sha256, images)):
            if key in seen:
                shown = sample.image.path if kind == "image" else key
                where = f"samples {seen[key]} (train) and {sample.id} (eval)"
                raise DataError(f"{origin}: {kind} {shown} is in both halves: {where}")
    return split
