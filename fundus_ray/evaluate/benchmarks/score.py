"""Questions and answers in, every number of a benchmark out.

The answers may be stored ones or come from a model that has just run: `score` takes them as {task file: {key: Answer}}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fundus_ray.evaluate.benchmarks import funbench, gmai, omnimedvqa
from fundus_ray.evaluate.benchmarks.against import Paired, QuestionName, mcnemar
from fundus_ray.evaluate.benchmarks.agreement import Kappa, LabelRates, grade_kappa, grade_scale, label_rates
from fundus_ray.evaluate.benchmarks.balanced import labels_of
from fundus_ray.evaluate.benchmarks.letters import Nearest, read_choice, read_funbench, unwrap
from fundus_ray.evaluate.benchmarks.predictions import Answers
from fundus_ray.evaluate.benchmarks.question import Answer, Benchmark, Question, Verdict
from fundus_ray.evaluate.benchmarks.statistic import (
    Name,
    Statistic,
    accuracy_statistic,
    funbench_statistic,
    intervals,
    places,
    point,
)

UNANSWERED = "unanswered"
HARMONIC, ACCURACY = "harmonic mean of sensitivity and specificity", "accuracy"

# Dimension of Question.groups -> kind of its scores.
_KINDS = {
    omnimedvqa.NAME: {omnimedvqa.LEVEL: "levels", omnimedvqa.TASK: "tasks", "dataset": "dataset"},
    gmai.NAME: {gmai.LEVEL: "levels", gmai.TASK: "tasks", "department": "department", "modality": "modality"},
}


@dataclass(frozen=True, slots=True)
class Result:
    """`scores` and `intervals` by (kind, name), kinds being overall, levels, tasks, subtasks and a benchmark's own
    dimensions; NaN = undefined. `rules` counts how answers were read."""

    benchmark: str
    metric: str
    compat: bool
    scores: Mapping[Name, float]
    intervals: Mapping[Name, tuple[float, float]]
    labels: Mapping[str, tuple[LabelRates, ...]]  # task file -> one a label
    kappas: Mapping[str, Kappa]  # task file -> of its grades
    undefined: tuple[str, ...]  # what has no value, and why
    rules: Mapping[str, int]
    stops_published: int  # answers on which FunBench's own scorer ends with an error
    patients: int
    left_out: Mapping[str, int]
    absent: tuple[str, ...]  # task files without stored answers
    verdicts: tuple[Verdict, ...] = field(repr=False)

    def count(self, rule: str) -> int:
        """Answers that were read by this rule."""
        return self.rules.get(rule, 0)


def score(benchmark: Benchmark, answers: Answers, *, nearest: Nearest | None, compat: bool = False) -> Result:
    """Read and score the answers; task files without any are left out.

    `compat` scores FunBench as its published scorer does where that differs: answer tags are not taken off, 0/0 is NaN
    and goes into every mean above it, and the coarse modality is scored by its sensitivity whatever its labels. Such
    scores have no intervals.
    """
    files = {
        file.path: [_verdict(q, answers[file.path].get(q.key), nearest, benchmark.name, compat) for q in file.questions]
        for file in benchmark.files
        if file.path in answers
    }
    verdicts = tuple(verdict for own in files.values() for verdict in own)
    place = places(verdicts)
    statistic: Statistic
    labels: dict[str, tuple[LabelRates, ...]] = {}
    if benchmark.name == funbench.NAME:
        statistic = funbench_statistic(files, place, guard=not compat)
        labels = {file: tuple(label_rates(label, own) for label in labels_of(own)) for file, own in files.items()}
    else:
        statistic = accuracy_statistic(verdicts, place, kinds=_KINDS[benchmark.name])
    scores = point(statistic, len(place))
    return Result(
        benchmark=benchmark.name,
        metric=HARMONIC if benchmark.name == funbench.NAME else ACCURACY,
        compat=compat,
        scores=scores,
        # A NaN left out of the draws would make the interval one of another score.
        intervals={} if compat else intervals(statistic, len(place)),
        labels=labels,
        kappas=_kappas(files) if benchmark.name == funbench.NAME else {},
        undefined=_undefined(scores, labels, guard=not compat),
        rules=dict(Counter(verdict.rule for verdict in verdicts).most_common()),
        stops_published=sum(verdict.stops_published for verdict in verdicts),
        patients=len(place),
        left_out=benchmark.left_out,
        absent=tuple(file.path for file in benchmark.files if file.path not in answers),
        verdicts=verdicts,
    )


def score_names(benchmark: Benchmark) -> set[str]:
    """Names of all levels and tasks that it can have a score of, also where answers to some are absent."""
    if benchmark.name == funbench.NAME:
        return {part(file.path) for file in benchmark.files for part in (funbench.level_of, funbench.task_of)}
    own = {dimension for dimension, kind in _KINDS[benchmark.name].items() if kind in ("levels", "tasks")}
    return {q.groups[dimension] for file in benchmark.files for q in file.questions for dimension in own}


def paired(result: Result, theirs: Mapping[QuestionName, bool]) -> dict[str, Paired]:
    """McNemar's test against another run: of all questions (""), and of each task of FunBench."""
    found = {"": mcnemar(result.verdicts, theirs)}
    if result.benchmark == funbench.NAME:
        for task in dict.fromkeys(funbench.task_of(v.question.file) for v in result.verdicts):
            found[task] = mcnemar([v for v in result.verdicts if funbench.task_of(v.question.file) == task], theirs)
    return found


def _verdict(question: Question, answer: Answer | None, nearest: Nearest | None, name: str, compat: bool) -> Verdict:
    if answer is None:
        return Verdict(question, None, "", UNANSWERED, (), stops_published=name == funbench.NAME)
    text = answer.text if compat else unwrap(answer.text)
    if not compat and not text.strip():
        nearest = None  # nothing was said that could be like an option
    if name == funbench.NAME:
        meanings = funbench.meanings(question)
        reading = read_funbench(text, question.options, several=question.several, nearest=nearest, meanings=meanings)
    else:
        reading = read_choice(text, question.options, nearest=nearest)
    stops = reading.stops_published and name == funbench.NAME
    # The published scorer gives no score here at all, also where it has read another letter of the same answer.
    chosen = () if compat and stops else tuple(question.options[place] for place in reading.chosen)
    return Verdict(question, answer, text, reading.rule, chosen, stops_published=stops)


def _kappas(files: Mapping[str, Sequence[Verdict]]) -> dict[str, Kappa]:
    scales = {file: grade_scale(funbench.task_of(file), own) for file, own in files.items()}
    return {file: grade_kappa(scale, files[file]) for file, scale in scales.items() if scale is not None}


def _undefined(
    scores: Mapping[Name, float], labels: Mapping[str, Sequence[LabelRates]], *, guard: bool
) -> tuple[str, ...]:
    """What is NaN, and the labels behind it: their 0/0 is guarded or goes into the means."""
    no_rate, no_mean = ("left out of the mean", "taken as 0") if guard else ("NaN", "NaN")
    lines = [f"{kind} {name}".strip() + ": no value" for (kind, name), value in scores.items() if value != value]
    for file, own in labels.items():
        for rates in own:
            if rates.negatives == 0 and len(own) > 1:
                lines.append(f"{file}: {rates.label!r} has no negatives, so no specificity: {no_rate}")
            elif rates.sensitivity == rates.specificity == 0:
                lines.append(f"{file}: {rates.label!r} has sensitivity and specificity 0, a mean of 0/0: {no_mean}")
    return tuple(lines)
