"""The vocabulary of findings and labels.

In: `findings.yaml`, `labels.yaml` and `abbreviations.yaml` beside this file. Out: a `Vocabulary`, which reads the first
two in free text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from fundus_ray.errors import DataError
from fundus_ray.knowledge.matcher import Matcher

HERE = Path(__file__).parent
FINDINGS_FILE = HERE / "findings.yaml"
LABELS_FILE = HERE / "labels.yaml"
ABBREVIATIONS_FILE = HERE / "abbreviations.yaml"
# The same safe loader in C, where PyYAML was built with it: a tenth of the time for a hundred files.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_VERBS = ("is", "are", "looks", "look", "appears", "appear", "seems", "seem", "is not", "are not", "isn't", "aren't")


@dataclass(frozen=True, slots=True)
class Finding:
    """One visible sign. `name` is how chains write it; `synonyms` are the other ways to read it.

    `predicates` are clauses that state it ("disc is swollen") or, with "not" in them, deny it.
    """

    id: str
    name: str
    synonyms: tuple[str, ...]
    hpo: str | None  # Human Phenotype Ontology id
    predicates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """All findings by id, all labels with their aliases, and a matcher of each; what abbreviations mean in a query."""

    findings: dict[str, Finding]
    labels: dict[str, tuple[str, ...]]
    finding_matcher: Matcher
    label_matcher: Matcher
    abbreviations: Mapping[str, tuple[str, ...]]  # as written -> what it stands for

    def name(self, finding_id: str) -> str:
        """How chains write the finding. Raises KeyError for an unknown id."""
        return self.findings[finding_id].name

    def finding_id(self, text: str) -> str | None:
        """The id of a finding given by id, name or synonym, or None."""
        return text if text in self.findings else self.finding_matcher.exact(text)

    def ids(self, findings: Sequence[str]) -> tuple[str, ...]:
        """Ids of findings given by id, name or synonym, each once. Raises DataError for an unknown one."""
        found = [self.finding_id(text) for text in findings]
        if None in found:
            raise DataError(f"finding {findings[found.index(None)]!r} is not in the vocabulary")
        return tuple(dict.fromkeys(key for key in found if key is not None))

    def label(self, text: str) -> str | None:
        """The label that the whole text names (itself or an alias), or None."""
        return self.label_matcher.exact(text.strip().rstrip("."))

    def with_labels(self, labels: Mapping[str, tuple[str, ...]], *, source: Path) -> Vocabulary:
        """This vocabulary and further labels with their aliases.

        Raises DataError naming `source` where a phrase has another owner.
        """
        more = {**self.labels, **labels}
        return replace(self, labels=more, label_matcher=_label_matcher(more, file=source))


@lru_cache(maxsize=1)
def load_vocabulary() -> Vocabulary:
    """The shipped vocabulary. Raises DataError naming the file where it is broken."""
    return read_vocabulary(FINDINGS_FILE, LABELS_FILE, ABBREVIATIONS_FILE)


def read_vocabulary(findings_file: Path, labels_file: Path, abbreviations_file: Path | None = None) -> Vocabulary:
    """The vocabulary in its YAML files. Raises DataError naming the file where it is broken."""
    findings: dict[str, Finding] = {}
    for row in load_yaml(findings_file, key="findings", kind=list):
        finding = _finding(row, file=findings_file)
        if finding.id in findings:
            raise DataError(f"{findings_file}: finding {finding.id} is listed twice")
        findings[finding.id] = finding
    raw_labels = load_yaml(labels_file, key="labels", kind=dict)
    labels = {
        str(label): strings(aliases, file=labels_file, what=f"{label}: aliases")
        for label, aliases in raw_labels.items()
    }
    return Vocabulary(
        findings=findings,
        labels=labels,
        finding_matcher=_matcher(
            {f.id: (f.name, *f.synonyms, *f.predicates) for f in findings.values()},
            file=findings_file,
            short_in_capitals=True,
        ),
        label_matcher=_label_matcher(labels, file=labels_file),
        abbreviations={} if abbreviations_file is None else _abbreviations(abbreviations_file),
    )


def load_yaml(file: Path, *, key: str, kind: type, alone: bool = False) -> Any:
    """The value of the top-level `key`, of type `kind`, in a YAML file; `alone`: there must be no other key.

    Raises DataError naming the file.
    """
    try:
        tree = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise DataError(f"{file}: cannot be read: {' '.join(str(err).split())}") from None
    if not isinstance(tree, dict) or not isinstance(tree.get(key), kind):
        raise DataError(f"{file}: must hold `{key}:` with a {kind.__name__}")
    if alone and len(tree) > 1:
        other = next(name for name in tree if name != key)
        raise DataError(f"{file}: holds `{other}:` beside `{key}:`; a draft must be accepted before it is read")
    return tree[key]


def strings(value: Any, *, file: Path, what: str) -> tuple[str, ...]:
    """A YAML list of strings (an absent one is empty). Raises DataError naming the file and `what`."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise DataError(f"{file}: {what} must be a list of words, got {value!r} (quote YAML words such as yes or no)")
    return tuple(value)


def _abbreviations(file: Path) -> dict[str, tuple[str, ...]]:
    rows = load_yaml(file, key="abbreviations", kind=dict)
    return {str(short): strings(meanings, file=file, what=str(short)) for short, meanings in rows.items()}


def _label_matcher(labels: Mapping[str, tuple[str, ...]], *, file: Path) -> Matcher:
    return _matcher({label: (label, *aliases) for label, aliases in labels.items()}, file=file)


def _finding(row: Any, *, file: Path) -> Finding:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not isinstance(row.get("name"), str):
        raise DataError(f"{file}: every finding needs `id` and `name`, got {row!r}")
    unknown = set(row) - {"id", "name", "synonyms", "hpo", "predicates"}
    if unknown:
        raise DataError(f"{file}: finding {row['id']}: unknown key {sorted(unknown)[0]!r}")
    hpo = row.get("hpo")
    if hpo is not None and not re.fullmatch(r"HP:\d{7}", str(hpo)):
        raise DataError(f"{file}: finding {row['id']}: hpo must look like HP:0000000, got {hpo!r}")
    synonyms = strings(row.get("synonyms"), file=file, what=f"finding {row['id']}: synonyms")
    predicates = _predicates(row.get("predicates", {}), file=file, finding=row["id"])
    return Finding(id=row["id"], name=row["name"], synonyms=synonyms, hpo=hpo, predicates=predicates)


def _predicates(nouns: Any, *, file: Path, finding: str) -> tuple[str, ...]:
    """{veins: [twisted]} -> "veins are twisted", "veins look twisted", "veins are not twisted", ...

    Singular and plural alike: the ending does not tell them apart (lens, media).
    """
    if not isinstance(nouns, dict):
        raise DataError(f"{file}: finding {finding}: predicates must map a noun to its adjectives, got {nouns!r}")
    phrases = []
    for noun, adjectives in nouns.items():
        for adjective in strings(adjectives, file=file, what=f"finding {finding}: predicates of {noun}"):
            phrases += [f"{noun} {verb} {adjective}" for verb in _VERBS]
    return tuple(phrases)


def _matcher(phrases_of: Mapping[str, tuple[str, ...]], *, file: Path, short_in_capitals: bool = False) -> Matcher:
    owner: dict[str, str] = {}
    for key, phrases in phrases_of.items():
        for phrase in phrases:
            if owner.setdefault(phrase, key) != key:
                raise DataError(f"{file}: {phrase!r} belongs to both {owner[phrase]} and {key}")
    try:
        return Matcher(owner, short_in_capitals=short_in_capitals)
    except ValueError as err:
        raise DataError(f"{file}: {err}") from None
