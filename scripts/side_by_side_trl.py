"""The other side of the comparison: TRL's `GRPOTrainer` on its own transformers generation, timed from outside.

    python scripts/side_by_side_trl.py SPEC.json FIGURES.json

SPEC.json holds {"work", "policy", "updates", "setup", "seed", "run_dir", "save"}; with "save" the policy is merged and
written there, so that the same engine reads the held-out samples with it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import without_vllm  # noqa: F401  before TRL
from datasets import Dataset, Features, Image, List, Value
from peft import LoraConfig
from side_by_side_work import (
    CORES,
    WORKLOADS,
    TrlSetup,
    asked,
    data_config,
    grpo_arguments,
    lora_arguments,
    outcome,
)
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer, apply_chat_template
from trl.data_utils import prepare_multimodal_messages

from fundus_ray.data.source import load_data
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.policy.load import LORA_TARGETS, load_processor, prompt_text
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.types import Prompt, Sample


class TimedTrainer(GRPOTrainer):
    """As it is, with the seconds and lengths of each generation."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.generate_s: list[float] = []
        self.lengths: list[list[int]] = []
        self.cut: list[int] = []

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        ids, logprobs = super()._generate_single_turn(*args, **kwargs)
        self.generate_s.append(time.perf_counter() - started)
        self.lengths.append([len(one) for one in ids])
        self.cut.append(sum(one[-1] not in self.eos_token_ids for one in ids))
        return ids, logprobs


class Scorer:
    """The reward, as TRL calls one."""

    __name__ = "outcome"

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = {sample.id: sample for sample in samples}
        self._vocabulary = load_vocabulary()
        read_chain("No drusen.", self._vocabulary)  # compiles its patterns: seconds, once
        self.seconds: list[float] = []
        self.rewards: list[list[float]] = []

    def __call__(self, *, completions: Sequence[Any], sample: Sequence[str], **_: Any) -> list[float]:
        started = time.perf_counter()
        texts = [completion[0]["content"] for completion in completions]
        totals = [
            outcome(text, self._samples[name], vocabulary=self._vocabulary)
            for text, name in zip(texts, sample, strict=True)
        ]
        self.seconds.append(time.perf_counter() - started)
        self.rewards.append(totals)
        return totals


class Clock(TrainerCallback):
    """When each update ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The start of the first."""
        self.ends.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Of one."""
        self.ends.append(time.perf_counter())


def main() -> None:
    """Train, write."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(CORES)
    work, setup = WORKLOADS[spec["work"]], TrlSetup(**spec["setup"])
    samples = load_data(
        data_config(), cache_dir=Path(spec["run_dir"]) / "cache", finding_ids=load_vocabulary().ids
    ).train
    prompts = asked(samples, updates=spec["updates"])
    data = data_set(prompts)
    processor = load_processor(spec["policy"])
    check_same_text(data, prompts, processor=processor)
    scorer, clock = Scorer(samples), Clock()
    arguments = grpo_arguments(work, updates=spec["updates"], setup=setup, seed=spec["seed"])
    trainer = TimedTrainer(
        model=spec["policy"],
        reward_funcs=scorer,
        args=GRPOConfig(output_dir=str(Path(spec["run_dir"]) / "trl"), **arguments),
        train_dataset=data,
        peft_config=LoraConfig(**lora_arguments(LORA_TARGETS)),
        callbacks=[clock],
    )
    trainer.train()
    if spec["save"]:
        trainer.model.merge_and_unload().to(torch.float32).save_pretrained(spec["save"])
        processor.save_pretrained(spec["save"])
    Path(sys.argv[2]).write_text(json.dumps(figures(trainer, scorer, clock)))


def data_set(prompts: Sequence[Prompt]) -> Dataset:
    """A row a prompt."""
    rows = {
        "prompt": [[{"role": "system", "content": p.system}, {"role": "user", "content": p.user}] for p in prompts],
        "images": [[p.sample.image.path] for p in prompts],
        "sample": [p.sample.id for p in prompts],
    }
    turn = {"role": Value("string"), "content": Value("string")}
    return Dataset.from_dict(
        rows, features=Features({"prompt": List(turn), "images": List(Image()), "sample": Value("string")})
    )


def check_same_text(data: Dataset, prompts: Sequence[Prompt], *, processor: Any) -> None:
    """Raises ValueError where TRL would ask in other words than ours."""
    row, prompt = data[0], prompts[0]
    turns = prepare_multimodal_messages(row["prompt"], images=row["images"])
    theirs, mine = apply_chat_template({"prompt": turns}, processor)["prompt"], prompt_text(processor, prompt)
    if theirs != mine:
        raise ValueError(f"the two sides ask in different words: TRL {theirs!r}, ours {mine!r}")


def figures(trainer: TimedTrainer, scorer: Scorer, clock: Clock) -> dict[str, Any]:
    """As side_by_side_report.Figures takes them. Training is what generation and scoring leave of an update."""
    update_s = [b - a for a, b in zip(clock.ends, clock.ends[1:], strict=False)]
    parts = zip(update_s, trainer.generate_s, scorer.seconds, strict=True)
    return {
        "update_s": update_s,
        "generate_s": trainer.generate_s,
        "score_s": scorer.seconds,
        "train_s": [whole - generate - score for whole, generate, score in parts],
        "tokens": trainer.lengths,
        "cut": trainer.cut,
        "rewards": scorer.rewards,
        "held_out": [],
    }


if __name__ == "__main__":
    main()
