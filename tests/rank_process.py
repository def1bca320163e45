"""A learner's updates as one rank of several does them, in a plain process over Gloo without Ray, or alone.

In: a scenario, the policy's folder, a batch. Out: what the updates said and left. Used by tests/learner/test_ranks.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fundus_ray.config import load
from fundus_ray.errors import RanksDivergedError
from fundus_ray.learner.batch import select_rows
from fundus_ray.learner.ranks import Ranks, come_to
from fundus_ray.learner.worker import LearnerWorker
from fundus_ray.policy.load import expand_image_token, load_processor, prompt_text
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.types import Sample, TrainBatch


@dataclass(frozen=True)
class Scenario:
    """Settings of a learner, how many groups of the batch it gets, and how often."""

    settings: tuple[str, ...]
    groups: int = 5
    updates: int = 2


@dataclass(frozen=True)
class Outcome:
    """`gradients` and `adapter` are all of the adapter in one row; `own_weights` counts what the rank itself holds."""

    metrics: tuple[Mapping[str, float], ...]
    gradients: tuple[torch.Tensor, ...]  # as each optimizer step had it, clipped
    adapter: torch.Tensor
    own_weights: int
    probe: tuple[float, ...]  # after the updates; () where another rank publishes
    came_back: bool  # an adapter that was changed after saving is as before after loading


def make_batch(policy: Path, samples: Sequence[Sample], *, seed: int) -> TrainBatch:
    """A group a sample, of three completions each, whose lengths differ much from group to group."""
    rng, processor = np.random.default_rng(seed), load_processor(policy)
    rows: list[list[int]] = []
    lengths: list[int] = []
    for sample, longest in zip(samples, rng.permutation(np.arange(2, 2 + 7 * len(samples), 7)), strict=True):
        ids = processor.tokenizer(prompt_text(processor, build_prompt(sample, group_id=0, seed=0)))["input_ids"]
        prompt = expand_image_token(ids, image_token_id=processor.image_token_id, count=16)
        lengths += (own := rng.integers(1, longest + 1, 3).tolist())
        rows += [[*prompt, *rng.integers(1, 256, length).tolist()] for length in own]
    token_ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for i, row in enumerate(rows):
        token_ids[i, : len(row)] = row
    seq_lens = np.array([len(row) for row in rows])
    return TrainBatch(
        token_ids=token_ids,
        prompt_lens=seq_lens - np.array(lengths),
        seq_lens=seq_lens,
        behaviour_logprobs=rng.uniform(-9, -4, token_ids.shape).astype(np.float32),
        rewards=rng.random(len(rows)),
        policy_steps=np.zeros(len(rows), dtype=np.int64),
        image_index=np.repeat(np.arange(len(samples)), 3),
        images=tuple(sample.image for sample in samples),
        policy_step=0,
    )


def play(scenario: Scenario, *, policy: Path, batch: TrainBatch, ranks: Ranks | None, folder: Path) -> Outcome:
    """All updates, then a save to the folder and a load from it."""
    count = ranks.count if ranks else 1
    config = load(None, ["policy.lora_rank=4", f"learner.ranks={count}", *scenario.settings])
    learner = LearnerWorker(config, str(policy), "", ranks=ranks)
    for name, parameter in learner._trained.items():
        if "lora_B" in name:  # where B is 0, as in a fresh adapter, A has no gradient
            parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    gradients: list[torch.Tensor] = []
    step = learner._optimizer.step

    def noted() -> None:
        gradients.append(flat([p.grad for p in learner._parameters if p.grad is not None]))
        step()

    learner._optimizer.step = noted  # type: ignore[method-assign, assignment]
    part = select_rows(batch, np.flatnonzero(batch.image_index < scenario.groups))
    metrics = tuple(learner.update(part).metrics for _ in range(scenario.updates))
    adapter = flat(learner._parameters)
    probe: tuple[float, ...] = ()
    if ranks is None or ranks.rank == 0:
        folder.mkdir(parents=True)
        learner.save(str(folder))
        probe = learner.publish()[1].probe_logprobs
    else:
        learner.accompany()
        learner.accompany()
    if ranks:
        ranks.gather([0.0])  # the file is there
    for parameter in learner._parameters:
        parameter.data.add_(1.0)
    learner.load(str(folder))
    weights = [p.to_local() if hasattr(p, "to_local") else p for p in learner._policy.model.parameters()]
    return Outcome(
        metrics=metrics,
        gradients=tuple(gradients),
        adapter=adapter,
        own_weights=sum(weight.numel() for weight in weights),
        probe=probe,
        came_back=bool(torch.equal(flat(learner._parameters), adapter)),
    )


def flat(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """All in one row, as a copy."""
    return torch.cat([t.detach().flatten() for t in tensors])


def be_rank(
    rank: int,
    *,
    count: int,
    port: int,
    policy: Path,
    batch: TrainBatch,
    scenarios: Mapping[str, Scenario],
    folder: Path,
) -> None:
    """Play all scenarios as this rank, and one in which the last rank goes astray; outcomes lie in the folder."""
    torch.set_num_threads(1)
    store = come_to(("127.0.0.1", port), ranks=count, limit_s=60.0)
    ranks = Ranks.join(store, rank=rank, count=count, device="cpu", own_address="127.0.0.1", limit_s=60.0)
    found: dict[str, Outcome | str] = {
        name: play(scenario, policy=policy, batch=batch, ranks=ranks, folder=folder / name)
        for name, scenario in scenarios.items()
    }
    found["astray"] = _go_astray(policy=policy, batch=batch, ranks=ranks)
    torch.save(found, folder / f"rank-{rank}.pt")
    ranks.leave()


def _go_astray(*, policy: Path, batch: TrainBatch, ranks: Ranks) -> str:
    """What the next update says after one weight of the last rank has moved by 1/8192 of itself or so."""
    config = load(None, ["policy.lora_rank=4", f"learner.ranks={ranks.count}"])
    learner = LearnerWorker(config, str(policy), "", ranks=ranks)
    learner.update(batch)
    if ranks.rank == ranks.count - 1:
        weight = learner._parameters[3].data
        weight.view(torch.int32).flatten()[17] ^= 1 << 10
    try:
        learner.update(batch)
    except RanksDivergedError as err:
        return str(err)
    return ""
