"""The whole learner from one device to another: base, adapter, optimizer.

In: the policy, its optimizer, a device. Out: the policy there. Parameters stay the same objects, so the optimizer goes
on with them; memory that the GPU had for them is free for other processes afterwards.
"""

from __future__ import annotations

import gc
from dataclasses import replace

import torch
from torch import Tensor

from fundus_ray.policy.load import PolicyModel


def move(policy: PolicyModel, optimizer: torch.optim.Optimizer, *, device: str) -> PolicyModel:
    """`device` as PyTorch names it. Gradients must be none: there are none between two updates."""
    policy.model.to(device)
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, Tensor):
                state[name] = value.to(device)
    if policy.device.type == "cuda" and device == "cpu":
        gc.collect()
        torch.cuda.empty_cache()  # PyTorch would else keep it for its own next tensors
    return replace(policy, device=torch.device(device))
