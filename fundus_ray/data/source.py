"""Any data source as two disjoint halves.

In: the `data` section of the config and a cache folder. Out: a `DataSplit`: training and held-out samples that share no
patient and no image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fundus_ray.bars import Bar
from fundus_ray.config import Config
from fundus_ray.data.jsonl import FindingIds, jsonl_samples
from fundus_ray.data.leaks.benchmark import read_benchmarks
from fundus_ray.data.leaks.fingerprint import file_fingerprint
from fundus_ray.data.leaks.guard import LeakGuard, picture_of, refuse_leaks
from fundus_ray.data.option_order import in_order
from fundus_ray.data.rendered.phantoms import phantom_samples
from fundus_ray.data.rendered.photo import photo_samples
from fundus_ray.data.store.halves import stored_halves
from fundus_ray.errors import DataError
from fundus_ray.types import Sample


@dataclass(frozen=True, slots=True)
class DataSplit:
    """The two halves of a data set. content: what a store's rows hash to; "" for other sources."""

    train: Sequence[Sample]
    evaluation: Sequence[Sample]
    content: str = ""


def load_data(config: Config, *, cache_dir: Path, finding_ids: FindingIds) -> DataSplit:
    """The samples of `config.data.source`; rendered ones are kept in `cache_dir`. Findings in a JSONL may be names or
    synonyms; from here on they are ids.

    Raises DataError on a file or row that cannot be used, an empty half, a patient or image in both halves, or a
    training image that is a known benchmark's. The held-out half may be empty only where evaluation is off
    (`evaluate.samples=0`).
    """
    data = config.data
    origin = data.path or f"data.source={data.source}"
    if data.source == "store":
        change = partial(in_order, option_order=data.option_order)
        split = DataSplit(*stored_halves(data, finding_ids=finding_ids, change=change))
    else:
        samples = _samples(config, cache_dir=cache_dir, finding_ids=finding_ids)
        split = divide([in_order(sample, option_order=data.option_order) for sample in samples], origin=origin)
        if data.benchmarks:
            _refuse_known_leaks(split.train, data.benchmarks, origin=origin)
    if not split.train:
        raise DataError(f"{origin}: no sample is left for training")
    if not split.evaluation and config.evaluate.samples:
        raise DataError(f"{origin}: no sample is held out for evaluation; hold some out or set evaluate.samples=0")
    return split


def _samples(config: Config, *, cache_dir: Path, finding_ids: FindingIds) -> tuple[Sample, ...]:
    """Of a source that is held in memory."""
    data, seed = config.data, config.run.seed
    if data.source == "jsonl":
        return jsonl_samples(
            Path(data.path).resolve(), finding_ids=finding_ids, eval_fraction=data.eval_fraction, seed=seed
        )
    rendered = {"phantoms": phantom_samples, "photo": photo_samples}[data.source]
    sizes = {"train": data.train_samples, "eval": data.eval_samples}
    return rendered(cache_dir, image_px=data.image_px, seed=seed, sizes=sizes)


def _refuse_known_leaks(samples: Sequence[Sample], benchmarks: str, *, origin: str) -> None:
    """Hashes every image once, however many questions it has."""
    images = {sample.image.path: sample for sample in samples}
    refuse_leaks(
        (picture_of(one, file_fingerprint(path)) for path, one in Bar(images.items(), desc="looking for leaks")),
        guard=LeakGuard(read_benchmarks(benchmarks)),
        remedy=f"take their rows out of {origin}",
    )


def divide(samples: Sequence[Sample], *, origin: str) -> DataSplit:
    """The halves by each sample's `split`. Raises DataError, naming `origin`, where they share patient or image."""
    split = DataSplit(
        train=tuple(sample for sample in samples if sample.split == "train"),
        evaluation=tuple(sample for sample in samples if sample.split == "eval"),
    )
    patients = {(sample.source, sample.patient_id): sample.id for sample in split.train}
    images = {sample.image.sha256: sample.id for sample in split.train}
    for sample in split.evaluation:
        patient = (sample.source, sample.patient_id)
        for kind, found, shown in (
            ("patient", patients.get(patient), sample.patient_id),
            ("image", images.get(sample.image.sha256), sample.image.path),
        ):
            if found is not None:
                where = f"samples {found} (train) and {sample.id} (eval)"
                raise DataError(f"{origin}: {kind} {shown} is in both halves: {where}")
    return split
