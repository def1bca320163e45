"""What a checkpoint holds of the learner beside its adapter."""

from __future__ import annotations

import torch

from fundus_ray.learner.saved_state import learner_state, put_back


def optimizer_of(*, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))], lr=learning_rate)


def test_the_generator_goes_on_where_it_was_and_a_changed_rate_is_taken() -> None:
    torch.manual_seed(3)
    state = learner_state(optimizer_of(learning_rate=0.5), step=4)
    assert state["schedule"] == {"kind": "constant", "learning_rate": 0.5}
    drawn = torch.rand(4)
    optimizer = optimizer_of(learning_rate=0.5)
    assert put_back(state, optimizer, learning_rate=0.25) == 4
    assert torch.equal(torch.rand(4), drawn)
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_a_state_of_an_older_version_without_generators_is_taken() -> None:
    state = {"step": 9, "optimizer": optimizer_of(learning_rate=0.5).state_dict()}
    assert put_back(state, optimizer_of(learning_rate=0.5), learning_rate=0.5) == 9
