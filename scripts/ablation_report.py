"""The ablation's table, picture and README section. In: the held-out rows of every arm and seed. Out: files."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from paired_difference import Difference, bootstrapped, points

from fundus_ray.evaluate.metrics import EvalRow, finding_f1_interval, finding_scores, recital_rate, share_with_interval
from fundus_ray.obs.curves import BLUE, GREEN, GREY, ORANGE, TEXT_GREY
from fundus_ray.obs.report_table import table

SCRIPT = "scripts/ablation.sh"
PICTURE = Path("scripts/ablation.png")
SHOWS = "held-out accuracy, finding F1 and recital rate by arm"
COLOURS = {"traces": BLUE, "answers": ORANGE, "gaps": GREEN}


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One arm: its name, its warm start's name, and the rows of each seed in one order over all arms."""

    name: str
    start: str
    rows: list[list[EvalRow]]
    trained: bool
    share: float


@dataclass(frozen=True, slots=True)
class KnowledgeSize:
    """One seed's knowledge base of one share: of how many of the data's labels it has a record, and the share of the
    training images that keep a trace."""

    labels: int
    of_labels: int
    kept: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric over all seeds' rows with its 95 % interval over samples, and each seed's own; None = not defined."""

    value: float | None
    low: float | None
    high: float | None
    seeds: tuple[float | None, ...]


Interval = tuple[float | None, float | None, float | None]  # value, low, high


def accuracy(rows: Sequence[EvalRow]) -> Interval:
    """Wilson's interval."""
    return share_with_interval([row.correct for row in rows])


def f1(rows: Sequence[EvalRow]) -> Interval:
    """Micro-averaged; bootstrapped. Not defined where no chain states a finding: it would be zero by construction."""
    if not any(row.findings for row in rows):
        return None, None, None
    return finding_scores(rows).f1, *finding_f1_interval(rows)


METRICS: dict[str, Callable[[Sequence[EvalRow]], Interval]] = {
    "accuracy": accuracy,
    "finding F1": f1,
    "recital rate": recital_rate,
}


def estimate(result: ArmResult, metric: str) -> Estimate:
    """Over all seeds, and of each."""
    measure = METRICS[metric]
    value, low, high = measure([row for rows in result.rows for row in rows])
    return Estimate(value, low, high, seeds=tuple(measure(rows)[0] for rows in result.rows))


def paired_difference(a: ArmResult, b: ArmResult, metric: str) -> Difference | None:
    """a - b by a 95 % percentile bootstrap over the samples that both read; None where it is not defined for one. A
    seed in which it is not defined has no value of its own."""
    by_seed = [(_counts(one, metric), _counts(other, metric)) for one, other in zip(a.rows, b.rows, strict=True)]
    return bootstrapped(by_seed)


def _counts(rows: Sequence[EvalRow], metric: str) -> NDArray[np.float64]:
    """[samples, 2]: what of each sample goes above and below the line of the metric."""
    if metric == "accuracy":
        counts = [(float(row.correct), 1.0) for row in rows]
    elif metric == "recital rate":
        counts = [(0, 0) if row.recited is None else (len(row.recited), len(row.findings)) for row in rows]
    elif not any(row.findings for row in rows):
        counts = [(0, 0)] * len(rows)
    else:
        pairs = [(set(row.findings), set(row.gold_findings or ())) for row in rows]
        counts = [(2 * len(said & true), len(said) + len(true)) for said, true in pairs]
    return np.array(counts, dtype=float)


def write_report(
    results: Sequence[ArmResult],
    sizes: Sequence[dict[float, KnowledgeSize]],
    *,
    folder: Path,
    updates: int,
    rollouts: int,
) -> str:
    """Both files; returns the Markdown. `sizes`: of each seed, by share."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds, n = len(results[0].rows), sum(len(rows) for rows in results[0].rows)
    text = "\n\n".join(
        [
            f"{seeds} seed{'s' if seeds > 1 else ''}, n = {n:,} held-out phantoms in all, {updates} updates on "
            f"{rollouts:,} rollouts in every arm. Each cell: all seeds together [95 % interval over samples], then "
            "each seed. Recital rate: of the stated findings, those that fit the chain's own answer but are not on the "
            "image.",
            _arms_table(results),
            "Differences in points on the same samples [95 %, paired bootstrap over samples]; of each seed. The "
            "interval knows nothing of how training runs differ, so bold are only those where every seed has the same "
            "sign too.",
            _differences_table(results),
            "What the smaller knowledge bases hold, by seed. Traces: the same replies of the model, linked, cited and "
            "filtered anew.",
            _sizes_table(sizes),
        ]
    )
    (folder / "ablation.md").write_text(text + "\n")
    draw(results, folder / PICTURE.name)
    return text


def _arms_table(results: Sequence[ArmResult]) -> str:
    rows = [(r.name, *(_cell(estimate(r, metric)) for metric in METRICS), f"{_stated(r):.2f}") for r in results]
    return table(("warm start, then RLVR", *METRICS, "findings a chain"), rows)


def _stated(result: ArmResult) -> float:
    return statistics.fmean(len(row.findings) for rows in result.rows for row in rows)


def _cell(e: Estimate) -> str:
    if e.value is None or e.low is None or e.high is None:
        return "-"
    seeds = " ".join("-" if value is None else f"{value:.3f}" for value in e.seeds)
    return f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]; {seeds}"


def _differences_table(results: Sequence[ArmResult]) -> str:
    """Every trained arm against the outcome reward alone from the same warm start; that one against its warm start."""
    rows = []
    for start in COLOURS:
        arms = [r for r in results if r.start == start]
        before, outcome = arms[0], arms[1]
        for arm, base in ((outcome, before), *((arm, outcome) for arm in arms[2:])):
            cells = [points(paired_difference(arm, base, metric)) for metric in METRICS]
            rows.append((f"{arm.name} - {base.name}", *cells))
    rows.append(_grounding_row(results))
    return table(("points of", *METRICS), rows)


def _grounding_row(results: Sequence[ArmResult]) -> tuple[str, ...]:
    grounded, *rest = [r for r in results if r.start == "gaps" and r.trained][1:]
    without = next(r for r in rest if r.share == 1)
    cells = [points(paired_difference(grounded, without, metric)) for metric in METRICS]
    return (f"{grounded.name} - {without.name}", *cells)


def _sizes_table(sizes: Sequence[dict[float, KnowledgeSize]]) -> str:
    rows = []
    for share in sorted(sizes[0]):
        of_share = [seed[share] for seed in sizes]
        labels = ", ".join(f"{size.labels} of {size.of_labels}" for size in of_share)
        rows.append((f"{share:.0%}", labels, ", ".join(f"{size.kept:.0%}" for size in of_share)))
    return table(("knowledge base", "labels of the data with a record", "training images that keep a trace"), rows)


def draw(results: Sequence[ArmResult], path: Path) -> None:
    """A panel a metric, a line an arm: the point over all seeds with its interval, small points for the seeds."""
    figure = Figure(figsize=(14, 0.42 * len(results) + 1.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(METRICS), sharey=True)
    for axes, metric in zip(panels, METRICS, strict=True):
        _draw_panel(axes, results, metric)
    panels[0].set_yticks(range(len(results)), [r.name for r in results])
    panels[0].invert_yaxis()
    figure.suptitle("What is worth what: held-out results by warm start and reward", x=0.01, ha="left", weight="bold")
    figure.supxlabel(
        "Large: all seeds, with the 95 % interval over samples (hollow, and dotted on: the warm start, before RLVR). "
        "Small: each seed.",
        fontsize=9,
        color=TEXT_GREY,
    )
    figure.savefig(path)


def _draw_panel(axes: Axes, results: Sequence[ArmResult], metric: str) -> None:
    better = "lower" if metric == "recital rate" else "higher"
    axes.set_title(f"{metric} ({better} is better)", fontsize=10)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="x", color=GREY, alpha=0.4)
    axes.spines[["top", "right"]].set_visible(False)
    for place, r in enumerate(results):
        e, colour = estimate(r, metric), COLOURS[r.start]
        if e.value is None or e.low is None or e.high is None:
            axes.text(0.02, place, "states no finding", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
            continue
        axes.plot([e.low, e.high], [place, place], color=colour, linewidth=2)
        axes.plot(e.value, place, "o", color=colour, markerfacecolor=colour if r.trained else "white", markersize=8)
        seeds = [value for value in e.seeds if value is not None]
        axes.plot(seeds, [place + 0.25] * len(seeds), ".", color=colour, markersize=4)
        if not r.trained:
            last = max(i for i, other in enumerate(results) if other.start == r.start)
            axes.plot([e.value, e.value], [place, last], ":", color=colour, linewidth=1)
    for place in range(1, len(results)):
        if results[place].start != results[place - 1].start:
            axes.axhline(place - 0.5, color=GREY, linewidth=0.8)
