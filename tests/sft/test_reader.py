"""The stand-in reader: what it is taught, and on whose images."""

from __future__ import annotations

import json
from pathlib import Path

from fundus_ray.config import load
from fundus_ray.data.source import load_data
from fundus_ray.knowledge.records import load_records
from fundus_ray.sft.reader import SEED, reply_of, train_reader
from fundus_ray.types import Sample

RECORDS = load_records()


def test_the_reply_names_the_annotated_findings_that_may_be_named(samples: tuple[Sample, ...]) -> None:
    sample = next(s for s in samples if s.findings and len(s.findings) > 1)
    assert sample.findings is not None
    names = [RECORDS.vocabulary.name(f) for f in sample.findings]
    assert json.loads(reply_of(sample, RECORDS, allowed=names)) == {"findings": names}
    assert json.loads(reply_of(sample, RECORDS, allowed=names[1:])) == {"findings": names[1:]}


def test_no_run_seed_draws_the_readers_phantoms(tmp_path: Path) -> None:
    largest = load(None, ["data.train_samples=3", "data.eval_samples=3", "run.seed=4194304", "data.image_px=56"])
    drawn = load_data(largest, cache_dir=tmp_path, finding_ids=RECORDS.vocabulary.ids)
    numbers = [int(s.id.removeprefix("phantom-")) for s in (*drawn.train, *drawn.evaluation)]
    assert max(numbers) < 2 * 1_000_000 * SEED  # where the reader's phantoms begin


def test_a_reader_is_made_once_and_loads(tmp_path: Path) -> None:
    settings = ["traces.reader=tiny", "traces.reader_samples=8", "traces.reader_steps=2", "sft.vision_warmup_steps=1"]
    config = load(None, [*settings, "sft.batch_size=4", "data.image_px=56"])
    folder = train_reader(config, records=RECORDS, cache_dir=tmp_path)
    stamp = (folder / "config.json").stat().st_mtime_ns
    assert train_reader(config, records=RECORDS, cache_dir=tmp_path) == folder
    assert (folder / "config.json").stat().st_mtime_ns == stamp
