"""A result as files: scores.json (full precision), scores.md (for a person), questions.jsonl (a line a question)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fundus_ray.evaluate.benchmarks.against import QUESTIONS_FILE, Paired
from fundus_ray.evaluate.benchmarks.agreement import LabelRates
from fundus_ray.evaluate.benchmarks.controls import Control, Orders
from fundus_ray.evaluate.benchmarks.letters import UNMATCHED
from fundus_ray.evaluate.benchmarks.published import PublishedRow
from fundus_ray.evaluate.benchmarks.question import Verdict
from fundus_ray.evaluate.benchmarks.score import UNANSWERED, Result
from fundus_ray.evaluate.benchmarks.statistic import OVERALL
from fundus_ray.obs.strict_json import lines_of, write_json, write_text

_OWN_TABLES = ("overall", "levels", "tasks")
AS_PUBLISHED = "as published"


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside the scores. stray: stored answers that answer nothing, a line each; against: "" or a task ->
    test against another run; made_with: the model and how it was asked, {} = the answers were given; cut_off:
    its answers that reached the longest length; sentence_model: name and hash of the one that read answers, if any."""

    stray: Sequence[str] = ()
    published: Sequence[PublishedRow] = ()
    against: Mapping[str, Paired] = field(default_factory=dict)
    controls: Sequence[Control] = ()
    orders: Orders | None = None
    made_with: Mapping[str, Any] = field(default_factory=dict)
    cut_off: int = 0
    sentence_model: Mapping[str, str] | None = None


def write_result(folder: Path, result: Result, beside: Beside) -> None:
    """Write the three files into `folder`, which is made; older ones there are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / QUESTIONS_FILE, lines_of(map(question_row, result.verdicts)))
    write_text(folder / "scores.md", markdown(result, beside))
    write_json(folder / "scores.json", as_json(result, beside))


def as_json(result: Result, beside: Beside) -> dict[str, Any]:
    """Plain values. What is undefined is None here and stands under "undefined" with its reason."""
    kinds = dict.fromkeys(("levels", "tasks", *(kind for kind, _ in result.scores if kind != "overall")))
    return {
        "benchmark": result.benchmark,
        "metric": result.metric,
        "compat": result.compat,
        "made_with": dict(beside.made_with),
        "sentence_model": None if beside.sentence_model is None else dict(beside.sentence_model),
        "overall": result.scores[OVERALL],
        **{kind: {n: value for (k, n), value in result.scores.items() if k == kind} for kind in kinds},
        "intervals": {
            "overall": result.intervals.get(OVERALL),
            **{kind: {n: bounds for (k, n), bounds in result.intervals.items() if k == kind} for kind in kinds},
        },
        "labels": {file: [asdict(rates) for rates in own] for file, own in result.labels.items()},
        "quadratic_kappa": {file: asdict(kappa) for file, kappa in result.kappas.items()},
        "undefined": list(result.undefined),
        "counts": {
            "questions": len(result.verdicts),
            "patients": result.patients,
            "unanswered": result.count(UNANSWERED),
            "unmatched": result.count(UNMATCHED),
            "cut_off": beside.cut_off,
            "stops_published_scorer": result.stops_published,
            "read_by": dict(result.rules),
            "left_out": dict(result.left_out),
        },
        "absent": list(result.absent),
        "stray": list(beside.stray),
        "against": {name or "all": asdict(pair) for name, pair in beside.against.items()},
        "controls": [control_row(one) for one in beside.controls],
        "orders": None if beside.orders is None else asdict(beside.orders),
        AS_PUBLISHED: [asdict(row) for row in beside.published],
    }


def control_row(control: Control) -> dict[str, Any]:
    """One control with plain keys."""
    levels = {name: value for (kind, name), value in control.scores.items() if kind == "levels"}
    return {
        "name": control.name,
        "overall": control.scores[OVERALL],
        "levels": levels,
        "questions": control.questions,
        "same_choice": control.same,
        "against": asdict(control.paired),
    }


def question_row(verdict: Verdict) -> dict[str, Any]:
    """One line of questions.jsonl."""
    question = verdict.question
    return {
        "file": question.file,
        "key": question.key,
        "image": question.image,
        "patient": question.patient,
        **question.groups,
        "question": question.question,
        "options": question.options,
        "gold": question.gold,
        "answer": None if verdict.answer is None else verdict.answer.text,
        "read": verdict.read,
        "rule": verdict.rule,
        "chosen": verdict.chosen,
        "correct": verdict.correct,
    }


def notes(result: Result, beside: Beside) -> Iterator[str]:
    """What a reader of the score must know, a line each."""
    if beside.cut_off:
        yield f"{beside.cut_off} answers were cut off at the longest length allowed (rollout.max_tokens)"
    if n := result.count(UNMATCHED):
        yield f"{n} answers chose no option by any rule and count as wrong; --sentence-model reads them by similarity"
    if n := result.count(UNANSWERED):
        yield f"{n} questions have no stored answer and count as wrong"
    if result.compat and result.stops_published:
        yield f"FunBench's own scorer would end with an error on {result.stops_published} answers; they count as wrong"
    if result.absent:
        yield f"{len(result.absent)} task files have no stored answers and are left out, such as {result.absent[0]}"
    yield from (f"left out: {n} rows, {reason}" for reason, n in sorted(result.left_out.items()))
    yield from (f"undefined: {line}" for line in result.undefined)
    yield from (f"not used: {line}" for line in beside.stray)


def markdown(result: Result, beside: Beside) -> str:
    """The tables."""
    lines = [
        f"# {result.benchmark}: {result.metric}" + (" (as the published scorer)" if result.compat else ""),
        "",
        f"{len(result.verdicts)} questions, {result.patients} patients."
        + (" Brackets: 95 % bootstrap over patients." if result.intervals else ""),
        "",
        *(f"* {key}: {value}" for key, value in beside.made_with.items()),
        *_reader(beside),
        *(f"* {note}" for note in notes(result, beside)),
        *_scores_table(result, beside.published),
        *_control_tables(result, beside),
        *_dimension_tables(result),
        *_label_tables(result),
        *_against_table(beside.against),
    ]
    return "\n".join(lines) + "\n"


def _reader(beside: Beside) -> list[str]:
    """The sentence model, where there is one."""
    named = beside.sentence_model
    return [] if named is None else [f"* answers that no rule reads: {named['model']}, files {named['files']}"]


def _scores_table(result: Result, published: Sequence[PublishedRow]) -> list[str]:
    """Overall, levels and tasks: ours, then a column for each published model."""
    names = sorted((name for name in result.scores if name[0] in _OWN_TABLES), key=lambda n: _OWN_TABLES.index(n[0]))
    head = ("score of", "ours", "95 %", *(f"{row.model} ({AS_PUBLISHED}: {row.source})" for row in published))
    rows = [
        (
            name or kind,
            _share(result.scores[kind, name]),
            _bounds(result, (kind, name)),
            *(_share(row.scores.get(name or kind)) for row in published),
        )
        for kind, name in names
    ]
    return ["", "## Scores", "", *_table(head, rows)]


def _control_tables(result: Result, beside: Beside) -> list[str]:
    """The same questions put otherwise."""
    if not beside.controls:
        return []
    levels = [name for kind, name in result.scores if kind == "levels"]
    head = ("asked", "overall", *levels, "same choice", "right as asked only", "right here only", "p")
    asked = (
        "as the benchmark does",
        *(_share(result.scores[name]) for name in (OVERALL, *(("levels", n) for n in levels))),
    )
    rows = [(*asked, "", "", "", "")]
    for one in beside.controls:
        scores = [_share(one.scores.get(name)) for name in (OVERALL, *(("levels", n) for n in levels))]
        pair = one.paired
        rows.append((one.name, *scores, _share(one.same), str(pair.only_ours), str(pair.only_theirs), f"{pair.p:.3g}"))
    lines = ["", "## Controls", "", *_table(head, rows)]
    if (orders := beside.orders) is not None:
        lines += [
            "",
            f"Over {orders.number} orders of the options: overall {orders.lowest:.4f} to {orders.highest:.4f}; "
            f"{_share(orders.same_in_all)} of the questions get the same choice in all of them.",
        ]
    return lines


def _dimension_tables(result: Result) -> list[str]:
    """Sub-tasks, and a benchmark's own dimensions."""
    lines = []
    for kind in dict.fromkeys(kind for kind, _ in result.scores if kind not in _OWN_TABLES):
        rows = [(name, _share(v), _bounds(result, (k, name))) for (k, name), v in result.scores.items() if k == kind]
        lines += ["", f"## By {kind}", "", *_table((kind, "score", "95 %"), rows)]
    return lines


def _label_tables(result: Result) -> list[str]:
    """Each label of each task file, and the agreement of grades."""
    head = ("label", "sensitivity", "specificity", "harmonic mean", "positives", "negatives", "AUROC")
    lines = []
    for file, own in result.labels.items():
        rows = [
            (
                rates.label,
                *map(_share, (rates.sensitivity, rates.specificity, rates.harmonic_mean)),
                *map(str, (rates.positives, rates.negatives)),
                _auroc(rates),
            )
            for rates in own
        ]
        lines += ["", f"## {file}", "", *_table(head, rows)]
        if (kappa := result.kappas.get(file)) is not None:
            lines += ["", f"Quadratic kappa {_share(kappa.value)} over {kappa.n} answers that chose a grade."]
    return lines


def _auroc(rates: LabelRates) -> str:
    """With how many questions it is of, where some that offer the label have no number for it."""
    some = rates.auroc is not None and rates.scored < rates.positives + rates.negatives
    return _share(rates.auroc) + (f" (of {rates.scored})" if some else "")


def _against_table(against: Mapping[str, Paired]) -> list[str]:
    if not against:
        return []
    head = ("questions of", "in both", "right here only", "right there only", "p")
    rows = [
        (name or "all", *map(str, (pair.questions, pair.only_ours, pair.only_theirs)), f"{pair.p:.3g}")
        for name, pair in against.items()
    ]
    return ["", "## Against the other run (McNemar, exact, two-sided)", "", *_table(head, rows)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, ["---"] * len(head), *rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def _bounds(result: Result, name: tuple[str, str]) -> str:
    bounds = result.intervals.get(name)
    return f"[{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else ""


def _share(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.4f}"
