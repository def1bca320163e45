"""What to search for about a finding and a label, and whether a passage states both. Shared by traces and reward."""

from __future__ import annotations

from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.types import Evidence


def relation_query(finding: str, label: str, vocabulary: Vocabulary) -> str:
    """What to search for."""
    return f"{vocabulary.name(finding)} {label}"


def passage_words(passage: Evidence | Passage) -> str:
    """A passage as it is read: its headings are part of what it says."""
    return f"{passage.title}. {passage.section}. {passage.text}"


def states(passage: Evidence | Passage, *, finding: str, label: str, vocabulary: Vocabulary) -> bool:
    """Whether the passage speaks of the finding, as seen or as possible ("may show"), and names the label, each by any
    of its names."""
    text = passage_words(passage)
    reading = read_chain(text, vocabulary)
    return any(m.finding == finding for m in reading.asserted + reading.hedged) and any(
        key == label for key, _, _ in vocabulary.label_matcher.find(text)
    )
