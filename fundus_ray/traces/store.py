"""A folder of traces that can be gone on with, and its export for other trainers.

In: traces with their verdicts, as they are made. Out, in the folder:

    made_with.json      model, knowledge snapshot, prompt version: what all traces of the folder share
    traces.jsonl        every trace, kept or not, flushed line by line
    kept.jsonl          chat messages with an `images` column: what TRL, ms-swift and LLaMA-Factory read
    kept.parquet        the same rows with findings, relations and citations

A second run with the same settings goes on where the first one stopped. One process at a time writes to a folder.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fundus_ray.errors import ConfigError, DataError
from fundus_ray.obs.made_with import mark_made_with
from fundus_ray.obs.sole_writer import sole_writer
from fundus_ray.obs.strict_json import JsonLines, lines_of, read_lines, write_text
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.traces.filter import KEPT, NO_REPLY, SAMPLE_CHANGED, SAMPLE_GONE
from fundus_ray.traces.link import LinkedTrace, Relation
from fundus_ray.types import Sample

TRACES, CHAT, PARQUET = "traces.jsonl", "kept.jsonl", "kept.parquet"
IMAGE_MARK = "<image>"  # and no line break, so that the prompt is the one that the policy is asked with here


class TraceFolder:
    """An open folder; `verdicts` holds what is in it: sample id -> "" (kept) or the reason against it."""

    def __init__(self, path: Path, *, made_with: Mapping[str, Any]) -> None:
        """Raises ConfigError where the folder holds traces that were made otherwise, or another process writes to
        it."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as on_error:
            on_error.enter_context(sole_writer(path))
            self._mark(made_with)
            self.verdicts: dict[str, str] = {}
            if (path / TRACES).is_file():
                whole = self._standing_rows(made_with.get("snapshot"))
                write_text(path / TRACES, lines_of(whole))  # without a line cut short
                self.verdicts = {row["sample_id"]: row["rejected"] for row in whole}
            self._lines = JsonLines(path / TRACES)
            self._held = on_error.pop_all()

    def _mark(self, made_with: Mapping[str, Any]) -> None:
        traces = self.path / TRACES
        empty = not (traces.is_file() and traces.stat().st_size)
        mark_made_with(self.path, made_with, empty=empty, said=f"{self.path} holds traces")

    def _standing_rows(self, snapshot: str | None) -> list[dict[str, Any]]:
        """All but those that a filter found to have no sample or no reply: they are to be written again."""
        again = (SAMPLE_GONE, SAMPLE_CHANGED, NO_REPLY)
        rows = [row for row, stored in _checked_rows(self.path) if stored.rejected not in again]
        other = next((row["judged_with"] for row in rows if row.get("judged_with", snapshot) != snapshot), None)
        if other is not None:
            raise ConfigError(
                f"{self.path}: its traces were judged with knowledge snapshot {other} (fundus-ray traces filter), not "
                f"{snapshot}; filter them again with the knowledge of this run"
            )
        return rows

    def add(self, trace: LinkedTrace, sample: Sample, *, rejected: str, reply: str) -> None:
        """One trace with its verdict and the model's own words; on disk when this returns."""
        self._lines.append({**asdict(trace), "about": subject(sample), "rejected": rejected, "reply": reply})
        self.verdicts[trace.sample_id] = rejected

    def counts(self) -> dict[str, int]:
        """Traces by verdict; KEPT for those without a reason against them."""
        return dict(Counter(verdict or KEPT for verdict in self.verdicts.values()))

    def export(self, samples: Mapping[str, Sample]) -> int:
        """As `export_kept`."""
        return export_kept(self.path, samples)

    def close(self) -> None:
        """Close the open file."""
        self._lines.close()
        self._held.close()


@dataclass(frozen=True, slots=True)
class StoredTrace:
    """A line of the folder."""

    trace: LinkedTrace
    about: dict[str, Any]  # as `subject`
    rejected: str  # "" = kept
    reply: str  # the model's own words, "" where it was not asked


def check_folder(folder: Path) -> None:
    """Raises DataError where there are no traces."""
    if not (folder / TRACES).is_file():
        raise DataError(f"{folder} is not a folder of traces: it has no {TRACES}")


def stored_traces(folder: Path) -> Iterator[StoredTrace]:
    """Every trace, in the folder's order. Raises DataError where the folder is none, or a line is broken."""
    return (stored for _, stored in _checked_rows(folder))


def _checked_rows(folder: Path) -> Iterator[tuple[dict[str, Any], StoredTrace]]:
    """Each line as it is, and what it says."""
    check_folder(folder)
    for number, row in enumerate(read_lines(folder / TRACES), start=1):
        try:
            stored = StoredTrace(trace=_trace(row), about=row["about"], rejected=row["rejected"], reply=row["reply"])
        except (KeyError, TypeError) as err:
            raise DataError(f"{folder / TRACES}:{number}: not a trace: {err!r}") from None
        yield row, stored


def write_verdicts(folder: Path, verdicts: Sequence[str], *, judged_with: str) -> None:
    """Give every trace, in the folder's order, its verdict and the snapshot of the knowledge that it rests on. In one
    step: a crash leaves the old verdicts."""
    rows = zip(read_lines(folder / TRACES), verdicts, strict=True)
    write_text(
        folder / TRACES, lines_of({**row, "rejected": verdict, "judged_with": judged_with} for row, verdict in rows)
    )


def export_kept(folder: Path, samples: Mapping[str, Sample]) -> int:
    """Write the kept ones for other trainers, in the samples' order. Returns how many."""
    by_id = {trace.sample_id: trace for trace in kept_traces(folder, samples)}
    kept = [(by_id[key], sample) for key, sample in samples.items() if key in by_id]
    chat = [{"messages": _messages(*one, mark=IMAGE_MARK), "images": [one[1].image.path]} for one in kept]
    write_text(folder / CHAT, lines_of(chat))
    part = folder / f".{PARQUET}.part"
    pq.write_table(pa.Table.from_pylist([_row(*one) for one in kept], schema=_SCHEMA), part)
    os.replace(part, folder / PARQUET)
    return len(kept)


def kept_traces(folder: Path, samples: Mapping[str, Sample]) -> Iterator[LinkedTrace]:
    """The traces that were kept and are about these samples, by id.

    Raises DataError as `stored_traces`, and where a sample of the same id has another image, answer or order of options
    than the one that the trace was written for (its letters would then be wrong).
    """
    for number, stored in enumerate(stored_traces(folder), start=1):
        trace = stored.trace
        if stored.rejected or trace.sample_id not in samples:
            continue
        if stored.about != subject(samples[trace.sample_id]):
            raise DataError(
                f"{folder / TRACES}:{number}: sample {trace.sample_id} has another image, answer or order of options "
                "now; use the data settings that the traces were made with (data.option_order, the rows' ids), or "
                "judge the traces again: fundus-ray traces filter"
            )
        yield trace


def subject(sample: Sample) -> dict[str, Any]:
    """What a trace was written for, to be compared when it is used."""
    return {
        "image": sample.image.sha256,
        "modality": sample.modality.value,
        "options": list(sample.options),
        "answer": list(sample.answer),
    }


def _trace(row: Mapping[str, Any]) -> LinkedTrace:
    return LinkedTrace(
        sample_id=row["sample_id"],
        text=row["text"],
        findings=tuple(row["findings"]),
        conclusion=tuple(row["conclusion"]),
        relations=tuple(Relation(**relation) for relation in row["relations"]),
        snapshot=row["snapshot"],
    )


def _messages(trace: LinkedTrace, sample: Sample, *, mark: str) -> list[dict[str, str]]:
    prompt = build_prompt(sample, group_id=0, seed=0)
    return [
        {"role": "system", "content": prompt.system},
        {"role": "user", "content": f"{mark}{prompt.user}"},
        {"role": "assistant", "content": trace.text},
    ]


def _row(trace: LinkedTrace, sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "messages": _messages(trace, sample, mark=""),
        "images": [sample.image.path],
        "modality": sample.modality.value,
        "answer": list(sample.answer),
        "findings": list(trace.findings),
        "relations": [asdict(relation) for relation in trace.relations],
        "snapshot": trace.snapshot,
    }


def _strings(names: Sequence[str]) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.string()) for name in names]


_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("messages", pa.list_(pa.struct(_strings(["role", "content"])))),
        ("images", pa.list_(pa.string())),
        ("modality", pa.string()),
        ("answer", pa.list_(pa.string())),
        ("findings", pa.list_(pa.string())),
        ("relations", pa.list_(pa.struct(_strings(["finding", "label", "role", "passage_id"])))),
        ("snapshot", pa.string()),
    ]
)
