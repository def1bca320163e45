"""Write a reasoning trace for a sample, out of its annotated findings or, where it has none, out of knowledge.

In: samples, knowledge records, the finding vocabulary. Out: `Trace`, in the grammar of `reasoning/chain.py`.

The writer stands for the generic multimodal model of the published method. It overlooks findings, and a share of its
traces conclude from what it noticed instead of from the label, which is wrong where the telling finding was missed.
Both rates are in the configuration (`sft.drop_finding`, `sft.label_blind`): more training on such traces repeats their
mistakes, and what a verifiable reward adds can be measured.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fundus_ray.knowledge.records import Records
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.chain import bare_answer, compose
from fundus_ray.reasoning.prompt import answer_letters
from fundus_ray.types import Sample


@dataclass(frozen=True, slots=True)
class Trace:
    """A chain to imitate."""

    sample_id: str
    text: str
    findings: tuple[str, ...]  # ids that the writer noticed
    conclusion: tuple[str, ...]  # option texts that it chose


def write_traces(
    samples: Iterable[Sample],
    *,
    vocabulary: Vocabulary,
    records: Records,
    drop_finding: float,
    label_blind: float,
    seed: int,
) -> tuple[Trace, ...]:
    """One trace a sample that has options; the same trace for the same sample and seed, in whatever order."""
    return tuple(
        _write(
            sample,
            vocabulary=vocabulary,
            records=records,
            drop_finding=drop_finding,
            label_blind=label_blind,
            rng=random.Random(f"{seed}:{sample.id}"),
        )
        for sample in samples
        if sample.options
    )


def bare_answers(traces: Iterable[Trace], samples: Sequence[Sample]) -> tuple[Trace, ...]:
    """The same samples with their right answers and no chain: the control that shows what chains are worth."""
    by_id = {sample.id: sample for sample in samples}
    found = []
    for sample in (by_id[trace.sample_id] for trace in traces):
        text = bare_answer(answer_letters(sample.answer, sample.options))
        found.append(Trace(sample_id=sample.id, text=text, findings=(), conclusion=sample.answer))
    return tuple(found)


def save_traces(traces: Sequence[Trace], path: Path) -> None:
    """One JSON object a line."""
    with path.open("w") as out:
        for trace in traces:
            out.write(json.dumps(asdict(trace), ensure_ascii=False) + "\n")


def _write(
    sample: Sample,
    *,
    vocabulary: Vocabulary,
    records: Records,
    drop_finding: float,
    label_blind: float,
    rng: random.Random,
) -> Trace:
    findings = _known_findings(sample, records)
    seen = tuple(f for f in findings if rng.random() >= drop_finding)
    chosen = sample.answer
    if rng.random() < label_blind:
        chosen = (_best_match(seen, sample, records=records, rng=rng),)
    text = compose(
        findings=[vocabulary.name(f) for f in seen],
        conclusion=", ".join(chosen),
        letters=answer_letters(chosen, sample.options),
    )
    return Trace(sample_id=sample.id, text=text, findings=seen, conclusion=chosen)


def _best_match(seen: Sequence[str], sample: Sample, *, records: Records, rng: random.Random) -> str:
    """The option whose record fits the noticed findings best; a draw among equals.

    Two points for each required finding that was noticed and one where none is missing, one for each supportive one,
    two off for each contradicting one. An any_of group counts as one required finding. Options without a record score
    nothing.
    """

    seen_ids = set(seen)

    def points(option: str) -> int:
        record = records.get(option, sample.modality)
        if record is None:
            return 0
        noticed = [not seen_ids.isdisjoint(needed) for needed in (*((f,) for f in record.required), *record.any_of)]
        backing, against = seen_ids & {*record.supportive}, seen_ids & {*record.contradicting}
        return 2 * sum(noticed) + all(noticed) + len(backing) - 2 * len(against)

    best = max(points(option) for option in sample.options)
    return rng.choice([option for option in sample.options if points(option) == best])


def _known_findings(sample: Sample, records: Records) -> tuple[str, ...]:
    """Annotated findings, else what the label's record requires, of a group its first: label-only data has no more."""
    if sample.findings is not None:
        return sample.findings
    found: list[str] = []
    for label in sample.answer:
        record = records.get(label, sample.modality)
        if record is not None:
            needed = (*record.required, *(group[0] for group in record.any_of))
            found += [f for f in needed if f not in found]
    return tuple(found)
