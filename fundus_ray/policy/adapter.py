"""A published adapter: immutable files, a hash over them, and the learner's own log-probabilities on a fixed text.

In: a policy with a LoRA adapter. Out: `PublishedAdapter`, small enough (tens of MB at 7B) for Ray's object store.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from fundus_ray.errors import DeliveryError
from fundus_ray.policy.load import PolicyModel
from fundus_ray.policy.logprobs import text_logprobs
from fundus_ray.types import PolicyVersion, PublishedAdapter

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
COMPLETE_FILE = "COMPLETE"  # written last: holds the hash
PROBE_FILE = "probe.json"  # step, and the learner's log-probabilities on the fixed text
PROBE_TEXT = "Findings: microaneurysms, hard exudates, drusen. Conclusion: diabetic retinopathy. The macula is seen."


def publish(policy: PolicyModel, *, step: int, dtype: torch.dtype | None = None) -> PublishedAdapter:
    """The adapter as it is now, with the proof that its receivers must reproduce.

    dtype: of the weights that are sent; None = as they are (PEFT keeps them in float32 on bfloat16 base weights too).
    """
    weights = sorted(get_peft_model_state_dict(policy.model).items())
    state = {name: weight.detach().to("cpu", dtype).contiguous() for name, weight in weights}
    files = {WEIGHTS_FILE: save_tensors(state), CONFIG_FILE: _config_bytes(policy)}
    probe_ids, logprobs = probe(policy)
    return PublishedAdapter(
        version=PolicyVersion(step=step, sha256=sha256_of(files)),
        files=files,
        probe_token_ids=probe_ids,
        probe_logprobs=logprobs,
    )


def probe(policy: PolicyModel) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The fixed text's tokens, and the log-probabilities of all but the first."""
    ids = tuple(policy.processor.tokenizer(PROBE_TEXT)["input_ids"])
    return ids, text_logprobs(policy, ids)


def load_published(folder: Path) -> PublishedAdapter:
    """What `write_files` wrote. Raises DeliveryError where the files disagree with their hash."""
    files = read_files(folder)
    probe = json.loads((folder / PROBE_FILE).read_text())
    return PublishedAdapter(
        version=PolicyVersion(step=int(probe["step"]), sha256=sha256_of(files)),
        files=files,
        probe_token_ids=tuple(probe["token_ids"]),
        probe_logprobs=tuple(probe["logprobs"]),
    )


def restore(policy: PolicyModel, files: dict[str, bytes]) -> None:
    """Put published weights back into the policy's adapter."""
    set_peft_model_state_dict(policy.model, load_tensors(files[WEIGHTS_FILE]))


def sha256_of(files: dict[str, bytes]) -> str:
    """Hash over names, sizes and contents, independent of the files' order."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}:{len(files[name])}:".encode())
        digest.update(files[name])
    return digest.hexdigest()


def write_files(adapter: PublishedAdapter, folder: Path) -> None:
    """Write the files, then the completion marker, so that a half-written adapter is never taken for a whole one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in adapter.files.items():
        (folder / name).write_bytes(content)
    probe = {
        "step": adapter.version.step,
        "token_ids": adapter.probe_token_ids,
        "logprobs": adapter.probe_logprobs,
    }
    (folder / PROBE_FILE).write_text(json.dumps(probe))
    (folder / COMPLETE_FILE).write_text(adapter.version.sha256)


def read_files(folder: Path) -> dict[str, bytes]:
    """The files back from disk. Raises DeliveryError where the marker is missing or its hash disagrees."""
    marker = folder / COMPLETE_FILE
    if not marker.is_file():
        raise DeliveryError(f"{folder}: no {COMPLETE_FILE} marker; the adapter was not written to its end")
    files = {name: (folder / name).read_bytes() for name in (WEIGHTS_FILE, CONFIG_FILE)}
    found, expected = sha256_of(files), marker.read_text()
    if found != expected:
        raise DeliveryError(f"{folder}: hash {found[:12]} differs from the published {expected[:12]}")
    return files


def _config_bytes(policy: PolicyModel) -> bytes:
    config = policy.model.peft_config["default"].to_dict()
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    plain["inference_mode"] = True
    plain["base_model_name_or_path"] = ""  # a path of the learner's machine means nothing to an engine elsewhere
    return json.dumps(plain, sort_keys=True, default=str, indent=1).encode()
