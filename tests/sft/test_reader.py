"""The stand-in reader: what it is taught, and on whose images."""

from __future__ import annotations

import json
from pathlib import Path

from fundus_ray.config import load
from fundus_ray.data.rendered.phantoms import FINDINGS, render, severities
from fundus_ray.data.source import load_data
from fundus_ray.knowledge.records import load_records
from fundus_ray.sft.reader import CONSPICUOUS, SEED, reply_of, train_reader
from fundus_ray.types import Sample

RECORDS = load_records()


def test_the_reply_names_the_conspicuous_findings_that_may_be_named(samples: tuple[Sample, ...]) -> None:
    names = [RECORDS.vocabulary.name(f) for f in FINDINGS]
    told = overlooked = 0
    for sample in samples:
        named = json.loads(reply_of(sample, RECORDS, allowed=names))["findings"]
        marked = severities(int(sample.id.split("-")[1]))
        for finding in sample.findings or ():
            conspicuous = marked[finding] >= CONSPICUOUS
            assert (RECORDS.vocabulary.name(finding) in named) == conspicuous
            told, overlooked = told + conspicuous, overlooked + (not conspicuous)
        assert json.loads(reply_of(sample, RECORDS, allowed=named[1:])) == {"findings": named[1:]}
    assert told > 0
    assert overlooked > 0


def test_a_marked_lesion_covers_more_of_the_picture_than_a_faint_one() -> None:
    seeds = [seed for seed in range(400) if "drusen" in render(seed, image_px=112).masks]
    marked = sorted(seeds, key=lambda seed: severities(seed)["drusen"])
    areas = [int(render(seed, image_px=112).masks["drusen"].sum()) for seed in marked]
    third = len(areas) // 3
    assert sum(areas[:third]) < sum(areas[-third:])


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
