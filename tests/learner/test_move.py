"""Moving a learner, as far as a machine without a GPU can show it: PyTorch's `meta` stands for another device."""

from __future__ import annotations

import torch

from fundus_ray.learner.move import move
from fundus_ray.policy.load import PolicyModel


def stepped() -> tuple[PolicyModel, torch.optim.Optimizer]:
    """A layer with an optimizer that has made a step, so that it has moments."""
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return PolicyModel(model=layer, processor=None, device=torch.device("cpu")), optimizer


def test_weights_moments_and_counters_go_together() -> None:
    policy, optimizer = stepped()
    moved = move(policy, optimizer, device="meta")
    assert moved.device.type == "meta"
    assert {p.device.type for p in moved.model.parameters()} == {"meta"}
    states = [value for state in optimizer.state.values() for value in state.values()]
    assert len(states) == 2 * 3  # weight and bias: two moments and a counter each
    assert {value.device.type for value in states} == {"meta"}


def test_a_move_to_where_it_is_changes_nothing() -> None:
    policy, optimizer = stepped()
    before = [p.detach().clone() for p in policy.model.parameters()]
    moved = move(policy, optimizer, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(before, moved.model.parameters(), strict=True))
    assert all(p is q for p, q in zip(optimizer.param_groups[0]["params"], moved.model.parameters(), strict=True))
