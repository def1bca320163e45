"""What a checkpoint holds of the learner beside its adapter: optimizer, learning rate, random generators.

In: an optimizer. Out: a dict that `torch.load(weights_only=True)` reads back; put back, the next update is the one that
would have come, bit for bit.

The generators are PyTorch's, of the CPU and of every GPU. Updates draw from none of them, as dropout is off and an
adapter draws only when it is made: so rank 0's serve for all ranks. The rate is constant, so that its state is the rate
itself, and the optimizer counts the steps.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

log = logging.getLogger(__name__)

SCHEDULE = "constant"


def learner_state(optimizer: torch.optim.Optimizer, *, step: int) -> dict[str, Any]:
    """`step`: the policy version."""
    return {
        "step": step,
        "optimizer": optimizer.state_dict(),
        "schedule": {"kind": SCHEDULE, "learning_rate": optimizer.param_groups[0]["lr"]},
        "random": {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        },
    }


def put_back(state: Mapping[str, Any], optimizer: torch.optim.Optimizer, *, learning_rate: float) -> int:
    """The policy version. `learning_rate` replaces the saved one: a resumed run may change it, which is logged."""
    optimizer.load_state_dict(state["optimizer"])
    before = state.get("schedule", {}).get("learning_rate", learning_rate)
    if before != learning_rate:
        log.warning("learner.learning_rate: %g until version %d, %g from here on", before, state["step"], learning_rate)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    if "random" in state:  # checkpoints of older versions have none
        _put_back_generators(state["random"])
    return int(state["step"])


def _put_back_generators(saved: Mapping[str, Any]) -> None:
    torch.set_rng_state(saved["cpu"].cpu())
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if here == len(saved["cuda"]):
        torch.cuda.set_rng_state_all([state.cpu() for state in saved["cuda"]])
    else:
        log.warning(
            "the checkpoint holds the random generators of %d GPUs, this process sees %d; theirs start anew",
            len(saved["cuda"]),
            here,
        )
