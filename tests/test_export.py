"""An exported policy is the policy: the same log-probabilities in transformers, PEFT and vLLM."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForImageTextToText

from fundus_ray import export as export_module
from fundus_ray.cli import main
from fundus_ray.config import load, to_yaml
from fundus_ray.errors import ConfigError, DataError, DeliveryError
from fundus_ray.export import export
from fundus_ray.policy.adapter import publish, write_files
from fundus_ray.policy.load import PolicyModel, load_policy, with_adapter
from fundus_ray.policy.logprobs import text_logprobs
from fundus_ray.policy.merged import write_merged
from fundus_ray.policy.serve import ServedModel
from fundus_ray.policy.weights_hash import weights_sha256
from fundus_ray.types import ModelRequest

CLOSE = 1e-4  # nats, in float32
TEXT_IDS = tuple(range(20, 50))


@pytest.fixture(scope="module")
def policy(tiny_policy: Path) -> PolicyModel:
    """A policy whose adapter does something."""
    policy = with_adapter(load_policy(tiny_policy), rank=8, alpha=16, seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in policy.model.named_parameters():
        if "lora_" in name:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return policy


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory, tiny_policy: Path, policy: PolicyModel) -> Path:
    """A run folder with a checkpoint of that policy."""
    folder = tmp_path_factory.mktemp("runs") / "run-1"
    checkpoint = folder / "checkpoints" / "step-000010"
    checkpoint.mkdir(parents=True)
    (folder / "facts.json").write_text(json.dumps({"policy": {"base": str(tiny_policy.resolve())}}))
    (folder / "config.yaml").write_text(to_yaml(load(None, [f"policy.path={tiny_policy}", "sft.steps=0"])))
    write_files(publish(policy, step=10), checkpoint / "adapter")
    (checkpoint / "state.json").write_text(json.dumps({"step": 10, "next_group_id": 0, "passed_group_ids": []}))
    return folder


def gap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return float(np.abs(np.subtract(one, other)).max())


def plain(model: object, like: PolicyModel) -> PolicyModel:
    return PolicyModel(model=model, processor=like.processor, device=torch.device("cpu"))


async def test_merged_weights_are_the_policy_in_transformers_and_in_vllm(
    run_dir: Path, policy: PolicyModel, tiny_policy: Path, tmp_path: Path
) -> None:
    assert main(["export", "--policy", str(run_dir), "--to", str(tmp_path / "merged")]) == 0
    folder = tmp_path / "merged"
    model = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager", local_files_only=True)
    expected = text_logprobs(policy, TEXT_IDS)
    assert gap(text_logprobs(plain(model.eval(), policy), TEXT_IDS), expected) < CLOSE
    assert gap(text_logprobs(load_policy(tiny_policy), TEXT_IDS), expected) > 0.1  # what the adapter does

    request = ModelRequest(system="", user="Findings?", max_tokens=8)
    config = load(None, ["rollout.max_model_len=128"])
    served = ServedModel.start(config, model_path=str(folder), name="exported")
    try:
        reply = await served.complete(request, pixels=None, limit_s=120)
    finally:
        await served.close()
    logprobs = greedy(plain(model, policy), user="Findings?", tokens=len(reply.tokens))
    assert len(logprobs) == 8
    assert gap(tuple(logprob for _, logprob in reply.tokens), logprobs) < CLOSE


def greedy(policy: PolicyModel, *, user: str, tokens: int) -> tuple[float, ...]:
    """Logprobs of the likeliest continuation by transformers, token for token."""
    chat = [{"role": "user", "content": user}]
    text = policy.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = list(policy.processor.tokenizer(text)["input_ids"])
    logprobs = []
    for _ in range(tokens):
        with torch.no_grad():
            last = torch.log_softmax(policy.network(input_ids=torch.tensor([ids])).logits[0, -1].float(), dim=-1)
        ids.append(int(last.argmax()))
        logprobs.append(float(last.max()))
    return tuple(logprobs)


def test_an_adapter_is_the_policy_in_peft(
    run_dir: Path, policy: PolicyModel, tiny_policy: Path, tmp_path: Path
) -> None:
    checkpoint = run_dir / "checkpoints" / "step-000010"
    folder = export(checkpoint, to=tmp_path / "adapter", merged=False)
    base = AutoModelForImageTextToText.from_pretrained(tiny_policy, attn_implementation="eager", local_files_only=True)
    model = PeftModel.from_pretrained(base, folder).eval()
    assert gap(text_logprobs(plain(model, policy), TEXT_IDS), text_logprobs(policy, TEXT_IDS)) < CLOSE
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(tiny_policy)
    card = (folder / "README.md").read_text()
    sha256 = (checkpoint / "adapter" / "COMPLETE").read_text()
    for told in ("library_name: peft", "run-1, policy version 10", sha256, "after Fundus-R1", "Not a medical device"):
        assert told in card


def test_sums_of_merged_weights_are_rounded_once(
    run_dir: Path, policy: PolicyModel, tiny_policy: Path, tmp_path: Path
) -> None:
    adapter = run_dir / "checkpoints" / "step-000010" / "adapter"
    write_merged(tiny_policy, adapter, to=tmp_path / "merged", dtype="bfloat16")
    found = load_policy(tmp_path / "merged", dtype="bfloat16").network.state_dict()
    base = load_policy(tiny_policy, dtype="bfloat16").network.state_dict()
    layers = [(name, m) for name, m in policy.network.named_modules() if isinstance(m, LoraLayer)]
    assert layers
    for name, layer in layers:
        weight = base[f"{name}.weight"].float() + layer.get_delta_weight("default").detach()
        assert torch.equal(found[f"{name}.weight"], weight.bfloat16()), name


def test_other_base_weights_than_those_that_were_trained_on_are_refused(
    run_dir: Path, tiny_policy: Path, tmp_path: Path
) -> None:
    marker = run_dir / "checkpoints" / "step-000010" / "state.json"
    whole = marker.read_text()
    try:
        marker.write_text(json.dumps({**json.loads(whole), "record": {"base": weights_sha256(tiny_policy)}}))
        export(run_dir, to=tmp_path / "same", merged=False)
        marker.write_text(json.dumps({**json.loads(whole), "record": {"base": "0" * 64}}))
        with pytest.raises(DataError, match=r"step-000010 was trained on base weights of sha256 000000000000, but"):
            export(run_dir, to=tmp_path / "other", merged=True)
    finally:
        marker.write_text(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["same"]


def test_a_folder_that_is_taken_or_too_small_is_refused_and_nothing_is_left(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("")
    with pytest.raises(ConfigError, match="taken is there already and not empty"):
        export(run_dir, to=taken, merged=True)
    monkeypatch.setattr(export_module, "SPARE_BYTES", 1 << 60)
    with pytest.raises(ConfigError, match=r"needs \d+ MiB, but .* has \d+ MiB free"):
        export(run_dir, to=tmp_path / "new", merged=True)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_an_empty_folder_is_taken(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export(run_dir, to=tmp_path / "empty", merged=False)
    assert {path.name for path in (tmp_path / "empty").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "README.md",
    }


def test_what_was_not_trained_or_is_damaged_is_refused_and_nothing_is_left(
    run_dir: Path, tiny_policy: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"neither a run folder .* nor a checkpoint of one"):
        export(tiny_policy, to=tmp_path / "new", merged=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "facts.json").write_text("{}")
    with pytest.raises(DataError, match="holds no complete checkpoint yet"):
        export(tmp_path / "run", to=tmp_path / "new", merged=True)
    weights = run_dir / "checkpoints" / "step-000010" / "adapter" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with pytest.raises(DeliveryError, match="hash"):
            export(run_dir, to=tmp_path / "new", merged=True)
    finally:
        weights.write_bytes(whole)
    assert not (tmp_path / "new").exists()
