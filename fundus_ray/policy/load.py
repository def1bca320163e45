"""Load a Qwen2.5-VL checkpoint and its processor; put a LoRA adapter on its language model.

In: a checkpoint folder. Out: `PolicyModel`, which the other modules of this folder work on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
from transformers.utils import logging as transformers_logging

from fundus_ray.errors import ConfigError
from fundus_ray.policy.group_attention import ATTENTION
from fundus_ray.types import Prompt

transformers_logging.disable_progress_bar()  # loading takes a second or is waited for with a bar of our own
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class PolicyModel:
    """A network with its processor. `model` is the bare network, or the PEFT wrapper after `with_adapter`."""

    model: Any
    processor: Any
    device: torch.device

    @property
    def network(self) -> Qwen2_5_VLForConditionalGeneration:
        """The Qwen2.5-VL network under whatever wraps it."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def image_token_id(self) -> int:
        """The placeholder that image features replace."""
        return int(self.network.config.image_token_id)


def load_policy(
    folder: str | Path, *, dtype: str = "float32", device: str = "cpu", lies_on: str | None = None
) -> PolicyModel:
    """The network in `folder`, in training order but with dropout off, made for `device`; `lies_on`: where it is until
    it is moved there, None = there. Raises ConfigError naming the folder."""
    try:
        network = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            # Eager is the faster one at CPU sizes.
            attn_implementation={
                "text_config": ATTENTION[device],
                "vision_config": "eager" if device == "cpu" else "sdpa",
            },
            local_files_only=True,
        )
        processor = load_processor(folder)
    except (OSError, ValueError) as err:
        raise ConfigError(
            f"policy.path={folder} cannot be loaded as Qwen2.5-VL: {' '.join(str(err).split())[:300]}"
        ) from err
    there = lies_on or device
    return PolicyModel(model=network.to(there).eval(), processor=processor, device=torch.device(there))


def gpu_count() -> int:
    """GPUs that PyTorch sees on this machine."""
    return torch.cuda.device_count()


def load_processor(folder: str | Path) -> Any:
    """Tokenizer, image processor and chat template of the checkpoint in `folder`."""
    return AutoProcessor.from_pretrained(folder, local_files_only=True)


def served_processor(folder: str | Path) -> Any:
    """The same, of any model that can be asked. Raises ConfigError where the folder holds none, or no chat template."""
    try:
        processor = load_processor(folder)
    except (OSError, ValueError) as err:
        raise ConfigError(f"{folder} cannot be served: {' '.join(str(err).split())[:300]}") from err
    if not getattr(processor, "chat_template", None):
        raise ConfigError(f"{folder} has no chat template, so it cannot be asked; take an instruct model")
    return processor


def with_adapter(policy: PolicyModel, *, rank: int, alpha: int, seed: int) -> PolicyModel:
    """A LoRA adapter on every linear layer of the language model; all else, the vision tower included, frozen.

    LoRA: arXiv 2106.09685, scale alpha / rank. B starts at zero, so version 0 equals the base weights.
    """
    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=list(LORA_TARGETS),
        exclude_modules=r".*visual.*",  # the vision blocks' MLPs share names with the language model's
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(policy.model, config)
    return PolicyModel(model=model, processor=policy.processor, device=policy.device)


def checkpoint_layers(policy: PolicyModel) -> None:
    """From now on keep each decoder layer's input only, and compute the rest again in the backward pass."""
    policy.network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for layer in policy.network.model.language_model.layers:
        layer.training = True  # this module's own flag, which transformers asks; the modules in it stay without dropout


@contextmanager
def adapter_off(policy: PolicyModel) -> Iterator[None]:
    """Within it `policy` (after `with_adapter`) is its base weights: the policy that RL started from."""
    with policy.model.disable_adapter():
        yield


def prompt_text(processor: Any, prompt: Prompt) -> str:
    """The prompt in the checkpoint's chat format, with one image placeholder."""
    return chat_text(processor, system=prompt.system, user=prompt.user, with_image=True)


def chat_text(processor: Any, *, system: str, user: str, with_image: bool) -> str:
    """Two turns in the checkpoint's chat format; without a `system` text the format's own, if it has one."""
    content = [{"type": "image"}, {"type": "text", "text": user}] if with_image else user
    turns = [{"role": "system", "content": system}] if system else []
    messages = [*turns, {"role": "user", "content": content}]
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    return text


def expand_image_token(token_ids: Sequence[int], *, image_token_id: int, count: int) -> list[int]:
    """Repeat the single image placeholder `count` times, as the engine does. Returns [P + count - 1]."""
    at = list(token_ids).index(image_token_id)
    return [*token_ids[:at], *[image_token_id] * count, *token_ids[at + 1 :]]


def preprocess_images(processor: Any, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels as the vision tower takes them: (patches [sum of t*h*w, 1176], grids [M, 3] of (t, h, w))."""
    batch = processor.image_processor(images=list(images), return_tensors="pt")
    return batch["pixel_values"], batch["image_grid_thw"]
