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
MOST_FINDINGS = 8  # of one list
_MEANING = {
    "required": "signs without which the diagnosis is not supported",
    "supportive": "signs that are often there too",
    "contradicting": "signs that speak against it",
}


@dataclass(frozen=True, slots=True)
class Draft:
    """What the model proposed, held against vocabulary and passages."""

    label: str
    modality: Modality
    findings: dict[str, tuple[str, ...]]  # list name -> finding ids
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


def draft_request(label: str, modality: Modality, passages: Sequence[Evidence], *, max_tokens: int) -> ModelRequest:
    """The passages by number, and what is wanted of them. Raises DataError where there is no passage."""
    if not passages:
        raise DataError(f"no passage speaks of {label!r}: add documents about it (knowledge.passages_dir)")
    texts = [f"[{n}] {p.title}. {p.section}. {p.text}" for n, p in enumerate(passages, start=1)]
    wanted = "; ".join(f"{name}: {what}" for name, what in _MEANING.items())
    finding = {
        "type": "object",
        "properties": {
            "finding": {"type": "string", "maxLength": 60},
            "passage": {"enum": list(range(1, len(passages) + 1))},
        },
        "required": ["finding", "passage"],
        "additionalProperties": False,
    }
    items = {"type": "array", "items": finding, "maxItems": MOST_FINDINGS}
    schema = {
        "type": "object",
        "properties": {**dict.fromkeys(LISTS, items), "rule": {"type": "string", "maxLength": 300}},
        "required": [*LISTS, "rule"],
        "additionalProperties": False,
    }
    user = (
        "\n".join(texts)
        + f"\n\nFrom these passages alone, list the visible signs of {label} in {modality.value} images, each with the "
        f"number of its passage. {wanted}. rule: one sentence that links the signs to {label}. Reply as JSON."
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
    """Findings that the vocabulary knows, each in one list only; all else is flagged. Raises DataError where the reply
    was cut off or cannot be read."""
    try:
        raw: Any = json.loads(reply.text) if reply.complete else None
        rows = [(name, str(row["finding"]), passages[int(row["passage"]) - 1]) for name in LISTS for row in raw[name]]
        rule = " ".join(str(raw["rule"]).split())
    except (ValueError, KeyError, TypeError, IndexError) as err:
        what = "was cut off" if not reply.complete else f"cannot be read ({err!r})"
        raise DataError(f"the model's draft of {label!r} {what}: {reply.text[:200]!r}") from None
    place: dict[str, str] = {}
    citations: dict[str, list[str]] = {}
    flagged: list[str] = []
    for name, text, passage in rows:
        finding = vocabulary.finding_id(text.strip())
        if finding is None:
            flagged.append(f"{name}: {text.strip()!r} is not in the vocabulary (cited {passage.passage_id})")
            continue
        if place.setdefault(finding, name) != name:
            flagged.append(f"{finding} was proposed as {place[finding]} and as {name}; kept as {place[finding]}")
        if any(key == finding for key, _, _ in vocabulary.finding_matcher.find(f"{passage.section}. {passage.text}")):
            citations.setdefault(finding, []).append(passage.passage_id)
        else:
            flagged.append(f"{finding}: the cited passage {passage.passage_id} does not speak of it")
    if not rule:
        flagged.append("rule: empty")
    return Draft(
        label=label,
        modality=modality,
        findings={name: tuple(f for f, at in place.items() if at == name) for name in LISTS},
        rule=rule or f"(write the rule that links the findings to {label})",
        citations={finding: tuple(dict.fromkeys(ids)) for finding, ids in citations.items()},
        flagged=tuple(dict.fromkeys(flagged)),
        sources=tuple(dict.fromkeys(p.source for p in passages)),
        snapshot=snapshot,
        model=model,
    )


def draft_yaml(draft: Draft, *, on: str) -> str:
    """As records lie on disk, with a section `draft` that says where it comes from and what to look at."""
    tree: dict[str, Any] = {
        "record": {
            "label": draft.label,
            "sources": list(draft.sources),
            "modalities": {
                draft.modality.value: {**{k: list(v) for k, v in draft.findings.items()}, "rule": draft.rule}
            },
        },
        "draft": {
            "model": draft.model,
            "on": on,
            "snapshot": draft.snapshot,
            "citations": {finding: list(ids) for finding, ids in draft.citations.items()},
            "look_at": list(draft.flagged),
        },
    }
    head = (
        "# Drafted by a language model. Judge it, edit it, then: fundus-ray knowledge records accept FILE --by NAME\n"
    )
    return head + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=110)
