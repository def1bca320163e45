"""A trained policy in a folder of its own, for other programs: a merged checkpoint, or the adapter alone.

In: a run folder (its newest checkpoint) or a checkpoint of one. Out: a folder that transformers, PEFT and vLLM load,
with a README.md that says what it was made from. It is there as a whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fundus_ray.checkpoints import STATE_FILE, read_marker
from fundus_ray.config import Config, load
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.obs.report_table import table
from fundus_ray.obs.strict_json import read_json
from fundus_ray.policy.adapter import CONFIG_FILE, WEIGHTS_FILE
from fundus_ray.policy.merged import merged_bytes, write_merged
from fundus_ray.policy.stored_adapter import StoredAdapter, read_adapter
from fundus_ray.policy.weights_hash import weights_sha256
from fundus_ray.stored_model import TrainedPolicy, trained_policy

README = "README.md"
SPARE_BYTES = 64 << 20  # configuration, tokenizer, README.md
READABLE = 0o755


@dataclass(frozen=True, slots=True)
class _Source:
    """What is exported."""

    trained: TrainedPolicy
    base_sha256: str
    adapter: StoredAdapter
    config: Config


def export(policy: Path, *, to: Path, merged: bool) -> Path:
    """Write the policy into `to`, which must be empty or not there yet. Returns it.

    Raises ConfigError where `to` is taken, has no room, or `policy` is nothing trained; DataError and DeliveryError
    where a file of the checkpoint is missing or damaged, or the base weights are not those that it was trained on.
    """
    trained = trained_policy(policy)
    adapter = read_adapter(trained.adapter, base=trained.base)
    to = to.resolve()
    source = _Source(trained, weights_sha256(trained.base), adapter, load(trained.run_dir / "config.yaml"))
    _check_free(to, needed=_bytes(source, merged=merged))
    _check_base(source)
    part = Path(tempfile.mkdtemp(prefix=f".{to.name}-", dir=to.parent))
    try:
        if merged:
            write_merged(trained.base, trained.adapter, to=part, dtype=source.config.policy.dtype)
        else:
            _write_adapter(source, to=part)
        (part / README).write_text(_card(source, merged=merged), encoding="utf-8")
        part.chmod(READABLE)
        os.replace(part, to)  # also onto an empty folder, and onto no other
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return to


def _check_base(source: _Source) -> None:
    """A warm start that was made again lies where the old one did, and the adapter fits it by its shapes."""
    marker = source.trained.adapter.parent / STATE_FILE
    then, now = read_marker(marker).record.get("base", source.base_sha256), source.base_sha256
    if then != now:
        raise DataError(
            f"{marker.parent} was trained on base weights of sha256 {then[:12]}, but {source.trained.base} holds "
            f"{now[:12]} now; put the old ones back"
        )


def _check_free(to: Path, *, needed: int) -> None:
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise ConfigError(f"--to {to} is there already and not empty; give another folder, or remove it")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(to.parent).free
    except OSError as err:
        raise ConfigError(f"--to {to} cannot be written: {err}") from None
    if needed > free:
        raise ConfigError(
            f"--to {to} needs {needed / 2**20:.0f} MiB, but {to.parent} has {free / 2**20:.0f} MiB free; make room, or "
            "give a folder elsewhere"
        )


def _bytes(source: _Source, *, merged: bool) -> int:
    if merged:
        return merged_bytes(source.trained.base, dtype=source.config.policy.dtype) + SPARE_BYTES
    return sum((source.trained.adapter / name).stat().st_size for name in (WEIGHTS_FILE, CONFIG_FILE)) + SPARE_BYTES


def _write_adapter(source: _Source, *, to: Path) -> None:
    """PEFT's two files; the configuration names the base weights, as `AutoPeftModel` wants."""
    shutil.copyfile(source.trained.adapter / WEIGHTS_FILE, to / WEIGHTS_FILE)
    config = json.loads((source.trained.adapter / CONFIG_FILE).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(source.trained.base)
    (to / CONFIG_FILE).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _card(source: _Source, *, merged: bool) -> str:
    """README.md in the form of a model card."""
    trained = source.trained
    head = ["---", f"library_name: {'transformers' if merged else 'peft'}", "pipeline_tag: image-text-to-text"]
    head += ["tags: [fundus, ophthalmology, reinforcement-learning, qwen2_5_vl]", "---"]
    kind = (
        "Qwen2.5-VL weights with the trained LoRA adapter merged in."
        if merged
        else "A LoRA adapter (PEFT). It belongs to the base weights named below and to no others."
    )
    rows = [(name, str(value)) for name, value in _provenance(source).items()]
    return "\n".join(
        [
            *head,
            "",
            f"# {trained.run_dir.name}, policy version {trained.step}",
            "",
            f"{kind} Trained by fundus_ray: chains of thought about fundus images, by reinforcement from checkable "
            "rewards, after Fundus-R1.",
            "",
            "**Not a medical device**: no output may be used for the care of a patient.",
            "",
            table(("", ""), rows),
            "",
        ]
    )


def _provenance(source: _Source) -> Mapping[str, str]:
    trained, config = source.trained, source.config
    versions: dict[str, Any] = {}
    if (trained.run_dir / "versions.json").is_file():
        versions = read_json(trained.run_dir / "versions.json")
    git = versions.get("git") or {}
    packages = {name: version for name, version in (versions.get("packages") or {}).items() if version}
    return {
        "base weights": f"{config.policy.path}, after {config.sft.steps} steps of warm start",
        "sha256 of the base weights": source.base_sha256,
        "sha256 of the adapter": source.adapter.sha256,
        "run": trained.run_dir.name,
        "policy updates": f"{trained.step} of {config.loop.steps}",
        "LoRA rank, alpha": f"{config.policy.lora_rank}, {config.policy.lora_alpha}",
        "precision": config.policy.dtype,
        "algorithm, learning rate": f"{config.learner.algorithm}, {config.learner.learning_rate:g}",
        "data": f"{config.data.source}, seed {config.run.seed}",
        "sampling": f"temperature {config.rollout.temperature:g}, at most {config.rollout.max_tokens} tokens",
        "commit": f"{str(git.get('commit', 'unknown'))[:12]}{' with local changes' if git.get('dirty') else ''}",
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()) or "unknown",
    }
