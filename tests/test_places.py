"""Which places are asked for, and where they would go, by hand."""

from __future__ import annotations

import pytest

from fundus_ray.config import load
from fundus_ray.errors import ConfigError
from fundus_ray.places import (
    Ask,
    Bundle,
    Group,
    Node,
    amounts,
    asks_of,
    check_placement,
    engines_alone,
    fits,
    groups_of,
)

GIB = 2**30


def node(name: str, *, cpus: float = 0, gpus: float = 0, gib: float = 0, free_gpus: float | None = None) -> Node:
    total = {"CPU": cpus, "GPU": gpus, "memory": gib * GIB, f"node:{name}": 1.0}
    return Node(name, total, {**total, "GPU": gpus if free_gpus is None else free_gpus})


def alone(role: str, *asks: Ask, strategy: str = "SPREAD", required: bool = True) -> Group:
    """A bundle for each actor."""
    return Group(role, strategy, tuple(Bundle((ask,)) for ask in asks), required)


def engines(count: int, *, cpus: float = 1.0, gpus: float = 1.0) -> Group:
    return alone("rollout", *(Ask(f"rollout-{i}", cpus, gpus) for i in range(count)))


def went(groups: list[Group], nodes: list[Node]) -> dict[str, str | None]:
    return {verdict.bundle: verdict.node for verdict in fits(groups, nodes)}


def test_engines_come_first_then_the_learner_then_what_the_run_can_start_without() -> None:
    config = load(
        None,
        [
            "rollout.workers=3",
            "rollout.min_workers=2",
            "rollout.cpus=3",
            "learner.gpus=1",
            "reward.workers=2",
            "reward.min_workers=1",
            "reward.cpus=0.5",
        ],
    )
    assert groups_of(config) == [
        alone("rollout", Ask("rollout-0", 3.0, 0.0), Ask("rollout-1", 3.0, 0.0)),
        alone("learner", Ask("learner", 1.0, 1.0), strategy="PACK"),
        alone("reward", Ask("reward-0", 0.5, 0.0)),
        alone("rollout", Ask("rollout-2", 3.0, 0.0), required=False),
        alone("reward", Ask("reward-1", 0.5, 0.0), required=False),
    ]


def test_all_are_needed_unless_a_minimum_says_otherwise() -> None:
    groups = groups_of(load(None, ["rollout.workers=2", "reward.workers=3"]))
    assert all(group.required for group in groups)
    assert [ask.name for ask in asks_of(groups)] == [
        "rollout-0",
        "rollout-1",
        "learner",
        "reward-0",
        "reward-1",
        "reward-2",
    ]
    assert [ask.name for ask in asks_of(groups, "rollout")] == ["rollout-0", "rollout-1"]


def test_actors_that_ask_for_nothing_all_start_with_the_run() -> None:
    # They would never be told of a place, as they are given none.
    groups = groups_of(load(None, ["reward.workers=3", "reward.min_workers=1", "reward.cpus=0"]))
    assert [ask.name for ask in asks_of([g for g in groups if g.required], "reward")] == [
        "reward-0",
        "reward-1",
        "reward-2",
    ]
    groups = groups_of(load(None, ["rollout.workers=2", "rollout.min_workers=1", "rollout.cpus=0"]))
    assert all(group.required for group in groups)


def test_colocated_engine_and_learner_are_one_place() -> None:
    config = load(
        None, ["ray.colocate=true", "rollout.gpus=0.5", "learner.gpus=0.5", "rollout.cpus=2", "loop.async_ratio=0"]
    )
    [first, scorers] = groups_of(config)
    assert [(b.name, b.wants) for b in first.bundles] == [("rollout-0 + learner", {"CPU": 3.0, "GPU": 1.0})]
    assert scorers.role == "reward"


def test_an_engine_that_is_split_is_one_place_with_all_its_gpus() -> None:
    config = load(None, ["rollout.tensor_parallel=4", "rollout.gpus=4", "rollout.workers=2"])
    assert [bundle.wants for bundle in groups_of(config)[0].bundles] == [{"CPU": 1.0, "GPU": 4.0}] * 2
    assert [ask.name for ask in asks_of(engines_alone("reader", config))] == ["reader-0", "reader-1"]


def test_spread_takes_the_machine_with_the_fewest_and_pack_the_one_with_the_most() -> None:
    nodes = [node("a", cpus=8, gpus=4), node("b", cpus=8, gpus=4)]
    ranks = alone("learner", *(Ask(f"learner-{i}", 1, 1) for i in range(2)), strategy="PACK")
    assert went([engines(2), ranks], nodes) == {"rollout-0": "a", "rollout-1": "b", "learner-0": "a", "learner-1": "a"}


def test_a_split_engine_needs_its_gpus_on_one_machine() -> None:
    [verdict] = fits([engines(1, gpus=4)], [node("a", cpus=8, gpus=2), node("b", cpus=8, gpus=3)])
    assert verdict.node is None
    assert verdict.why == (
        "no machine has 1 CPU and 4 GPUs free: b has 8 of 8 CPUs and 3 of 3 GPUs, a has 8 of 8 CPUs and 2 of 2 GPUs"
    )


def test_a_fraction_lies_on_one_gpu() -> None:
    # 2 GPUs hold 0.6 each; the rests of 0.4 and 0.4 are no 0.6.
    verdicts = fits([engines(3, gpus=0.6)], [node("a", cpus=8, gpus=2)])
    assert [verdict.node for verdict in verdicts] == ["a", "a", None]
    assert "a has 6 of 8 CPUs and 0.8 of 2 GPUs" in verdicts[2].why
    assert went([engines(4, gpus=0.5)], [node("a", cpus=8, gpus=2)]) == {f"rollout-{i}": "a" for i in range(4)}


def test_a_whole_gpu_is_not_made_of_two_halves() -> None:
    halves = engines(1, gpus=0.5)
    whole = alone("learner", Ask("learner", 1, 1))
    assert went([halves, whole], [node("a", cpus=8, gpus=1, free_gpus=1)])["learner"] is None
    assert went([halves, whole], [node("a", cpus=8, gpus=2)])["learner"] == "a"


def test_what_others_hold_is_not_free() -> None:
    nodes = [node("a", cpus=8, gpus=2, free_gpus=0), node("b", cpus=8, gpus=2, free_gpus=1)]
    assert went([engines(2)], nodes) == {"rollout-0": "b", "rollout-1": None}


def test_memory_counts_where_it_is_known() -> None:
    group = alone("rollout", Ask("rollout-0", 1, 0, memory=12 * GIB), Ask("rollout-1", 1, 0, memory=12 * GIB))
    verdicts = fits([group], [node("a", cpus=8, gib=16)])
    assert [verdict.node for verdict in verdicts] == ["a", None]
    assert verdicts[1].why == (
        "no machine has 1 CPU and 12.0 GiB of memory free: a has 7 of 8 CPUs and 4.0 of 16.0 GiB of memory"
    )


def test_of_many_machines_the_roomiest_are_named() -> None:
    nodes = [node(f"n{i}", cpus=i) for i in range(6)]
    [verdict] = fits([engines(1, cpus=9, gpus=0)], nodes)
    assert verdict.why == (
        "no machine has 9 CPUs free: n5 has 5 of 5 CPUs, n4 has 4 of 4 CPUs, n3 has 3 of 3 CPUs, and 3 more"
    )
    assert fits([engines(1)], [])[0].why == "no machine has 1 CPU and 1 GPU free: there is none"


def test_amounts_are_read_as_words() -> None:
    assert amounts({"CPU": 1.0, "GPU": 2.0}) == "1 CPU and 2 GPUs"
    assert amounts({"GPU": 0.5, "memory": 1.5 * GIB}) == "0.5 GPUs and 1.5 GiB of memory"
    assert amounts({}) == "nothing"


def test_every_rank_of_the_learner_has_a_place_of_its_own() -> None:
    ranks = asks_of(groups_of(load(None, ["learner.ranks=2", "learner.cpus=3", "learner.gpus=1"])), "learner")
    assert list(ranks) == [Ask("learner-0", 3.0, 1.0), Ask("learner-1", 3.0, 1.0)]


def test_actors_that_fill_the_cluster_exactly_pass() -> None:
    groups = [alone("rollout", Ask("rollout-0", 2.0, 1.0)), alone("learner", Ask("learner", 1.0, 1.0))]
    check_placement(groups, nodes=[node("a", cpus=2, gpus=1), node("b", cpus=1, gpus=1)])


def test_only_what_the_run_needs_must_fit_and_others_that_work_there_now_do_not_count() -> None:
    spare = alone("rollout", Ask("rollout-1", 1.0, 1.0), required=False)
    check_placement([engines(1), spare], nodes=[node("a", cpus=2, gpus=1, free_gpus=0)])


def test_too_many_gpus_are_refused_with_the_numbers() -> None:
    groups = [engines(2), alone("learner", Ask("learner", 1.0, 0.0))]
    with pytest.raises(ConfigError) as caught:
        check_placement(groups, nodes=[node("a", cpus=8, gpus=1)])
    assert str(caught.value) == (
        "the actors ask for 2 GPUs (rollout-0 1 + rollout-1 1) but the cluster has 1; "
        "lower rollout.workers or rollout.gpus"
    )


def test_too_many_cpus_are_refused_with_the_numbers() -> None:
    groups = [
        engines(1, cpus=4, gpus=0),
        alone("learner", Ask("learner", 1.5, 0)),
        alone("reward", Ask("reward-0", 0, 0)),
    ]
    with pytest.raises(ConfigError, match=r"5\.5 CPUs \(rollout-0 4 \+ learner 1\.5\) but the cluster has 5;"):
        check_placement(groups, nodes=[node("a", cpus=4), node("b", cpus=1)])


def test_actor_larger_than_any_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"rollout-0 asks for 4 GPUs .* largest machine of the cluster has 2"):
        check_placement([engines(1, gpus=4)], nodes=[node(name, cpus=8, gpus=2) for name in "abc"])


def test_actor_that_finds_no_machine_beside_the_others_is_named_with_what_each_machine_has_left() -> None:
    groups = [engines(2, cpus=4, gpus=0), alone("learner", Ask("learner", 16, 0))]
    with pytest.raises(ConfigError) as caught:
        check_placement(groups, nodes=[node("a", cpus=16), node("b", cpus=16)])
    assert str(caught.value) == (
        "learner finds no place beside the actors before it: no machine has 16 CPUs free: a has 12 of 16 CPUs, "
        "b has 12 of 16 CPUs; lower learner.cpus"
    )


@pytest.mark.parametrize(
    ("groups", "remedy"),
    [
        ([alone("reward", Ask("reward-0", 0, 1), Ask("reward-1", 0, 1))], "lower reward.workers or reward.gpus"),
        (
            [engines(1), alone("learner", Ask("learner-0", 1, 1), Ask("learner-1", 1, 1), strategy="PACK")],
            "lower rollout.workers, learner.ranks, rollout.gpus or learner.gpus",
        ),
        ([alone("rollout", Ask("reader-0", 1, 1), Ask("reader-1", 1, 1))], "lower rollout.workers or rollout.gpus"),
        ([alone("learner", Ask("learner", 1, 4), strategy="PACK")], "lower learner.gpus"),
    ],
)
def test_the_remedy_names_the_settings_of_the_actors_that_ask_and_no_others(groups: list[Group], remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_placement(groups, nodes=[node("a", cpus=8, gpus=1)])
    assert str(caught.value).endswith(f"; {remedy}")


def test_an_actor_larger_than_any_machine_is_not_helped_by_fewer_actors() -> None:
    with pytest.raises(ConfigError, match=r"reward-0 asks for 2 GPUs .* has 1; lower reward\.gpus$"):
        check_placement([alone("reward", Ask("reward-0", 0, 2))], nodes=[node("a", gpus=1), node("b", gpus=1)])
