from __future__ import annotations

import pytest

from fundus_ray.evaluate.metrics import (
    EvalRow,
    class_scores,
    finding_f1_interval,
    finding_scores,
    recital_rate,
    summarise,
    wilson_interval,
)

OPTIONS = ("normal", "glaucoma", "AMD")


def row(
    gold: str,
    said: str | None,
    *,
    gold_findings: tuple[str, ...] | None = None,
    findings: tuple[str, ...] = (),
    recited: tuple[str, ...] | None = None,
    task: str = "diagnosis",
    options: tuple[str, ...] = OPTIONS,
    well_formed: bool = True,
) -> EvalRow:
    answer = None if said is None else (said,)
    return EvalRow(
        sample="s",
        image="i.png",
        task=task,
        question="q",
        options=options,
        gold_answer=(gold,),
        gold_findings=gold_findings,
        text="t",
        answer=answer,
        correct=answer == (gold,),
        findings=findings,
        recited=recited,
        well_formed=well_formed,
        status="scored",
        total=0.0,
        parts={},
        policy_step=0,
        policy_sha256="x",
    )


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # n = 10, p = 0.5: (0.5 + 0.1920729 -+ 1.959964 sqrt(0.025 + 0.0096036)) / 1.3841459
        (5, 10, 0.236593, 0.763407),
        # p = 0: low 0, high z^2/n / (1 + z^2/n) = 0.3841459 / 1.3841459
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
    ],
)
def test_the_wilson_interval_matches_hand_and_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_share_has_no_interval(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="is not a share"):
        wilson_interval(successes, n)


def test_finding_scores_are_summed_before_they_are_divided() -> None:
    rows = [
        row("AMD", "AMD", gold_findings=("drusen", "haemorrhage"), findings=("drusen",)),  # tp 1, fn 1
        row("AMD", "AMD", gold_findings=("drusen",), findings=("drusen", "exudate", "cup")),  # tp 1, fp 2
        row("normal", "normal", gold_findings=(), findings=()),
        row("normal", "normal", gold_findings=None, findings=("cup",)),  # not annotated: no part in it
    ]
    scores = finding_scores(rows)
    assert scores.n == 3
    assert scores.precision == 2 / 4
    assert scores.recall == 2 / 3
    assert scores.f1 == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))


def test_without_annotations_finding_scores_are_none_and_not_zero() -> None:
    scores = finding_scores([row("normal", "normal", findings=("cup",))])
    assert (scores.f1, scores.recall, scores.precision, scores.n) == (None, None, None, 0)
    assert finding_f1_interval([row("normal", "normal")]) == (None, None)


def test_the_bootstrap_interval_of_f1_is_repeatable_and_close_to_theory() -> None:
    # One finding an image, found in half of 400 and never invented: F1 = 2r / (1 + r) of recall r = 0.5 = 0.6667.
    # s(r) = sqrt(0.25 / 400) = 0.025, dF1/dr = 2 / (1 + r)^2 = 0.889: half-width 1.96 x 0.0222 = 0.0436.
    rows = [row("AMD", "AMD", gold_findings=("a",), findings=("a",) if i % 2 else ()) for i in range(400)]
    low, high = finding_f1_interval(rows)
    assert low is not None
    assert high is not None
    assert low == pytest.approx(0.6667 - 0.0436, abs=0.008)
    assert high == pytest.approx(0.6667 + 0.0436, abs=0.008)
    assert finding_f1_interval(rows) == (low, high)


def test_sensitivity_and_specificity_by_hand() -> None:
    rows = [
        row("glaucoma", "glaucoma"),
        row("glaucoma", "normal"),
        row("glaucoma", None),
        row("normal", "normal"),
        row("normal", "glaucoma"),
    ]
    scores = class_scores(rows)
    assert set(scores) == {"glaucoma", "normal"}
    assert scores["glaucoma"].sensitivity == pytest.approx(1 / 3)
    assert scores["glaucoma"].specificity == 1 / 2
    assert scores["normal"].sensitivity == 1 / 2
    assert scores["normal"].specificity == pytest.approx(2 / 3)
    assert (scores["normal"].positives, scores["normal"].negatives) == (2, 3)


def test_a_sample_that_could_not_be_answered_so_is_no_negative() -> None:
    rows = [
        row("left", "left", task="laterality", options=("left", "right")),
        row("normal", "normal"),
        row("normal", "normal", options=("normal", "AMD")),
        row("glaucoma", "glaucoma"),
    ]
    scores = class_scores(rows)
    assert set(scores) == {"diagnosis: glaucoma", "diagnosis: normal", "laterality: left"}
    assert scores["diagnosis: glaucoma"].negatives == 1
    assert scores["laterality: left"].specificity is None


def test_the_summary_holds_every_number_and_no_rows() -> None:
    rows = [row("AMD", "AMD", gold_findings=("a",), findings=("a",)), row("AMD", None, well_formed=False)]
    result = summarise(rows, failed={"unscorable": 3})
    summary = result.summary()
    assert "rows" not in summary
    assert (summary["n"], summary["accuracy"], summary["format_rate"]) == (2, 0.5, 0.5)
    assert (summary["finding_f1"], summary["finding_n"]) == (1.0, 1)
    assert summary["failed"] == {"unscorable": 3}
    assert summary["per_class"]["AMD"]["positives"] == 2
    # n = 2, p = 0.5: (0.5 + 0.9603647 -+ 1.959964 sqrt(0.125 + 0.2400912)) / 2.9207294
    assert summary["accuracy_low"] == pytest.approx(0.094531, abs=1e-5)
    assert summary["accuracy_high"] == pytest.approx(0.905469, abs=1e-5)


def test_nothing_scored_gives_none_and_not_zero() -> None:
    result = summarise([], failed={"unscorable": 4})
    assert (result.accuracy, result.accuracy_low, result.format_rate, result.finding_f1) == (None, None, None, None)
    assert result.n == 0


def test_the_recital_rate_is_recited_over_stated_findings_of_the_samples_where_it_can_be_told() -> None:
    rows = [
        row("AMD", "AMD", findings=("drusen", "hard_exudate"), recited=("hard_exudate",)),
        row("AMD", "AMD", findings=("drusen",), recited=()),
        row("AMD", "AMD", findings=("drusen", "a", "b"), recited=None),  # not annotated
        row("normal", "normal", recited=()),
    ]
    rate, low, high = recital_rate(rows)
    assert rate == pytest.approx(1 / 3)
    # resamples range from the second row alone (0) to the first alone (1 / 2)
    assert (low, high) == (0.0, 0.5)
    result = summarise(rows, failed={})
    assert (result.recital_rate, result.recital_rate_low, result.recital_rate_high) == (rate, low, high)


def test_chains_without_a_finding_have_no_recital_rate() -> None:
    assert recital_rate([row("normal", "normal", recited=()), row("AMD", "AMD", findings=("drusen",))]) == (None,) * 3
