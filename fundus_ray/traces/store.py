"""A folder of traces that can be gone on with, and its export for other trainers.

In: traces with their verdicts, as they are made. Out, in the folder:

    made_with.json      model, knowledge snapshot, prompt version: what all traces of the folder share
    traces.jsonl        every trace, kept or not, flushed line by line
    kept.jsonl          chat messages with an `images` column: what TRL, ms-swift and LLaMA-Factory read
    kept.parquet        the same rows with findings, relations and citations

A second run with the same settings goes on where the first one stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fundus_ray.errors import ConfigError, DataError
from fundus_ray.obs.strict_json import JsonLines, line_of, read_json, read_lines, write_json, write_text
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.traces.link import LinkedTrace, Relation
from fundus_ray.types import Sample

MADE_WITH, TRACES, CHAT, PARQUET = "made_with.json", "traces.jsonl", "kept.jsonl", "kept.parquet"


class TraceFolder:
    """An open folder; `verdicts` holds what is in it: sample id -> "" (kept) or the reason against it."""

    def __init__(self, path: Path, *, made_with: Mapping[str, Any]) -> None:
        """Raises ConfigError where the folder holds traces that were made otherwise."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        marker = path / MADE_WITH
        if marker.is_file() and (path / TRACES).is_file() and (path / TRACES).stat().st_size:
            before = read_json(marker)
            odd = next((key for key in made_with if before.get(key) != made_with[key]), None)
            if odd is not None:
                raise ConfigError(
                    f"{path} holds traces made with {odd}={before.get(odd)!r}, not {made_with[odd]!r}; "
                    "take another --out"
                )
        write_json(marker, made_with)
        self.verdicts: dict[str, str] = {}
        if (path / TRACES).is_file():
            whole = list(read_lines(path / TRACES))
            write_text(path / TRACES, "".join(line_of(row) + "\n" for row in whole))  # without a line cut short
            self.verdicts = {row["sample_id"]: row["rejected"] for row in whole}
        self._lines = JsonLines(path / TRACES)

    def add(self, trace: LinkedTrace, sample: Sample, *, rejected: str, reply: str) -> None:
        """One trace with its verdict and the model's own words; on disk when this returns."""
        self._lines.append({**asdict(trace), "about": subject(sample), "rejected": rejected, "reply": reply})
        self.verdicts[trace.sample_id] = rejected

    def counts(self) -> dict[str, int]:
        """Traces by verdict; "kept" for those without a reason against them."""
        return dict(Counter(verdict or "kept" for verdict in self.verdicts.values()))

    def export(self, samples: Mapping[str, Sample]) -> int:
        """Write the kept ones for other trainers, in the folder's order. Returns how many."""
        rows = [_row(trace, samples[trace.sample_id]) for trace in kept_traces(self.path, samples)]
        chat = [{"messages": row["messages"], "images": row["images"]} for row in rows]
        write_text(self.path / CHAT, "".join(line_of(one) + "\n" for one in chat))
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), self.path / PARQUET)
        return len(rows)

    def close(self) -> None:
        """Close the open file."""
        self._lines.close()


def kept_traces(folder: Path, samples: Mapping[str, Sample]) -> Iterator[LinkedTrace]:
    """The traces that were kept and are about these samples, by id.

    Raises DataError where the folder is none, a line is broken, or a sample of the same id has another image, answer or
    order of options than the one that the trace was written for (its letters would then be wrong).
    """
    if not (folder / TRACES).is_file():
        raise DataError(f"{folder} is not a folder of traces: it has no {TRACES}")
    for number, row in enumerate(read_lines(folder / TRACES), start=1):
        try:
            trace, about = _trace(row), row["about"]
        except (KeyError, TypeError) as err:
            raise DataError(f"{folder / TRACES}:{number}: not a trace: {err!r}") from None
        if row["rejected"] or trace.sample_id not in samples:
            continue
        if about != subject(samples[trace.sample_id]):
            raise DataError(
                f"{folder / TRACES}:{number}: sample {trace.sample_id} has another image, answer or order of options "
                "now; use the data settings that the traces were made with (data.option_order, the rows' ids)"
            )
        yield trace


def subject(sample: Sample) -> dict[str, Any]:
    """What a trace was written for, to be compared when it is used."""
    return {"image": sample.image.sha256, "options": list(sample.options), "answer": list(sample.answer)}


def _trace(row: Mapping[str, Any]) -> LinkedTrace:
    return LinkedTrace(
        sample_id=row["sample_id"],
        text=row["text"],
        findings=tuple(row["findings"]),
        conclusion=tuple(row["conclusion"]),
        relations=tuple(Relation(**relation) for relation in row["relations"]),
        snapshot=row["snapshot"],
    )


def _row(trace: LinkedTrace, sample: Sample) -> dict[str, Any]:
    prompt = build_prompt(sample, group_id=0, seed=0)
    return {
        "id": sample.id,
        "messages": [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": f"<image>\n{prompt.user}"},
            {"role": "assistant", "content": trace.text},
        ],
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
