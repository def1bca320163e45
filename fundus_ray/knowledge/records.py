"""Domain-knowledge records DK[label, modality], after Fundus-R1: which findings a label requires, which support it,
which speak against it.

In: `records/*.yaml` beside this file and a user's own folder, one label a file. Out: `Records`, checked against the
vocabulary. A file:

    record:
      label: glaucoma
      sources: [where the rules come from, ...]
      modalities:
        CFP:
          required: [enlarged_cup]
          any_of: [[rim_notch, nerve_fibre_layer_defect]]  # may be left out: one of each group is required
          supportive: []
          contradicting: [disc_swelling]
          rule: One or two sentences.
      aliases: [...]                         # a new label's other words; only in a user's folder
      accepted: {by: A. Name, on: 2026-01-31}  # who accepted a drafted record, and when
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fundus_ray.errors import DataError
from fundus_ray.knowledge.matcher import normalise
from fundus_ray.knowledge.vocabulary import HERE, Vocabulary, load_vocabulary, load_yaml, strings
from fundus_ray.types import Modality

RECORDS_DIR = HERE / "records"
_KEYS = ("label", "sources", "modalities")
_OPTIONAL = ("aliases", "accepted")
_LISTS = ("required", "supportive", "contradicting")
_GROUPS = "any_of"
_MODALITIES = {m.value: m for m in Modality}


@dataclass(frozen=True, slots=True)
class Record:
    """What one label looks like in one modality. A finding stands in one list or group; one that stands in none is
    neutral."""

    label: str
    modality: Modality
    required: tuple[str, ...]  # finding ids: without one of these the label is not supported
    supportive: tuple[str, ...]
    contradicting: tuple[str, ...]
    rule: str  # one or two sentences
    sources: tuple[str, ...]
    accepted: tuple[str, str] | None = None  # by whom and when (ISO date), where a draft was accepted
    any_of: tuple[tuple[str, ...], ...] = ()  # of each group at least one finding is required; the commonest first

    @property
    def decisive(self) -> tuple[str, ...]:
        """The required findings and those of the groups: without any of these the label is not supported."""
        return (*self.required, *(finding for group in self.any_of for finding in group))

    @property
    def in_favour(self) -> tuple[str, ...]:
        """All findings that speak for the label, the decisive ones first."""
        return (*self.decisive, *self.supportive)


@dataclass(frozen=True)
class Records:
    """All records, found by label (or an alias of it) and modality. `vocabulary` knows the labels of all of them."""

    by_key: dict[tuple[str, Modality], Record]
    vocabulary: Vocabulary

    def get(self, label_text: str, modality: Modality) -> Record | None:
        """The record of a label or alias, in any letter case; None where there is none."""
        label = self.vocabulary.label(label_text)
        return None if label is None else self.by_key.get((label, modality))


def load_records(extra: Path | None = None) -> Records:
    """The shipped records, and those of a user's folder (setting knowledge.records_dir) where one is given.

    A user's record of a label and modality replaces the shipped one of the same label and modality; what it leaves out
    stays as shipped. A label that labels.yaml does not list is new: the vocabulary returned knows it and its aliases.
    The folder is read anew at each call. Raises DataError naming the folder or file where one is broken.
    """
    shipped = _shipped()
    if extra is None:
        return shipped
    files = _user_files(extra)
    new = _new_labels(files, vocabulary=shipped.vocabulary)
    vocabulary = shipped.vocabulary.with_labels(new, source=extra) if new else shipped.vocabulary
    users = read_records(files, vocabulary=vocabulary)
    return Records(by_key=shipped.by_key | users.by_key, vocabulary=vocabulary)


def record_files(extra: Path | None = None) -> list[Path]:
    """The shipped record files, then those of a user's folder, each sorted. Raises DataError for a missing folder."""
    return sorted(RECORDS_DIR.glob("*.yaml")) + (_user_files(extra) if extra is not None else [])


def read_records(files: Sequence[Path], *, vocabulary: Vocabulary) -> Records:
    """The records in YAML files. Raises DataError naming the file where one is broken or given twice."""
    by_key: dict[tuple[str, Modality], Record] = {}
    for file in files:
        for record in _records(_row(file), file=file, vocabulary=vocabulary):
            if (record.label, record.modality) in by_key:
                raise DataError(f"{file}: there is another record of {record.label!r} in {record.modality.value}")
            by_key[record.label, record.modality] = record
    return Records(by_key=by_key, vocabulary=vocabulary)


@lru_cache(maxsize=1)
def _shipped() -> Records:
    return read_records(record_files(), vocabulary=load_vocabulary())


def _user_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of records (knowledge.records_dir)")
    return sorted(folder.glob("*.yaml"))


def _row(file: Path) -> dict[str, Any]:
    row: dict[str, Any] = load_yaml(file, key="record", kind=dict, alone=True)
    _check_keys(row, needed=_KEYS, optional=_OPTIONAL, file=file, what="a record")
    if not isinstance(row["label"], str) or not row["label"].strip():
        raise DataError(f"{file}: label must be a name, got {row['label']!r}")
    return row


def _new_labels(files: Sequence[Path], *, vocabulary: Vocabulary) -> dict[str, tuple[str, ...]]:
    """Labels that the vocabulary lacks, with their aliases. Each phrase must be free, or the label's own."""
    new: dict[str, tuple[str, ...]] = {}
    owners: dict[str, str] = {}
    for file in files:
        row = _row(file)
        label, aliases = row["label"], strings(row.get("aliases"), file=file, what="aliases")
        known = label in vocabulary.labels
        for phrase in aliases if known else (label, *aliases):
            owner = vocabulary.label(phrase) or owners.setdefault(normalise(phrase), label)
            if owner != label:
                raise DataError(f"{file}: {phrase!r} belongs to {owner!r} and cannot stand for {label!r}")
            if known and vocabulary.label(phrase) is None:
                raise DataError(f"{file}: {label!r} is a known label, which takes no new alias {phrase!r}")
        if not known:
            new[label] = new.get(label, ()) + aliases
    return new


def _records(row: dict[str, Any], *, file: Path, vocabulary: Vocabulary) -> Iterator[Record]:
    if row["label"] not in vocabulary.labels:
        raise DataError(f"{file}: label {row['label']!r} is not in labels.yaml")
    sources = strings(row["sources"], file=file, what="sources")
    if not sources:
        raise DataError(f"{file}: a record needs at least one source")
    modalities = row["modalities"]
    if not isinstance(modalities, dict) or not modalities:
        raise DataError(f"{file}: modalities must hold one or more of {', '.join(_MODALITIES)}")
    accepted = _accepted(row.get("accepted"), file=file)
    for name, content in modalities.items():
        if name not in _MODALITIES:
            raise DataError(f"{file}: modality {name!r} is not one of {', '.join(_MODALITIES)}")
        lists, groups, rule = _content(content, file=file, modality=name, vocabulary=vocabulary)
        yield Record(
            label=row["label"],
            modality=_MODALITIES[name],
            rule=rule,
            sources=sources,
            accepted=accepted,
            any_of=groups,
            **lists,
        )


def _content(
    content: Any, *, file: Path, modality: str, vocabulary: Vocabulary
) -> tuple[dict[str, tuple[str, ...]], tuple[tuple[str, ...], ...], str]:
    if not isinstance(content, dict):
        raise DataError(f"{file}: {modality} must hold {', '.join(_LISTS)} and rule, got {content!r}")
    _check_keys(content, needed=(*_LISTS, "rule"), optional=(_GROUPS,), file=file, what=modality)
    rule = content["rule"]
    if not isinstance(rule, str) or not rule.strip():
        raise DataError(f"{file}: {modality}: rule must be a sentence")
    lists = {key: strings(content[key], file=file, what=f"{modality}: {key}") for key in _LISTS}
    groups = _groups(content.get(_GROUPS), file=file, modality=modality)
    seen: dict[str, str] = {}
    for key, findings in (*lists.items(), *((_GROUPS, group) for group in groups)):
        for finding in findings:
            if finding not in vocabulary.findings:
                raise DataError(f"{file}: {modality}: {key}: finding {finding!r} is not in findings.yaml")
            if finding in seen:
                raise DataError(f"{file}: {modality}: finding {finding!r} stands under {seen[finding]} and under {key}")
            seen[finding] = key
    return lists, groups, rule.strip()


def _groups(value: Any, *, file: Path, modality: str) -> tuple[tuple[str, ...], ...]:
    what = f"{modality}: {_GROUPS}"
    if not isinstance(value, list | None):
        raise DataError(f"{file}: {what} must be a list of groups such as [[drusen, hard_exudate]], got {value!r}")
    groups = tuple(strings(group, file=file, what=f"{what}: a group") for group in value or ())
    for group in groups:
        if len(group) < 2:
            raise DataError(f"{file}: {what}: a group needs two or more findings, got {list(group)}; one is `required`")
    return groups


def _accepted(value: Any, *, file: Path) -> tuple[str, str] | None:
    if value is None:
        return None
    if isinstance(value, dict):
        # YAML reads the unquoted key `on` as true, and an unquoted date as a date.
        fields = {"on" if key is True else key: field for key, field in value.items()}
        if set(fields) == {"by", "on"} and isinstance(fields["by"], str) and fields["by"].strip():
            with suppress(ValueError):
                return fields["by"].strip(), datetime.date.fromisoformat(str(fields["on"])).isoformat()
    raise DataError(f"{file}: accepted must be {{by: NAME, on: YYYY-MM-DD}}, got {value!r}")


def _check_keys(row: dict[str, Any], *, needed: Sequence[str], optional: Sequence[str], file: Path, what: str) -> None:
    missing = [key for key in needed if key not in row]
    unknown = [key for key in row if key not in (*needed, *optional)]
    if missing or unknown:
        odd = f"{missing[0]!r} is missing" if missing else f"{unknown[0]!r} is unknown"
        raise DataError(f"{file}: key {odd}; {what} has {', '.join(needed)}")
