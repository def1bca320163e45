"""`fundus-ray traces filter`: traces that were written earlier, judged again by today's knowledge.

    folder of traces + samples + records + passages -> a verdict for each trace -> the folder and its export anew

No model is asked. Every verdict is made from what the folder holds, never from the verdict before, so that a filter
with other settings can be taken back by one with the right ones. A citation counts while its passage is there and still
states the relation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fundus_ray.config import Config
from fundus_ray.data.source import load_data
from fundus_ray.errors import DataError
from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.records import Records
from fundus_ray.knowledge.store import read_corpus, records_of
from fundus_ray.obs.sole_writer import sole_writer
from fundus_ray.reasoning.passage import states
from fundus_ray.traces.filter import (
    KEPT,
    NO_RECORD,
    NO_REPLY,
    REASONS,
    SAMPLE_CHANGED,
    SAMPLE_GONE,
    STALE_REASON,
    UNPARSEABLE,
    reject_reason,
)
from fundus_ray.traces.link import Relation, label_records, relations_of
from fundus_ray.traces.reader import findings_of
from fundus_ray.traces.show import readable
from fundus_ray.traces.store import (
    StoredTrace,
    check_folder,
    export_kept,
    stored_traces,
    subject,
    write_verdicts,
)
from fundus_ray.types import ModelReply, Sample


@dataclass(frozen=True, slots=True)
class Filtered:
    """What became of a folder of traces."""

    counts: dict[str, int]  # traces by verdict, as verdict_table takes them
    changed: int  # verdicts other than before
    unmatched: tuple[str, ...]  # a line for each trace whose sample is gone or changed
    shown: tuple[str, ...]  # traces to read


class Judge:
    """Gives verdicts. Remembers which passage states which relation: there are few of them."""

    def __init__(self, records: Records, passages: Mapping[str, Passage]) -> None:
        """`passages`: by id."""
        self._records = records
        self._passages = passages
        self._stated: dict[Relation, bool] = {}

    def verdict(self, stored: StoredTrace, sample: Sample | None) -> str:
        """ "" where the trace is kept, else a key of REASONS. `sample`: of the trace's id, None where there is none."""
        if sample is None:
            return SAMPLE_GONE
        if stored.about != subject(sample):
            return SAMPLE_CHANGED
        records = label_records(sample, self._records)
        if not records:
            return NO_RECORD
        if not stored.reply:
            return NO_REPLY
        if not stored.trace.findings and self._said(stored) != ():
            return UNPARSEABLE  # without findings because the reply could not be read, not because it names none
        standing = tuple(relation for relation in stored.trace.relations if self._states(relation))
        trace = replace(stored.trace, relations=standing)
        reason = reject_reason(trace, sample, records=records, vocabulary=self._records.vocabulary)
        roles = {(finding, label): role for finding, label, role in relations_of(trace.findings, records)}
        stands = standing == stored.trace.relations and all(roles.get((r.finding, r.label)) == r.role for r in standing)
        return reason or ("" if stands else STALE_REASON)

    def _said(self, stored: StoredTrace) -> tuple[str, ...] | None:
        return findings_of(ModelReply(stored.reply, complete=True), self._records.vocabulary)

    def _states(self, relation: Relation) -> bool:
        if relation not in self._stated:
            passage = self._passages.get(relation.passage_id)
            self._stated[relation] = passage is not None and states(
                passage, finding=relation.finding, label=relation.label, vocabulary=self._records.vocabulary
            )
        return self._stated[relation]


def filter_traces(config: Config, *, folder: Path, show: int = 0) -> Filtered:
    """Judge every trace of the folder again, write the verdicts and the export. `show`: traces to make readable.

    Raises DataError where the folder is none, a line is broken, or none of its traces is of a sample of this data;
    ConfigError where another process writes to it.
    """
    check_folder(folder)
    records, corpus = records_of(config.knowledge), read_corpus(config.knowledge)
    cache_dir = Path(config.run.dir).resolve() / "cache"
    data = load_data(config, cache_dir=cache_dir, finding_ids=records.vocabulary.ids)
    samples = {sample.id: sample for sample in data.train}
    passages = {passage.id: passage for passage in corpus.passages}
    judge = Judge(records, passages)
    with sole_writer(folder):
        before = list(stored_traces(folder))
        after = [replace(one, rejected=judge.verdict(one, samples.get(one.trace.sample_id))) for one in before]
        _check_data(after, folder=folder)
        write_verdicts(folder, [one.rejected for one in after], judged_with=corpus.snapshot)
        export_kept(folder, samples)
    return Filtered(
        counts=dict(Counter(one.rejected or KEPT for one in after)),
        changed=sum(old.rejected != new.rejected for old, new in zip(before, after, strict=True)),
        unmatched=tuple(
            f"{one.trace.sample_id}: {REASONS[one.rejected]}"
            for one in after
            if one.rejected in (SAMPLE_GONE, SAMPLE_CHANGED)
        ),
        shown=tuple(
            readable(one, samples.get(one.trace.sample_id), passages=passages, vocabulary=records.vocabulary)
            for one in _spread(after, show)
        ),
    )


def _spread(traces: Sequence[StoredTrace], count: int) -> list[StoredTrace]:
    """So many of them, from all over the folder: its first lines are the quickest replies, which are the shortest."""
    count = min(count, len(traces))
    return [traces[i * len(traces) // count] for i in range(count)]


def _check_data(traces: Sequence[StoredTrace], *, folder: Path) -> None:
    """Other data would turn every trace down. Ids alone do not tell: phantoms of one number have one id, whatever the
    settings."""
    if traces and all(one.rejected in (SAMPLE_GONE, SAMPLE_CHANGED) for one in traces):
        raise DataError(
            f"{folder}: none of its {len(traces)} traces is of a training sample of this data with the same image, "
            f"modality, options in their order and answer (first: {traces[0].trace.sample_id}); give the --config and "
            "data.* settings that they were made with"
        )
