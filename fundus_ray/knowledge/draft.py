"""A knowledge record for a new label, drafted by a language model out of retrieved passages, for a person to judge.

In: a label, a modality, passages, the model's reply. Out: a `Draft` and its YAML. Nothing of a draft is used before a
person has accepted it (review.py). After Fundus-R1's first stage, with the human in the loop that the paper asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from fundus_ray.errors import DataError
from fundus_ray.knowledge.matcher import normalise
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.types import Evidence, Modality, ModelReply, ModelRequest

LISTS = ("required", "supportive", "contradicting")
ALTERNATIVE = "alternative"  # a role, but no list of a record: all findings of this role are one any_of group
UNRELATED = "unrelated"
MOST_OTHERS = 5  # findings that the vocabulary does not know
_MEANING = {
    "required": "a sign without which the diagnosis is not supported",
    ALTERNATIVE: "one of several signs of which at least one is needed",
    "supportive": "a sign that is often there too",
    "contradicting": "a sign that speaks against it",
    UNRELATED: "mentioned for another reason",
}


@dataclass(frozen=True, slots=True)
class Draft:
    """What the model proposed, held against vocabulary and passages."""

    label: str
    modality: Modality
    findings: dict[str, tuple[str, ...]]  # list name -> finding ids
    any_of: tuple[tuple[str, ...], ...]
    rule: str
    citations: dict[str, tuple[str, ...]]  # finding id -> ids of passages that speak of it
    flagged: tuple[str, ...]  # what a person must look at, a line each
    sources: tuple[str, ...]
    snapshot: str
    model: str


def draft_queries(label: str, modality: Modality) -> list[str]:
    """What to search for."""
    return [f"{label} signs {modality.value}", f"{label} findings appearance", f"{label} telling apart differential"]


def speaks_of(passage: Evidence, label: str) -> bool:
    """Whether the passage names the label, which the vocabulary need not know yet."""
    words = re.sub(r"[^\w\s-]", " ", f"{passage.title} {passage.text}")
    return f" {normalise(label)} " in f" {normalise(words)} "


def spoken_of(passages: Sequence[Evidence], vocabulary: Vocabulary) -> dict[str, tuple[str, ...]]:
    """Finding id -> ids of the passages that speak of it, in the order of the text."""
    found: dict[str, list[str]] = {}
    for passage in passages:
        for key, _, _ in vocabulary.finding_matcher.find(f"{passage.section}. {passage.text}"):
            if passage.passage_id not in found.setdefault(key, []):
                found[key].append(passage.passage_id)
    return {key: tuple(ids) for key, ids in found.items()}


def draft_request(
    label: str, modality: Modality, passages: Sequence[Evidence], *, vocabulary: Vocabulary, max_tokens: int
) -> ModelRequest:
    """Which role has each finding that the passages speak of. Raises DataError where there is no passage.

    The model chooses among roles and cannot make a finding up; what the vocabulary does not know it may add as text.
    """
    if not passages:
        raise DataError(f"no passage speaks of {label!r}: add documents about it (knowledge.passages_dir)")
    names = [vocabulary.name(key) for key in spoken_of(passages, vocabulary)]
    text = {"type": "string", "maxLength": 60}
    schema = {
        "type": "object",
        "properties": {
            **{name: {"enum": list(_MEANING)} for name in names},
            "other": {"type": "array", "items": text, "maxItems": MOST_OTHERS},
            "rule": {"type": "string", "minLength": 20, "maxLength": 300},
        },
        "required": [*names, "other", "rule"],
        "additionalProperties": False,
    }
    user = "\n".join(
        [
            *(f"[{n}] {p.title}. {p.section}. {p.text}" for n, p in enumerate(passages, start=1)),
            "",
            f"By these passages alone, what is each finding to {label} in {modality.value} images?",
            *(f"{role}: {meaning}" for role, meaning in _MEANING.items()),
            f"Findings: {', '.join(names)}. other: further visible signs. rule: one sentence that links the signs to "
            f"{label}. Reply as JSON.",
        ]
    )
    system = "You extract ophthalmic knowledge from passages and add nothing of your own."
    return ModelRequest(system=system, user=user, max_tokens=max_tokens, schema=json.dumps(schema))


def read_draft(
    reply: ModelReply,
    *,
    label: str,
    modality: Modality,
    passages: Sequence[Evidence],
    vocabulary: Vocabulary,
    snapshot: str,
    model: str,
) -> Draft:
    """The roles as lists, each finding with the passages that speak of it; all that needs a person is flagged.

    Raises DataError where the reply was cut off or cannot be read.
    """
    citations = spoken_of(passages, vocabulary)
    try:
        raw: Any = json.loads(reply.text) if reply.complete else None
        roles = {key: str(raw[vocabulary.name(key)]) for key in citations}
        others = [" ".join(str(text).split()) for text in raw["other"]]
        rule = " ".join(str(raw["rule"]).split())
    except (ValueError, KeyError, TypeError) as err:
        what = "was cut off" if not reply.complete else f"cannot be read ({err!r})"
        raise DataError(f"the model's draft of {label!r} {what}: {reply.text[:200]!r}") from None
    findings = {name: tuple(key for key, role in roles.items() if role == name) for name in LISTS}
    group = tuple(key for key, role in roles.items() if role == ALTERNATIVE)
    flagged = [f"{text!r} is not in the vocabulary" for text in dict.fromkeys(others) if text]
    if len(group) == 1:  # the only one of which at least one is needed
        findings["required"] += group
        flagged.append(f"{vocabulary.name(group[0])!r} was named as an alternative to nothing and stands as required")
    if not findings["required"] and not group:
        flagged.append("no finding is required: every chain would be consistent with this label")
    flagged.append("every role and the rule are a model's word: hold them against the cited passages")
    return Draft(
        label=label,
        modality=modality,
        findings=findings,
        any_of=(group,) if len(group) > 1 else (),
        rule=rule,
        citations={key: ids for key, ids in citations.items() if roles[key] in (*LISTS, ALTERNATIVE)},
        flagged=tuple(flagged),
        sources=tuple(dict.fromkeys(p.source for p in passages)),
        snapshot=snapshot,
        model=model,
    )


def draft_yaml(draft: Draft, *, on: str) -> str:
    """As records lie on disk, with a section `draft` that says where it comes from and what to look at."""
    content: dict[str, Any] = {name: list(ids) for name, ids in draft.findings.items()}
    if draft.any_of:
        content["any_of"] = [list(group) for group in draft.any_of]
    tree: dict[str, Any] = {
        "record": {
            "label": draft.label,
            "sources": list(draft.sources),
            "modalities": {draft.modality.value: {**content, "rule": draft.rule}},
        },
        "draft": {
            "model": draft.model,
            "on": on,
            "snapshot": draft.snapshot,
            "citations": {finding: list(ids) for finding, ids in draft.citations.items()},
            "look_at": list(draft.flagged),
        },
    }
    head = "# Drafted by a model. Judge, edit, then: fundus-ray knowledge records accept FILE --by NAME --into DIR\n"
    return head + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=110)
