"""The warm start: batches, the vision targets, and the cache that saves the second run the work."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fundus_ray.config import Config, load
from fundus_ray.data.rendered.phantoms import FINDINGS, render
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.knowledge.records import load_records
from fundus_ray.policy.load import load_policy, load_processor
from fundus_ray.sft.batch import SftExample, collate, cut_image, make_example
from fundus_ray.sft.lesion_warmup import finding_cells
from fundus_ray.sft.tiny_base import make_base
from fundus_ray.sft.train import reshuffled, train_on_examples
from fundus_ray.sft.warm_start import trace_examples, traces_of, training_rows, warm_start
from fundus_ray.traces.link import LinkedTrace
from fundus_ray.traces.store import TraceFolder
from fundus_ray.traces.writer import Trace, bare_answers
from fundus_ray.types import Modality, Sample

RECORDS = load_records()
TEXT = "<think>Findings: none. Conclusion: normal.</think><answer>A</answer>"


def example_of(processor: Any, sample: Sample, *, trace: Trace) -> SftExample:
    return make_example(processor, sample, trace=trace, image=cut_image(processor, sample.image))


def test_only_the_completion_is_learned_and_it_ends_the_turn(tiny_policy: Path, samples: tuple[Sample, ...]) -> None:
    processor = load_processor(tiny_policy)
    short = example_of(processor, samples[0], trace=Trace("a", TEXT, (), ("normal",)))
    long = example_of(processor, samples[1], trace=Trace("b", TEXT.replace("none", "drusen, drusen"), (), ("normal",)))
    rows = collate([short, long], pad_id=0)
    assert rows.token_ids.shape == (2, int(rows.seq_lens.max()))
    for i, example in enumerate((short, long)):
        completion = rows.token_ids[i, rows.prompt_lens[i] : rows.seq_lens[i]].tolist()
        assert processor.tokenizer.decode(completion).endswith("</answer><|im_end|>")
        assert tuple(completion) == example.completion_ids
    assert (rows.token_ids[0] == processor.image_token_id).sum() == 16  # 112 px / 28 px, squared
    assert rows.patches.shape == (2 * 64, 3 * 2 * 14 * 14)


def test_questions_about_one_image_hold_its_patches_once(tiny_policy: Path, samples: tuple[Sample, ...]) -> None:
    asked = [samples[0], replace(samples[0], id="again", question="Which condition is it?"), samples[1]]
    traces = [Trace(sample.id, TEXT, (), ("normal",)) for sample in asked]
    first, again, other = trace_examples(asked, traces, processor=load_processor(tiny_policy))
    assert again.image is first.image
    assert again.prompt_ids != first.prompt_ids
    assert not torch.equal(other.image.patches, first.image.patches)


def test_a_policy_can_learn_one_trace_by_heart(tiny_policy: Path, samples: tuple[Sample, ...]) -> None:
    policy = load_policy(tiny_policy)
    example = example_of(policy.processor, samples[0], trace=Trace("a", TEXT, (), ("normal",)))
    config = load(None, ["sft.batch_size=1", "sft.bf16=false"])
    rows = reshuffled(1, seed=0)
    losses = train_on_examples(config, policy, [example], steps=40, learning_rate=3e-3, name="by heart", rows=rows)
    assert len(losses) == 40
    assert losses[-1] < 0.1 < losses[0]


def test_training_goes_through_all_examples_before_any_comes_again() -> None:
    seen = list(itertools.islice(reshuffled(7, seed=0), 21))
    assert [sorted(seen[i : i + 7]) for i in (0, 7, 14)] == [list(range(7))] * 3
    assert seen[:7] != seen[7:14]


def test_a_balanced_warm_start_reads_rare_answers_as_often_as_common_ones(samples: tuple[Sample, ...]) -> None:
    labels = ("normal",) * 9 + ("glaucoma",)  # one in ten
    mixed = [replace(samples[0], id=f"s{i}", answer=(label,)) for i, label in enumerate(labels)]
    rows = itertools.islice(training_rows(load(None, ["data.order=balanced"]), mixed), 40)
    assert Counter(labels[row] for row in rows) == {"normal": 20, "glaucoma": 20}
    rows = itertools.islice(training_rows(load(), mixed), 40)
    assert Counter(labels[row] for row in rows) == {"normal": 36, "glaucoma": 4}


def test_vision_targets_are_the_cells_that_a_finding_touches(samples: tuple[Sample, ...]) -> None:
    sample = next(s for s in samples if s.findings)
    cells = finding_cells(sample)
    assert cells.shape == (16, len(FINDINGS))
    masks = render(int(sample.id.split("-")[1]), image_px=112).masks
    for column, finding in enumerate(FINDINGS):
        touched = {(y // 28) * 4 + x // 28 for y, x in np.argwhere(masks[finding])} if finding in masks else set()
        assert set(np.flatnonzero(cells[:, column])) == touched


def test_the_second_run_finds_the_first_ones_weights(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    config = load(None, ["sft.steps=2", "sft.vision_warmup_steps=1", "sft.batch_size=4"])
    folder = warm_start(config, samples, records=RECORDS, cache_dir=tmp_path)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert warm_start(config, samples, records=RECORDS, cache_dir=tmp_path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert len((folder.parent / "traces.jsonl").read_text().splitlines()) == len(samples)
    losses = json.loads((folder.parent / "sft.json").read_text())["losses"]
    assert [len(losses[k]) for k in ("vision warm-up", "training on traces")] == [1, 2]
    other = replace(config, sft=replace(config.sft, drop_finding=0.9))
    assert warm_start(other, samples, records=RECORDS, cache_dir=tmp_path) != folder
    retold = tuple(replace(sample, task="another") for sample in samples)  # which decides a balanced order
    assert warm_start(config, retold, records=RECORDS, cache_dir=tmp_path) != folder


def test_without_steps_the_given_checkpoint_is_used_as_it_is(tiny_policy: Path, tmp_path: Path) -> None:
    config = load(None, ["sft.steps=0", f"policy.path={tiny_policy}"])
    assert warm_start(config, (), records=RECORDS, cache_dir=tmp_path) == tiny_policy
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_qwen_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match=r"policy\.path=.* cannot be loaded as Qwen2\.5-VL"):
        load_policy(tmp_path)


def test_generated_traces_take_the_place_of_simulated_ones(tmp_path: Path, samples: tuple[Sample, ...]) -> None:
    kept = LinkedTrace(
        sample_id=samples[1].id, text="kept", findings=(), conclusion=("normal",), relations=(), snapshot="s"
    )
    folder = TraceFolder(tmp_path, made_with={})
    folder.add(kept, samples[1], rejected="", reply="")
    folder.add(replace(kept, sample_id=samples[2].id), samples[2], rejected="unparseable", reply="")
    folder.add(replace(kept, sample_id="of another run"), samples[0], rejected="", reply="")
    folder.close()
    config = load(None, [f"sft.traces={tmp_path}"])
    found = traces_of(config, samples, records=RECORDS)
    assert [(t.sample_id, t.text) for t in found] == [(samples[1].id, "kept")]
    with pytest.raises(DataError, match="no kept trace there is about a training sample of this run"):
        traces_of(config, samples[3:], records=RECORDS)


def test_lesion_maps_go_with_the_images_that_have_a_trace_in_whatever_order_they_were_written(
    tmp_path: Path, samples: tuple[Sample, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs: list[tuple[str, ...]] = []

    def seen(config: Config, policy: object, shown: list[Sample], *, examples: list[SftExample]) -> list[float]:
        pairs.append(tuple(s.id for s in shown))
        own = [cut_image(load_processor(base), s.image).patches for s in shown]
        assert all(torch.equal(mine, e.image.patches) for mine, e in zip(own, examples, strict=True))
        return []

    monkeypatch.setattr("fundus_ray.sft.warm_start.lesion_warmup", seen)
    base = tmp_path / "base"
    make_base(load(), samples, records=RECORDS, folder=base)
    folder = TraceFolder(tmp_path / "traces", made_with={})
    for sample in (samples[5], samples[2]):
        folder.add(LinkedTrace(sample.id, TEXT, (), sample.answer, (), "s"), sample, rejected="", reply="")
    folder.close()
    settings = [f"sft.traces={folder.path}", f"policy.path={base}", "sft.steps=1", "sft.batch_size=2"]
    warm_start(load(None, settings), samples, records=RECORDS, cache_dir=tmp_path)
    assert pairs == [(samples[2].id, samples[5].id)]


def test_the_control_answers_in_the_samples_own_words_where_there_are_no_options(samples: tuple[Sample, ...]) -> None:
    free = replace(samples[0], options=(), answer=("glaucoma",))
    (trace,) = bare_answers([Trace(free.id, TEXT, (), ())], [free])
    assert trace.text == "<think></think><answer>glaucoma</answer>"


@pytest.mark.parametrize(
    "settings", [["policy.path=reader", "traces.reader=tiny"], ["sft.target=answers"], ["sft.bf16=false"]]
)
def test_what_changes_the_weights_changes_the_key(
    settings: list[str], samples: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    monkeypatch.setattr("fundus_ray.sft.warm_start.trained_once", lambda folder, train: made.append(folder))
    other = [replace(samples[0], modality=Modality.UWF), *samples[1:]]
    for config, shown in ((load(), samples), (load(None, settings), samples), (load(), other)):
        warm_start(config, shown, records=RECORDS, cache_dir=tmp_path, reader=tmp_path)
    assert len(set(made)) == 3
