"""Domain-knowledge records DK[label, modality], after Fundus-R1: which findings a label requires, which support it,
which speak against it.

In: `records/*.yaml` beside this file, one record a file. Out: `Records`, checked against the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fundus_ray.errors import DataError
from fundus_ray.knowledge.vocabulary import HERE, Vocabulary, load_vocabulary, load_yaml, strings
from fundus_ray.types import Modality

RECORDS_DIR = HERE / "records"
_KEYS = ("label", "modality", "required", "supportive", "contradicting", "rule", "sources")


@dataclass(frozen=True, slots=True)
class Record:
    """What one label looks like in one modality. The three finding lists share no id; a finding in none is neutral."""

    label: str
    modality: Modality
    required: tuple[str, ...]  # finding ids: without one of these the label is not supported
    supportive: tuple[str, ...]
    contradicting: tuple[str, ...]
    rule: str  # one sentence
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Records:
    """All records, found by label (or an alias of it) and modality."""

    by_key: dict[tuple[str, Modality], Record]
    vocabulary: Vocabulary

    def get(self, label_text: str, modality: Modality) -> Record | None:
        """The record of a label or alias, in any letter case; None where there is none."""
        label = self.vocabulary.label(label_text)
        return None if label is None else self.by_key.get((label, modality))


@lru_cache(maxsize=1)
def load_records() -> Records:
    """The shipped records. Raises DataError naming the file where one is broken."""
    return read_records(record_files(), vocabulary=load_vocabulary())


def record_files() -> list[Path]:
    """The shipped record files, sorted."""
    return sorted(RECORDS_DIR.glob("*.yaml"))


def read_records(files: Sequence[Path], *, vocabulary: Vocabulary) -> Records:
    """The records in YAML files. Raises DataError naming the file where one is broken or given twice."""
    by_key: dict[tuple[str, Modality], Record] = {}
    for file in files:
        record = _record(load_yaml(file, key="record", kind=dict), file=file, vocabulary=vocabulary)
        if (record.label, record.modality) in by_key:
            raise DataError(f"{file}: there is another record of {record.label!r} in {record.modality.value}")
        by_key[record.label, record.modality] = record
    return Records(by_key=by_key, vocabulary=vocabulary)


def _record(row: dict[str, Any], *, file: Path, vocabulary: Vocabulary) -> Record:
    if sorted(row) != sorted(_KEYS):
        odd = sorted(set(row) ^ set(_KEYS))[0]
        raise DataError(
            f"{file}: key {odd!r} is {'unknown' if odd in row else 'missing'}; a record has {', '.join(_KEYS)}"
        )
    if row["label"] not in vocabulary.labels:
        raise DataError(f"{file}: label {row['label']!r} is not in labels.yaml")
    if row["modality"] not in {m.value for m in Modality}:
        raise DataError(f"{file}: modality {row['modality']!r} is not one of {', '.join(m.value for m in Modality)}")
    if not isinstance(row["rule"], str) or not row["rule"].strip():
        raise DataError(f"{file}: rule must be a sentence")
    lists = {
        key: strings(row[key], file=file, what=key) for key in ("required", "supportive", "contradicting", "sources")
    }
    if not lists["sources"]:
        raise DataError(f"{file}: a record needs at least one source")
    seen: dict[str, str] = {}
    for key in ("required", "supportive", "contradicting"):
        for finding in lists[key]:
            if finding not in vocabulary.findings:
                raise DataError(f"{file}: {key}: finding {finding!r} is not in findings.yaml")
            if finding in seen:
                raise DataError(f"{file}: finding {finding!r} stands under {seen[finding]} and under {key}")
            seen[finding] = key
    return Record(label=row["label"], modality=Modality(row["modality"]), rule=row["rule"].strip(), **lists)
