"""Two ranks over Gloo against one on the same batches: losses, gradients, adapters, metrics, checkpoints."""

from __future__ import annotations

import dataclasses
import multiprocessing
import socket
from pathlib import Path

import psutil
import pytest
import torch
from rank_process import Outcome, Scenario, be_rank, make_batch, play

from fundus_ray.learner.ranks import Ranks, checksum, interface_of, listen
from fundus_ray.types import Sample, TrainBatch

OWN = ("learner/rank_balance", "learner/tokens_per_s")  # metrics that may differ
SMALL, KL = "learner.micro_batch_tokens=100", ("learner.kl=0.1", "learner.kl_estimator=k2")
TWICE, SHARD = "learner.updates_per_batch=2", "learner.shard=true"
SCENARIOS = {
    "plain": Scenario((SMALL,)),
    "two updates and a penalty": Scenario((SMALL, TWICE, *KL)),
    "one group for two ranks": Scenario(KL, groups=1),
    "sharded, two updates and a penalty": Scenario((SMALL, SHARD, TWICE, *KL)),
    "sharded, one group for two ranks": Scenario((SHARD, *KL), groups=1),
    "sharded, checkpointing": Scenario((SMALL, SHARD, "learner.checkpointing=true")),
    "sharded, bfloat16": Scenario((SHARD, "learner.bf16=true", "learner.checkpointing=true"), groups=2, updates=1),
}
EXACT = [name for name in SCENARIOS if "bfloat16" not in name]


@pytest.fixture(scope="module")
def batch(tiny_policy: Path, samples: tuple[Sample, ...]) -> TrainBatch:
    """Five groups of unlike lengths."""
    return make_batch(tiny_policy, samples[:5], seed=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the ranks leave what they found."""
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def together(tiny_policy: Path, batch: TrainBatch, folder: Path) -> list[dict[str, Outcome]]:
    """Of each of two ranks, what it found in each scenario, and what was said when one went astray."""
    store = listen("127.0.0.1", ranks=2, limit_s=120.0)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fundus_ray.learner.worker"])
    given = {"count": 2, "port": store.port, "policy": tiny_policy, "batch": batch, "scenarios": SCENARIOS}
    processes = [context.Process(target=be_rank, args=(rank,), kwargs={**given, "folder": folder}) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=180)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0, 0]
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=False) for rank in (0, 1)]


@pytest.fixture
def alone(request: pytest.FixtureRequest, tiny_policy: Path, batch: TrainBatch, tmp_path: Path) -> tuple[str, Outcome]:
    """A scenario's name, and what one rank finds in it."""
    scenario = SCENARIOS[request.param]
    whole = dataclasses.replace(scenario, settings=tuple(s for s in scenario.settings if s != SHARD))
    return request.param, play(whole, policy=tiny_policy, batch=batch, ranks=None, folder=tmp_path / "save")


@pytest.mark.parametrize("alone", EXACT, indirect=True)
def test_two_ranks_do_what_one_does(together: list[dict[str, Outcome]], alone: tuple[str, Outcome]) -> None:
    name, one = alone
    first, second = (by_rank[name] for by_rank in together)
    assert torch.equal(first.adapter, second.adapter)
    for mine, ours in zip(one.metrics, first.metrics, strict=True):
        expected = {key: value for key, value in mine.items() if key not in OWN}
        found = {key: value for key, value in ours.items() if key not in OWN}
        assert found == pytest.approx(expected, rel=1e-4, abs=2e-6)
    for mine, ours in zip(one.gradients, first.gradients, strict=True):
        torch.testing.assert_close(ours, mine, atol=1e-6, rtol=1e-3)
        assert float(mine.norm()) > 1e-3
    # Adam moves a weight whose gradient is all but 0 by its sign, so a few may differ by as much as a step.
    assert float((first.adapter - one.adapter).abs().mean()) < 1e-6
    assert first.probe == pytest.approx(one.probe, abs=1e-4)
    assert first.came_back
    assert second.came_back


@pytest.mark.parametrize("alone", ["sharded, bfloat16"], indirect=True)
def test_bfloat16_sharded_learns_the_same(together: list[dict[str, Outcome]], alone: tuple[str, Outcome]) -> None:
    name, one = alone
    first = together[0][name]
    assert float(torch.cosine_similarity(first.gradients[0], one.gradients[0], dim=0)) > 0.99
    assert first.metrics[0]["loss"] == pytest.approx(one.metrics[0]["loss"], abs=0.01)


def test_a_sharded_rank_holds_half_of_every_frozen_layer(together: list[dict[str, Outcome]], tiny_policy: Path) -> None:
    from fundus_ray.policy.load import load_policy

    core = load_policy(tiny_policy).network.model.language_model
    of_layers = sum(p.numel() for layer in core.layers for p in layer.parameters())
    saved = [together[0]["plain"].own_weights - found["sharded, checkpointing"].own_weights for found in together]
    assert saved == [of_layers / 2, of_layers / 2]


def test_groups_are_divided_by_tokens(together: list[dict[str, Outcome]]) -> None:
    assert 0.75 < together[0]["plain"].metrics[0]["learner/rank_balance"] <= 1
    assert together[0]["one group for two ranks"].metrics[0]["learner/rank_balance"] == 0.5


def test_a_rank_whose_adapter_differs_in_one_weight_is_named_on_every_rank(together: list[dict[str, Outcome]]) -> None:
    said = [str(found["astray"]) for found in together]
    assert said[0] == said[1]
    assert said[0].startswith("after update 1 the adapter of learner rank 1 differs from that of the others, first in ")
    assert ".lora_B." in said[0]


def test_ranks_meet_at_one_address_only() -> None:
    store = listen("127.0.0.1", ranks=2, limit_s=10.0)
    here = {
        c.laddr.ip
        for c in psutil.Process().net_connections()
        if c.laddr and c.laddr.port == store.port and c.status == psutil.CONN_LISTEN
    }
    assert here == {"127.0.0.1"}
    with socket.create_connection(("127.0.0.1", store.port), timeout=5):
        pass


def test_the_network_of_an_address_is_found_and_none_where_it_is_not_of_this_machine() -> None:
    assert interface_of("127.0.0.1") in {name for _, name in socket.if_nameindex()}
    assert interface_of("203.0.113.9") is None


def test_a_checksum_sees_the_last_bit_and_the_place() -> None:
    values = torch.arange(5000, dtype=torch.float32)
    moved = values.clone()
    moved.view(torch.int32)[4321] ^= 1
    swapped = values.clone()
    swapped[10], swapped[11] = values[11], values[10]
    assert len({int(checksum(t)) for t in (values, moved, swapped)}) == 3
    assert int(checksum(values)) == int(checksum(values.reshape(50, 100)))


def test_a_single_rank_changes_nothing() -> None:
    weight = torch.ones(3, requires_grad=True)
    weight.grad = torch.full((3,), 2.0)
    ranks = Ranks()
    ranks.add_gradients([weight])
    assert weight.grad.tolist() == [2.0] * 3
    assert ranks.gather([1.0, 2.0]) == [[1.0, 2.0]]
    ranks.check_same({"weight": weight}, when="now")
