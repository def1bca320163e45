"""What the generic multimodal model is asked about an image, and what its reply says.

In: a modality, the findings that may be named. Out: a `ModelRequest` whose schema allows nothing but those names; and
from the reply, finding ids.

The label is not part of the question: the model must see, not justify.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from fundus_ray.knowledge.records import Records
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.prompt import system_line
from fundus_ray.types import Modality, ModelReply, ModelRequest

PROMPT_VERSION = 1  # part of what a folder of traces was made with: raise it whenever the words below change


def candidates(records: Records, modality: Modality, labels: Iterable[str]) -> tuple[str, ...]:
    """Ids of the findings that speak for some label by its record in this modality, in a fixed order.

    `labels`: all that the data set asks about, so that no single image's question gives its answer away.
    """
    found = [records.get(label, modality) for label in set(labels)]
    return tuple(sorted({f for r in found if r is not None for f in r.in_favour}))


def finding_request(modality: Modality, names: Sequence[str], *, max_findings: int, max_tokens: int) -> ModelRequest:
    """Name what you see, out of `names`; at most `max_findings` of them."""
    schema = {
        "type": "object",
        "properties": {"findings": {"type": "array", "items": {"enum": list(names)}, "maxItems": max_findings}},
        "required": ["findings"],
        "additionalProperties": False,
    }
    user = (
        f"Which of these findings does the image show? {', '.join(names)}.\n"
        'Name only what you see. Reply as {"findings": [...]}, with an empty list where there is none of them.'
    )
    return ModelRequest(system=system_line(modality), user=user, max_tokens=max_tokens, schema=json.dumps(schema))


def findings_of(reply: ModelReply, vocabulary: Vocabulary) -> tuple[str, ...] | None:
    """Ids of the named findings, each once; None where the reply was cut off or is not as asked."""
    if not reply.complete:
        return None
    try:
        named = json.loads(reply.text)["findings"]
        ids = [vocabulary.finding_id(name) for name in named]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return tuple(dict.fromkeys(f for f in ids if f is not None)) if None not in ids else None
