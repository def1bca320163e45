"""A query's text in, what both stores search for out: clauses of a field, words and a weight. No engine is named here.

The text's words each make a clause, those apart that say nothing; what its abbreviations stand for makes phrases of the
same weight, and the other names of every finding and label in it (the vocabulary's) phrases of less. All of it is
expanded before any engine sees the query, so every engine sees the same one. A passage's score is the sum over the
clauses that it matches of weight x BM25.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.types import Modality

FIELDS = {"heading_words": 1.0, "text_words": 1.0}  # searched fields and their weight
SYNONYM_WEIGHT = 0.3
# Lucene's English stop words, and those of questions. One written in capitals is an abbreviation: ON, IT.
STOP_WORDS = frozenset(
    """a an and are as at be but by for if in into is it no not of on or such that the their then there these they
    this to was will with am can could did do does from had has have how i its me my should so vs versus what when
    where which who why would you your""".split()  # noqa: SIM905  # a list of 70 quoted words reads worse
)
MAX_WORDS = 64  # of a query, and as many phrases: more adds cost, not meaning
MAX_WORD_CHARS = 64  # a longer run of letters is no word
WORD = r"[^\W_]+"  # letters and digits of any script
_MODALITY_WORDS = {
    Modality.CFP: "colour fundus photograph",
    Modality.OCT: "optical coherence tomography",
    Modality.UWF: "ultra-wide-field photograph",
}


@dataclass(frozen=True, slots=True)
class Clause:
    """Adjacent words (one or more) sought in one field. Words hold letters and digits only, in lower case."""

    field: str
    words: tuple[str, ...]
    weight: float


def clauses(text: str, *, vocabulary: Vocabulary) -> tuple[Clause, ...]:
    """What to search for; empty for a text without words. Any text is a valid query."""
    words = [(word,) for word in dict.fromkeys(_telling_words(text))][:MAX_WORDS]
    meant = _meant(text, vocabulary)
    exact = [*words, *(phrase for phrase in dict.fromkeys(map(words_of, meant)) if phrase not in words)]
    names = dict.fromkeys(map(words_of, _names(" . ".join([text, *meant]), vocabulary)))
    phrases = [phrase for phrase in names if phrase and phrase not in exact][:MAX_WORDS]
    weighted = [(sought, 1.0) for sought in exact] + [(sought, SYNONYM_WEIGHT) for sought in phrases]
    return tuple(
        Clause(field=field, words=sought, weight=weight * boost)
        for sought, weight in weighted
        for field, boost in FIELDS.items()
    )


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, in lower case and in order; runs longer than MAX_WORD_CHARS are left out."""
    return tuple(word for word in re.findall(WORD, text.lower()) if len(word) <= MAX_WORD_CHARS)


def searched_fields(passage: Passage) -> dict[str, str]:
    """What of a passage is searched, by field: words between blanks, cut here because engines cut text differently.

    Title and section are one field because a field must never be empty: engines disagree on whether passages that
    lack a field count in its document frequencies. For the same reason a heading without words is given the id's.
    """
    heading = words_of(f"{passage.title} {passage.section}") or words_of(passage.id)
    return {"heading_words": " ".join(heading), "text_words": " ".join(words_of(passage.text))}


def with_modality(text: str, modality: Modality) -> str:
    """The query with the modality's name added, so that passages which speak of it rank higher."""
    return f"{text} {_MODALITY_WORDS[modality]}"


def _telling_words(text: str) -> list[str]:
    """The words without stop words, unless there are no others."""
    words = [word for word in re.findall(WORD, text) if len(word) <= MAX_WORD_CHARS]
    telling = [word for word in words if word.lower() not in STOP_WORDS or (len(word) > 1 and word.isupper())]
    return [word.lower() for word in telling or words]


def _meant(text: str, vocabulary: Vocabulary) -> list[str]:
    """What the abbreviations in the text stand for; `NVDs` is read as `NVD`."""
    table = vocabulary.abbreviations
    return [
        long for word in re.findall(WORD, text) for long in table.get(word) or table.get(word.removesuffix("s"), ())
    ]


def _names(text: str, vocabulary: Vocabulary) -> list[str]:
    """Every name of each finding and label in the text, in the order in which they stand there."""
    names: list[str] = []
    for key, _, _ in vocabulary.finding_matcher.find(text):
        finding = vocabulary.findings[key]
        names += [finding.name, *finding.synonyms]
    for key, _, _ in vocabulary.label_matcher.find(text):
        names += [key, *vocabulary.labels[key]]
    return names
