from __future__ import annotations

from pathlib import Path

import pytest
from ablation import ARMS, RECIPES, drawn
from ablation_report import ArmResult, KnowledgeSize, estimate, paired_difference, write_report
from paired_difference import Difference

from fundus_ray.config import load
from fundus_ray.evaluate.metrics import EvalRow


def row(right: bool, *, said: str = "", there: str = "", recited: str = "") -> EvalRow:
    return EvalRow(
        sample="s",
        image="i.png",
        task="diagnosis",
        question="q",
        options=("a", "b"),
        gold_answer=("a",),
        gold_findings=tuple(there),
        text="t",
        answer=("a",) if right else ("b",),
        correct=right,
        findings=tuple(said),
        recited=tuple(recited),
        well_formed=True,
        status="scored",
        total=0.0,
        parts={},
        policy_step=0,
        policy_sha256="x",
    )


def arm(name: str, *seeds: list[EvalRow], start: str = "traces", trained: bool = True, share: float = 1.0) -> ArmResult:
    return ArmResult(name, start, list(seeds), trained=trained, share=share)


def test_an_estimate_is_over_all_rows_and_of_each_seed() -> None:
    two = arm("x", [row(True), row(True)], [row(False), row(True)])
    found = estimate(two, "accuracy")
    assert (found.value, found.seeds) == (0.75, (1.0, 0.5))
    assert estimate(two, "finding F1").value is None  # no chain states a finding


def test_a_paired_difference_on_equal_rows_is_zero_without_any_doubt() -> None:
    rows = [row(True, said="m", there="m"), row(False, said="mh", there="m", recited="h"), row(True)]
    for metric in ("accuracy", "finding F1", "recital rate"):
        assert paired_difference(arm("x", rows), arm("y", rows), metric) == Difference(0.0, 0.0, 0.0, (0.0,))


def test_paired_differences_are_those_of_the_pooled_rows() -> None:
    one = arm("x", [row(True, said="m", there="m")] * 3 + [row(True, said="mh", there="m", recited="h")])
    other = arm("y", [row(False, said="h", there="m")] * 4)
    # accuracy 1 and 0; F1 of x: 2 x 4 / (5 + 4), of y 0; recital 1 / 5 and 0
    accuracy, f1, recital = (paired_difference(one, other, m) for m in ("accuracy", "finding F1", "recital rate"))
    assert accuracy == Difference(1.0, 1.0, 1.0, (1.0,))
    assert f1 is not None
    assert recital is not None
    assert f1.value == pytest.approx(8 / 9)
    assert recital.value == pytest.approx(1 / 5)
    assert recital.low == 0.0 < recital.value < recital.high <= 0.5  # at most every sample recites one of two


def test_a_difference_holds_only_where_every_seed_has_its_sign() -> None:
    better, worse = [row(True)] * 50, [row(False)] * 50
    both = paired_difference(arm("x", better, better), arm("y", worse, worse), "accuracy")
    one = paired_difference(arm("x", better, better), arm("y", worse, better), "accuracy")
    assert both is not None
    assert one is not None
    assert (both.seeds, both.holds) == ((1.0, 1.0), True)
    assert (one.seeds, one.holds) == ((1.0, 0.0), False)
    assert one.low > 0  # the interval alone would be sure


def test_an_arm_that_states_no_finding_has_no_difference_in_f1() -> None:
    silent, other = arm("x", [row(True, there="m")]), arm("y", [row(True, said="m", there="m")])
    assert paired_difference(silent, other, "finding F1") is None
    assert paired_difference(silent, other, "recital rate") is None


def results() -> list[ArmResult]:
    rows = [row(True, said="m", there="m"), row(False, said="h", there="m", recited="h")]
    silent = [row(True, there="m"), row(False, there="m")]
    return [
        ArmResult(a.name, a.start, [silent if a.start == "answers" else rows], trained=bool(a.reward), share=a.share)
        for a in ARMS
    ]


def test_the_report_has_a_line_for_every_arm_and_every_comparison_and_a_picture(tmp_path: Path) -> None:
    sizes = [{0.1: KnowledgeSize(1, 6, 0.05), 1.0: KnowledgeSize(6, 6, 0.6)}]
    text = write_report(results(), sizes, folder=tmp_path, updates=2, rollouts=64)
    assert (tmp_path / "ablation.md").read_text() == text + "\n"
    assert (tmp_path / "ablation.png").stat().st_size > 10_000
    lines = text.splitlines()
    for a in ARMS:
        assert any(line.startswith(f"| {a.name} |") for line in lines)
    assert "| answers, outcome reward - answers | +0.0 [+0.0, +0.0]; +0.0 | - | - |" in lines
    with_grounding = "gaps, process with grounding - gaps, process without grounding, 100% of knowledge"
    assert any(line.startswith(f"| {with_grounding} |") for line in lines)
    assert "| 10% | 1 of 6 | 5% |" in lines
    assert lines[0].startswith("1 seed, n = 2 held-out phantoms in all, 2 updates on 64 rollouts")


@pytest.mark.parametrize("settings", [[*a.reward, *drawn(a.share, seed=1)] for a in ARMS], ids=[a.name for a in ARMS])
def test_every_arm_is_a_configuration_that_is_allowed(settings: list[str]) -> None:
    load(RECIPES["quickstart"], settings)
