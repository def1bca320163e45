"""Two runs on the same questions: McNemar's test on those that one answered rightly and the other did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import binomtest

from fundus_ray.errors import DataError
from fundus_ray.evaluate.benchmarks.question import Benchmark, Verdict
from fundus_ray.obs.strict_json import read_lines

QUESTIONS_FILE = "questions.jsonl"
QuestionName = tuple[str, str]  # task file, key


@dataclass(frozen=True, slots=True)
class Paired:
    """`only_ours`, `only_theirs`: questions that one run alone answered rightly; `p` is two-sided."""

    questions: int  # in both runs
    only_ours: int
    only_theirs: int
    p: float


def read_outcomes(folder: Path) -> dict[QuestionName, bool]:
    """Question -> whether its answer was right, of an earlier --out folder. Raises DataError where there is none."""
    path = folder / QUESTIONS_FILE
    if not path.is_file():
        raise DataError(f"--against {folder}: no {QUESTIONS_FILE}; give the --out folder of another evaluation")
    try:
        return {(str(row["file"]), str(row["key"])): bool(row["correct"]) for row in read_lines(path)}
    except KeyError as err:
        raise DataError(f"{path}: a line without {err}; give the --out folder of another evaluation") from None


def check_common(folder: Path, theirs: Mapping[QuestionName, bool], benchmark: Benchmark) -> None:
    """Raises DataError where the other run has no question of the benchmark."""
    if not any((q.file, q.key) in theirs for file in benchmark.files for q in file.questions):
        raise DataError(f"--against {folder}: no question of this {benchmark.name} there; give a run on the same one")


def mcnemar(verdicts: Sequence[Verdict], theirs: Mapping[QuestionName, bool]) -> Paired:
    """Exact test (McNemar, 1947; binomial with 1/2) over the questions that both runs answered."""
    both = [(v.correct, theirs[name]) for v in verdicts if (name := (v.question.file, v.question.key)) in theirs]
    only_ours = sum(ours and not other for ours, other in both)
    only_theirs = sum(other and not ours for ours, other in both)
    apart = only_ours + only_theirs
    p = float(binomtest(only_ours, apart, 0.5).pvalue) if apart else 1.0
    return Paired(questions=len(both), only_ours=only_ours, only_theirs=only_theirs, p=p)
