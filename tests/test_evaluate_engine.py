"""`fundus-ray evaluate --model` on real parts: Ray, vLLM engines, a LoRA adapter. The model is tiny and untrained:
asserted is what becomes of its words, not that it sees anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from funbench_replica import L1A, L2B, Asked, write_replica

from fundus_ray.cli import main
from fundus_ray.policy.adapter import publish, write_files
from fundus_ray.policy.load import load_policy, with_adapter
from fundus_ray.types import Sample

COARSE = ("Painting", "Fundus image", "Natural image", "Whole-slide image")
EYES = ("Left eye", "Right eye")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, samples: tuple[Sample, ...]) -> Path:
    """Eight questions about four phantoms; one of them is broken."""
    folder = tmp_path_factory.mktemp("benchmark")
    tasks = {
        L1A: [Asked(COARSE, COARSE[1], None, image=f"DDR/{i}.png") for i in range(4)],
        L2B: [Asked(EYES, EYES[i % 2], None, image=f"DDR/{i}.png") for i in range(4)],
    }
    write_replica(folder, folder / "unused", tasks)
    (folder / "DDR").mkdir()
    for i in range(4):
        content = Path(samples[i].image.path).read_bytes()
        (folder / "DDR" / f"{i}.png").write_bytes(content if i != 3 else content[:200])
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_policy: Path) -> Path:
    """One that changes what the policy says."""
    policy = with_adapter(load_policy(tiny_policy), rank=8, alpha=16, seed=0)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3, generator=torch.Generator().manual_seed(len(name)))
    folder = tmp_path_factory.mktemp("adapter") / "adapter"
    write_files(publish(policy, step=1), folder)
    return folder


def evaluate(root: Path, model: Path, out: Path, *words: str) -> int:
    paths = ["--root", str(root), "--model", str(model), "--out", str(out)]
    settings = ["rollout.max_model_len=512", "rollout.max_tokens=8", "loop.stall_s=120", "--image-px=0"]
    return main(["evaluate", "--benchmark", "funbench", *paths, *settings, *words])


def answers(out: Path, file: str = L2B) -> Any:
    return json.loads((out / "answers" / file).read_text())


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, root: Path, tiny_policy: Path) -> Path:
    """What the base weights say, on two engines."""
    out = tmp_path_factory.mktemp("answered")
    assert evaluate(root, tiny_policy, out, "--controls=order,image,grey", "--orders=1", "--workers=2") == 0
    return out


def test_a_model_answers_on_two_engines_with_controls_and_a_second_call_starts_none(
    root: Path, tiny_policy: Path, answered: Path
) -> None:
    found = json.loads((answered / "scores.json").read_text())
    assert found["counts"]["questions"] == 6
    assert found["counts"]["left_out"] == {"image cannot be read": 2}
    assert [one["name"] for one in found["controls"]] == ["order 1", "no image", "grey image"]
    named = [json.loads(line) for line in (answered / "not_asked.jsonl").read_text().splitlines()]
    assert all("3.png is damaged" in row["why"] for row in named)
    shown, hidden = answers(answered), answers(answered / "controls" / "no-image")
    assert set(shown) <= set(hidden)
    logs = sorted((answered / "logs").iterdir())
    assert [log.name for log in logs] == ["answerer-0.log", "answerer-1.log"]

    for log in logs:
        log.unlink()
    (root / "DDR" / "3.png").rename(root / "DDR" / "3.away")  # nothing else is left to ask
    assert evaluate(root, tiny_policy, answered, "--controls=order", "--orders=1") == 0
    (root / "DDR" / "3.away").rename(root / "DDR" / "3.png")
    assert list((answered / "logs").iterdir()) == []
    assert answers(answered) == shown


def test_answers_under_an_adapter_are_its_own_and_proven(
    root: Path, tiny_policy: Path, adapter: Path, answered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(root, tiny_policy, tmp_path / "own", "--adapter", str(adapter)) == 0
    assert answers(tmp_path / "own") != answers(answered)
    # The same files with a probe that another adapter would have: what is not proven does not answer.
    probe = adapter / "probe.json"
    kept = probe.read_text()
    told = json.loads(kept)
    probe.write_text(json.dumps({**told, "logprobs": [value - 0.5 for value in told["logprobs"]]}))
    try:
        assert evaluate(root, tiny_policy, tmp_path / "wrong", "--adapter", str(adapter)) == 1
    finally:
        probe.write_text(kept)
    assert "the probe's logprobs differ by 0.5" in capsys.readouterr().err


def test_what_does_not_fit_names_its_question_and_the_setting(
    root: Path, tiny_policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(root, tiny_policy, tmp_path, "rollout.max_model_len=48") == 2
    said = capsys.readouterr().err
    assert any(f"{file}: DDR/" in said for file in (L1A, L2B))  # whichever of them is refused first
    assert "set rollout.max_model_len higher" in said


def test_a_folder_that_is_no_model_is_one_line(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert evaluate(root, tmp_path, tmp_path / "out") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"{tmp_path} cannot be served" in last


def test_prompt_and_image_reach_the_model_as_in_training(samples: tuple[Sample, ...], tiny_policy: Path) -> None:
    from fundus_ray.policy.load import chat_text, load_processor, prompt_text
    from fundus_ray.reasoning.prompt import build_prompt

    prompt = build_prompt(replace(samples[0], task="L4b"), group_id=0, seed=0)
    processor = load_processor(tiny_policy)
    assert chat_text(processor, system=prompt.system, user=prompt.user, with_image=True) == prompt_text(
        processor, prompt
    )
    assert "<|image_pad|>" not in chat_text(processor, system="", user="Q", with_image=False)
