from __future__ import annotations

import pytest

from fundus_ray.config import load
from fundus_ray.plan.engine import EngineSpeed
from fundus_ray.plan.grid import Cell, Split, as_json, as_table, cells, choose, splits
from fundus_ray.plan.service import Service
from fundus_ray.plan.simulate import Outcome

SERVICE = Service(
    lengths=((8, 8),),
    engine=EngineSpeed(iteration_s=0.125, sequence_s=0.0, prompt_s=0.0),
    score_s=(0.0,),
    score_least_s=0.0,
    update_s=(0.5,),
    publish_s=(0.0,),
    deliver_idle_s=(0.0,),
    deliver_busy_s=(0.0,),
    overhead_s=(0.0,),
)
CONFIG = load(None, ["loop.groups_per_step=2", "rollout.group_size=2", "rollout.max_seqs=2"])


def cell(workers: int, ratio: float, rate: float, *, idle: tuple[float, float] = (0.0, 0.5), learners: int = 1) -> Cell:
    outcome = Outcome(
        steps=10,
        seconds=20.0,
        groups_per_s=rate,
        samples_per_s=8 * rate,
        learner_idle=idle[0],
        generator_idle=idle[1],
        lags={round(ratio): 1.0},
        stage_s={"generate": 1.0, "score": 0.0, "update": 1.0, "publish": 0.0, "deliver": 0.0},
    )
    return Cell(Split(workers, learners), ratio, outcome, speed_up=1.5, ceiling=1.8)


def test_each_cell_is_compared_with_ratio_zero_of_its_split() -> None:
    found = list(cells(CONFIG, SERVICE, grid=[Split(1, 1), Split(2, 1)], ratios=[0.0, 1.0], seed=0))
    assert [(c.split.workers, c.ratio) for c in found] == [(1, 0.0), (1, 1.0), (2, 0.0), (2, 1.0)]
    # One worker writes two groups in 2 s, two in 1 s; an update takes 1 s. With ratio 1 the longer of the two counts.
    assert [c.outcome.groups_per_s for c in found] == pytest.approx([2 / 3, 2 / 2, 2 / 2, 2 / 1])
    assert [c.speed_up for c in found] == pytest.approx([1.0, 1.5, 1.0, 2.0])
    assert [c.ceiling for c in found] == pytest.approx([1.5, 1.5, 2.0, 2.0])


def test_more_learner_devices_make_updates_as_much_faster() -> None:
    (found,) = cells(CONFIG, SERVICE, grid=[Split(2, 4)], ratios=[0.0], seed=0)
    assert found.outcome.stage_s["update"] == pytest.approx(0.25)


def test_devices_are_split_in_sixteenths() -> None:
    assert splits(4, a_worker=1) == [Split(3, 1), Split(2, 2), Split(1, 3)]
    assert splits(16, a_worker=4) == [Split((16 - n) // 4, n) for n in range(1, 13)]
    assert {s.workers + s.learners for s in splits(4096, a_worker=1)} == {4096}


def test_the_fewest_workers_then_the_freshest_samples_within_five_percent_are_chosen() -> None:
    found = [cell(1, 0, 5.0), cell(1, 1, 7.0), cell(2, 0, 8.0), cell(2, 1, 9.6), cell(2, 2, 9.8), cell(4, 2, 10.0)]
    choice = choose(found)
    assert choice.cell is found[3]
    assert "96% of the grid's highest (10 with 4 workers, ratio 2)" in choice.reasons[0]
    assert "the learner is the bottleneck" in choice.reasons[1]
    assert "1.50x as fast as ratio 0" in choice.reasons[2]
    assert "full overlap is 1.80x as fast as no overlap at all" in choice.reasons[2]
    assert choice.reasons[3] == "a larger ratio would add 2% and make samples staler"


def test_engines_that_hold_the_learner_up_at_the_grids_end_ask_for_more() -> None:
    choice = choose([cell(1, 0, 2.0, idle=(0.6, 0.0)), cell(2, 0, 4.0, idle=(0.4, 0.01))])
    assert choice.cell.split.workers == 2
    assert any("the largest number of workers asked for: try more" in reason for reason in choice.reasons)


def test_the_age_that_is_named_is_the_bound_and_not_the_oldest_seen() -> None:
    choice = choose([cell(2, 1.5, 10.0)])  # of which all samples seen were 2 - round(1.5) - versions old
    assert "samples are at most 2 versions old" in choice.reasons[2]
    assert "samples are at most 1 version old" in choose([cell(2, 0.25, 10.0)]).reasons[2]  # none seen was


def test_more_than_one_learner_device_is_said_to_be_a_calculation() -> None:
    several, one = choose([cell(3, 1, 10.0, learners=2)]), choose([cell(3, 1, 10.0)])
    assert several.reasons[-1].startswith("2 devices for the learner are a calculation: `fundus-ray train` has one")
    assert not any("calculation" in reason for reason in one.reasons)


def test_among_splits_of_the_same_devices_freshness_comes_before_workers() -> None:
    found = [cell(3, 1, 10.0, learners=1), cell(2, 0, 9.9, learners=2)]
    assert choose(found).cell is found[1]


def test_table_and_json_hold_every_cell() -> None:
    found = [cell(1, 0, 5.0), cell(1, 1, 7.0)]
    lines = as_table(found).splitlines()
    assert len(lines) == 3
    assert lines[2].split()[:7] == ["1", "1", "1", "7", "56", "0%", "50%"]
    data = as_json(found, choose(found))
    assert [row["groups_per_s"] for row in data["cells"]] == [5.0, 7.0]
    assert data["recommended"]["async_ratio"] == 1
    assert data["recommended"]["lags"] == {"1": 1.0}
