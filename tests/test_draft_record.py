"""A record drafted on real parts: the knowledge store, Ray, a vLLM engine, structured output. The model is tiny and
untrained: asserted is what becomes of its words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fundus_ray.config import Config, load
from fundus_ray.draft_record import draft_record
from fundus_ray.errors import DataError, WorkerDiedError
from fundus_ray.types import Modality

LABEL = "lunar retinopathy"


def config_in(folder: Path) -> Config:
    documents = folder / "documents"
    documents.mkdir()
    (documents / "lunar.md").write_text(f"# {LABEL.title()}\n\nThe signs of {LABEL} are drusen.\n")
    settings = [f"run.dir={folder}", f"knowledge.passages_dir={documents}", "rollout.max_model_len=4096"]
    return load(None, settings)


def test_a_draft_is_written_once_with_what_a_person_must_look_at(tmp_path: Path, tiny_policy: Path) -> None:
    config = config_in(tmp_path)
    out = tmp_path / "drafts"
    file, draft = draft_record(config, label=LABEL, modality=Modality.CFP, model=tiny_policy, out=out, max_tokens=3000)
    assert file == out / "lunar_retinopathy_cfp.yaml"
    tree = yaml.safe_load(file.read_text())
    assert tree["record"]["label"] == LABEL
    assert set(tree["record"]["modalities"]["CFP"]) == {"required", "supportive", "contradicting", "rule"}
    assert tree["draft"]["look_at"] == list(draft.flagged)
    assert tree["draft"]["snapshot"] == draft.snapshot
    with pytest.raises(DataError, match="exists: accept or reject it first"):
        draft_record(config, label=LABEL, modality=Modality.CFP, model=tiny_policy, out=out)


def test_a_model_that_does_not_start_in_time_is_named_with_the_setting(tmp_path: Path, tiny_policy: Path) -> None:
    config = config_in(tmp_path)
    config.ray.start_timeout_s = 0.05
    out = tmp_path / "drafts"
    said = rf"reader-0 did not answer within 0\.05 s while loading {tiny_policy} \(limit: ray\.start_timeout_s\)"
    with pytest.raises(WorkerDiedError, match=said):
        draft_record(config, label=LABEL, modality=Modality.CFP, model=tiny_policy, out=out)
    assert list(out.glob("*.yaml")) == []


def test_a_label_that_no_passage_names_is_not_drafted(tmp_path: Path, tiny_policy: Path) -> None:
    with pytest.raises(DataError, match="no passage speaks of 'martian retinopathy'"):
        draft_record(
            config_in(tmp_path), label="martian retinopathy", modality=Modality.CFP, model=tiny_policy, out=tmp_path
        )
