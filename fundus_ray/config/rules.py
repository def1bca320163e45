"""What a configuration must keep to: every field its range, and the rules that join fields."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fundus_ray.config.placement import check_asks
from fundus_ray.config.policy import NO_FOLDER
from fundus_ray.config.schema import Config, documented_fields
from fundus_ray.config.sources import ON_DISK, KnowledgeConfig
from fundus_ray.cores import parse_cores
from fundus_ray.errors import ConfigError

PASSWORD_IN_ADDRESS = re.compile(r"[a-zA-Z][\w+.-]*://[^/\s@:]*:(?!\d+/)\S*@")  # what follows `:` is no port


def check(config: Config) -> None:
    """Every field against its range, then the rules that join fields. Raises ConfigError."""
    check_ranges(config)
    _check_rules(config)


def check_ranges(config: Config) -> None:
    """Every field against its range, and none with a password. Raises ConfigError."""
    for key, meta, value in documented_fields(config):
        _check_range(key, value, meta)
        if isinstance(value, str) and PASSWORD_IN_ADDRESS.search(value):
            raise ConfigError(
                f"{key} holds a user or password in its address, which the run's config.yaml, its logs and a job's "
                "command line would show; give the address without them: an Elasticsearch key by knowledge.api_key_env "
                "or knowledge.api_key_file, a store's by the environment or files that its own client reads"
            )


def allowed(meta: dict[str, Any]) -> str:
    """The allowed range in words, or an empty string."""
    if meta["choices"]:
        return "one of " + ", ".join(meta["choices"])
    bounds = []
    if meta["low"] is not None:
        bounds.append(f">= {meta['low']:g}")
    if meta["above"] is not None:
        bounds.append(f"> {meta['above']:g}")
    if meta["high"] is not None:
        bounds.append(f"<= {meta['high']:g}")
    return " and ".join(bounds)


def _check_range(key: str, value: Any, meta: dict[str, Any]) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        ok = False
    else:
        ok = (
            (not meta["choices"] or value in meta["choices"])
            and (meta["low"] is None or value >= meta["low"])
            and (meta["above"] is None or value > meta["above"])
            and (meta["high"] is None or value <= meta["high"])
        )
    if not ok:
        raise ConfigError(f"{key}={value} is not allowed: must be {allowed(meta) or 'a finite number'} ({meta['doc']})")


def _check_knowledge(knowledge: KnowledgeConfig) -> None:
    if knowledge.store != "elasticsearch":
        return
    try:
        url = urlsplit(knowledge.url)
        whole = url.scheme in ("http", "https") and url.hostname and url.port and url.path in ("", "/")
    except ValueError:  # a port that is no number
        whole = False
    if "@" in knowledge.url:
        raise ConfigError(
            "knowledge.url holds a user or password, which the run's config.yaml and its logs would show; give the "
            "address without it, and an API key by knowledge.api_key_env or knowledge.api_key_file"
        )
    if not whole:
        raise ConfigError(
            f"knowledge.url={knowledge.url} must be http://HOST:PORT or https://HOST:PORT, as in http://127.0.0.1:9200"
        )
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", knowledge.index):
        raise ConfigError(
            f"knowledge.index={knowledge.index} cannot name an index: small letters, digits, `.`, `_`, `-`"
        )
    if knowledge.ca_certs and not Path(knowledge.ca_certs).is_file():
        raise ConfigError(
            f"knowledge.ca_certs={knowledge.ca_certs} is not a file; give the cluster's certificate authority (PEM)"
        )
    if knowledge.ca_certs and url.scheme == "http":
        raise ConfigError(f"knowledge.ca_certs is for https, but knowledge.url={knowledge.url}; correct one of them")
    if knowledge.api_key_env and not os.environ.get(knowledge.api_key_env):
        raise ConfigError(
            f"knowledge.api_key_env={knowledge.api_key_env}: this environment variable is not set; put the API key "
            "into it"
        )
    if knowledge.api_key_env and knowledge.api_key_file:
        raise ConfigError("knowledge.api_key_env and knowledge.api_key_file both name the API key; leave one out")
    if knowledge.api_key_file and not Path(knowledge.api_key_file).is_file():
        raise ConfigError(f"knowledge.api_key_file={knowledge.api_key_file} is not a file; put the API key into it")


def _check_models(c: Config) -> None:
    for key, value, words in (
        ("policy.path", c.policy.path, NO_FOLDER),
        ("traces.reader", c.traces.reader, ("", "tiny")),
    ):
        if value not in words and not (Path(value) / "config.json").is_file():
            known = " or ".join(f"`{word}`" for word in words if word)
            raise ConfigError(f"{key}={value} is not a checkpoint folder (no config.json); give one, or {known}")
    if c.policy.path == "reader" and not c.traces.reader:
        raise ConfigError(
            "policy.path=reader, but traces.reader is empty: there is no reader to start from; set traces.reader"
        )
    if c.policy.path == "tiny" and c.loop.steps and not c.sft.steps:
        raise ConfigError(
            "sft.steps=0 with policy.path=tiny: the tiny policy starts random and must be warmed up; set sft.steps > 0"
        )
    if (c.policy.path, c.traces.reader) == ("reader", "tiny") and c.loop.steps and not c.sft.steps:
        raise ConfigError(
            "sft.steps=0 with policy.path=reader and traces.reader=tiny: that reader can name findings and nothing "
            "else, so it must be warmed up; set sft.steps > 0"
        )


def _check_reward(c: Config) -> None:
    reward = c.reward
    weights = (reward.accuracy, reward.format, reward.consistency, reward.knowledge, reward.coherence, reward.grounding)
    if not any(weights) and not (reward.plugin and reward.custom):
        raise ConfigError("every reward weight is 0: nothing can be learned; set reward.accuracy > 0")
    if reward.plugin and not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", reward.plugin):
        raise ConfigError(f"reward.plugin={reward.plugin} must be module:function, as in my_rewards:counts_lesions")
    if reward.checker != "record" and not (Path(reward.checker_model) / "config.json").is_file():
        raise ConfigError(
            f"reward.checker={reward.checker} needs a model, but reward.checker_model={reward.checker_model!r} is not "
            "its folder (no config.json in it)"
        )
    if reward.hold_s + reward.timeout_s >= c.loop.stall_s:
        raise ConfigError(
            f"reward.hold_s={reward.hold_s:g} + reward.timeout_s={reward.timeout_s:g} must be < "
            f"loop.stall_s={c.loop.stall_s:g}: the run would end while a group still waits for the search; lower them"
        )


def _check_learner(c: Config) -> None:
    learner = c.learner
    if c.loop.async_ratio > 0 and learner.correction == "none" and not learner.allow_uncorrected:
        raise ConfigError(
            f"loop.async_ratio={c.loop.async_ratio:g} with learner.correction=none trains on stale rollouts "
            "as if they were fresh; set learner.correction=tis or loop.async_ratio=0, or, to study just that, "
            "learner.allow_uncorrected=true"
        )
    if 0 < learner.correction_high < 1:
        raise ConfigError(
            f"learner.correction_high={learner.correction_high:g} must be >= 1, or 0 for the correction's own: a token "
            "that learner and engine agree on has weight 1"
        )
    if learner.overlong_tokens >= c.rollout.max_tokens:
        raise ConfigError(
            f"learner.overlong_tokens={learner.overlong_tokens} must be < rollout.max_tokens={c.rollout.max_tokens}: "
            "else every completion is punished for its length"
        )
    if learner.updates_per_batch > c.loop.groups_per_step:
        raise ConfigError(
            f"learner.updates_per_batch={learner.updates_per_batch} must be <= "
            f"loop.groups_per_step={c.loop.groups_per_step}: a mini-batch is at least one group"
        )


def _check_patience(c: Config) -> None:
    if c.rollout.hang_s >= c.loop.stall_s:
        raise ConfigError(
            f"rollout.hang_s={c.rollout.hang_s:g} must be < loop.stall_s={c.loop.stall_s:g}: the run would end before "
            "an engine that hangs is found; lower it, or set it to 0 for a fifth of loop.stall_s"
        )


def _check_ranks(c: Config) -> None:
    learner = c.learner
    if learner.ranks == 1:
        return
    if learner.ranks * learner.updates_per_batch > c.loop.groups_per_step:
        raise ConfigError(
            f"learner.ranks={learner.ranks} x learner.updates_per_batch={learner.updates_per_batch} must be <= "
            f"loop.groups_per_step={c.loop.groups_per_step}: each rank needs a group of every mini-batch; lower them, "
            "or set loop.groups_per_step higher"
        )
    if learner.gpus not in (0, 1):
        raise ConfigError(
            f"learner.gpus={learner.gpus:g} with learner.ranks={learner.ranks} must be 0 or 1: each rank computes on a "
            "GPU of its own, or on none; set learner.gpus=1, or learner.ranks=1"
        )


def _check_adapters(c: Config) -> None:
    if c.live_adapters < c.needed_adapters:
        raise ConfigError(
            f"rollout.max_loras={c.rollout.max_loras} is too small: loop.async_ratio={c.loop.async_ratio:g} needs "
            f"{c.needed_adapters} (ceil(async_ratio) + 1 versions that requests run under, and the one that is being "
            f"delivered); set rollout.max_loras={c.needed_adapters}, or 0 for what is needed"
        )


def _check_rules(c: Config) -> None:
    _check_knowledge(c.knowledge)
    if c.data.image_px % 28:
        raise ConfigError(
            f"data.image_px={c.data.image_px} is not a multiple of 28; nearest is {round(c.data.image_px / 28) * 28}"
        )
    if (c.data.source in ON_DISK) != bool(c.data.path):
        raise ConfigError(
            f"data.path={c.data.path!r} does not go with data.source={c.data.source}: "
            "jsonl and store need a path, the other sources take none"
        )
    sees = c.policy.path not in NO_FOLDER
    if c.data.source != "phantoms" and sees and c.sft.vision_warmup_steps and c.sft.steps:
        raise ConfigError(
            f"sft.vision_warmup_steps={c.sft.vision_warmup_steps} teaches a vision tower that knows nothing yet, but "
            f"policy.path={c.policy.path} has one; set it to 0"
        )
    if c.traces.reader == "tiny" and c.data.source != "phantoms":
        raise ConfigError(
            f"traces.reader=tiny learns on phantoms and can read nothing else, but data.source={c.data.source}; give "
            "the folder of a multimodal model"
        )
    _check_models(c)
    if c.run.checkpoints and "://" not in c.run.checkpoints:
        raise ConfigError(
            f"run.checkpoints={c.run.checkpoints} must be an address, as in s3://bucket/runs or file:///mnt/runs; "
            "empty leaves checkpoints in the run folder alone"
        )
    if c.evaluate.checkpoints and c.run.keep_checkpoints:
        raise ConfigError(
            f"run.keep_checkpoints={c.run.keep_checkpoints} with evaluate.checkpoints=true: those that are not kept "
            "cannot be evaluated at the end; set run.keep_checkpoints=0"
        )
    parse_cores(c.ray.cores, key="ray.cores")
    parse_cores(c.rollout.cores, key="rollout.cores")
    parse_cores(c.learner.cores, key="learner.cores")
    _check_learner(c)
    _check_ranks(c)
    _check_adapters(c)
    _check_patience(c)
    check_asks(c)
    if c.rollout.max_tokens >= c.rollout.max_model_len:
        raise ConfigError(
            f"rollout.max_tokens={c.rollout.max_tokens} must be < rollout.max_model_len={c.rollout.max_model_len}: "
            "the prompt needs room"
        )
    image_tokens = (c.data.image_px // 28) ** 2
    if c.data.source not in ON_DISK and image_tokens + c.rollout.max_tokens >= c.rollout.max_model_len:
        raise ConfigError(
            f"rollout.max_model_len={c.rollout.max_model_len} does not hold the {image_tokens} tokens of an image of "
            f"data.image_px={c.data.image_px} and rollout.max_tokens={c.rollout.max_tokens}; set it higher"
        )
    _check_reward(c)
