"""The benchmark of rendered eyes: chance and the table by hand; what is made is found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_phantoms import RECIPE, chance, once, table
from funbench_replica import L1A, L2B, L4B, Asked, write_replica

from fundus_ray.config import load
from fundus_ray.evaluate.benchmarks.funbench import read_funbench_root


def test_chance_is_what_answers_drawn_evenly_score(tmp_path: Path) -> None:
    eyes, coarse = ("Left eye", "Right eye"), ("Painting", "Fundus image", "Natural image", "Whole-slide image")
    tasks = {
        L1A: [Asked(coarse, "Fundus image", None, image=f"{i}.png") for i in range(200)],
        L2B: [Asked(eyes, eyes[i % 2], None, image=f"{i}.png") for i in range(200)],
        L4B: [Asked(("a", "b", "c", "d", "e"), [one], None, image=f"{one}{i}.png") for i in range(60) for one in "abc"],
    }
    write_replica(tmp_path, tmp_path / "unused", tasks)
    found = chance(read_funbench_root(tmp_path), draws=20)
    # One label of four options: its sensitivity. Two: 2 x 1/2 x 1/2 / 1. Of five: 2 x 1/5 x 4/5 / (1/5 + 4/5).
    assert found["tasks", "L1a-coarse_modality_perception"] == pytest.approx(0.25, abs=0.02)
    assert found["tasks", "L2b-laterality"] == pytest.approx(0.5, abs=0.02)
    assert found["tasks", "L4b-multi_condition_diagnosis"] == pytest.approx(0.32, abs=0.02)
    assert found["overall", ""] == pytest.approx((0.25 + 0.5 + 0.32) / 3, abs=0.02)


def test_table_has_a_line_for_the_whole_each_level_and_each_task() -> None:
    def scores(value: float | None, unmatched: int) -> dict[str, Any]:
        return {
            "overall": value,
            "levels": {"L2": value},
            "tasks": {"L2a": value, "L2b": 1.0},
            "intervals": {"overall": [0.1, 0.9], "levels": {}, "tasks": {"L2a": None}},
            "counts": {"questions": 8, "patients": 4, "unmatched": unmatched},
            "against": {"all": {"questions": 8, "only_ours": 5, "only_theirs": 1, "p": 0.21875}},
        }

    drawn = {("overall", ""): 0.4, ("levels", "L2"): 0.4, ("tasks", "L2a"): 0.5, ("tasks", "L2b"): 0.3}
    lines = table({"before": scores(0.25, 3), "after": scores(0.5, 1)}, chance=drawn).splitlines()
    assert lines[0].startswith("8 questions about held-out rendered eyes of 4 patients; 1 answers after and 3 before")
    assert lines[4:8] == [
        "| overall | 0.400 | 0.250 [0.100, 0.900] | 0.500 [0.100, 0.900] | +25.0 |",
        "| L2 | 0.400 | 0.250 | 0.500 | +25.0 |",
        "| L2a | 0.500 | 0.250 | 0.500 | +25.0 |",
        "| L2b | 0.300 | 1.000 | 1.000 | +0.0 |",
    ]
    assert "5 are right after RLVR alone and 1 before it alone (McNemar, exact: p = 0.22)" in lines[-1]
    undefined = table({"before": scores(None, 3), "after": scores(0.5, 1)}, chance=drawn).splitlines()
    assert undefined[5] == "| L2 | 0.400 | - | 0.500 |  |"


def test_a_step_is_made_once_for_the_same_settings_and_anew_where_it_was_cut_short(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(out: Path) -> None:
        made.append(out)
        (out / "x").write_text("half")
        if len(made) == 2:
            raise KeyboardInterrupt

    first = once(tmp_path / "eyes", make, seed=0)
    assert once(tmp_path / "eyes", make, seed=0) == first
    with pytest.raises(KeyboardInterrupt):
        once(tmp_path / "eyes", make, seed=1)
    assert once(tmp_path / "eyes", make, seed=1) != first
    assert len(made) == 3
    assert json.loads((made[2] / "DONE").read_text()) == {"seed": 1}


def test_recipe_learns_from_a_store() -> None:
    config = load(RECIPE)
    assert (config.data.source, config.sft.label_blind) == ("store", 0.0)
