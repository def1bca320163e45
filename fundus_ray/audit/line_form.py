"""What a line of scored rollouts must look like, field by field.

In: a line's fields, from JSON. Out: what is wrong with the first field that is wrong, in words, or nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fundus_ray.types import Modality, RewardStatus, Verdict

SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a value must be: in words, and as a test of it."""

    said: str
    fits: Callable[[Any], bool]


def problem(fields: Mapping[str, Any]) -> str:
    """What is wrong with the first wrong field, by its name; "" where all are well. Fields that are not known here do
    not count, and neither do those that older lines lack."""
    since = {name: kind for name, kind in _SINCE.items() if name in fields}
    whole = _wrong(fields, _LINE, "") or _wrong(fields["policy"], _POLICY, "policy.") or _wrong(fields, since, "")
    if whole:
        return whole
    items = (
        _wrong(item, kinds, f"{name}[{place}].")
        for name, kinds in (("claims", _CLAIM), ("evidence", _EVIDENCE))
        for place, item in enumerate(fields[name])
    )
    return next(filter(None, items), "")


def _wrong(fields: Mapping[str, Any], kinds: Mapping[str, _Kind], before: str) -> str:
    for name, kind in kinds.items():
        if name not in fields:
            return f"no `{before}{name}` in it"
        if not kind.fits(fields[name]):
            value = repr(fields[name])
            shown = value if len(value) <= SHOWN_CHARS else f"{value[:SHOWN_CHARS]}..."
            return f"`{before}{name}` must be {kind.said}, not {shown}"
    return ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _one_of(*allowed: str) -> _Kind:
    return _Kind(f"one of {', '.join(allowed)}", lambda value: _is_text(value) and value in allowed)


def _or_null(kind: _Kind) -> _Kind:
    return _Kind(f"{kind.said} or null", lambda value: value is None or kind.fits(value))


_TEXT = _Kind("a text", _is_text)
_WHOLE = _Kind("a whole number", _is_whole)
_NUMBER = _Kind("a number", _is_number)
_TRUTH = _Kind("true or false", lambda value: isinstance(value, bool))
_TEXTS = _Kind("a list of texts", _are_texts)
_OBJECTS = _Kind("a list of objects", _are_objects)
_WEIGHTS = _Kind("an object of numbers", lambda value: isinstance(value, dict) and all(map(_is_number, value.values())))
_PARTS = _Kind(
    "an object of numbers or nulls",
    lambda value: isinstance(value, dict) and all(v is None or _is_number(v) for v in value.values()),
)
_PIXELS = _Kind(
    "two whole numbers", lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_whole, value))
)

_LINE = {
    "id": _TEXT,
    "group_id": _WHOLE,
    "sample": _TEXT,
    "image": _TEXT,
    "image_sha256": _TEXT,
    "image_px": _PIXELS,
    "modality": _one_of(*(m.value for m in Modality)),
    "question": _TEXT,
    "options": _TEXTS,
    "gold_answer": _TEXTS,
    "gold_findings": _or_null(_TEXTS),
    "task": _TEXT,
    "source": _TEXT,
    "split": _TEXT,
    "patient_id": _TEXT,
    "worker": _TEXT,
    "text": _TEXT,
    "finish_reason": _TEXT,
    "policy": _Kind("an object", lambda value: isinstance(value, dict)),
    "seed": _WHOLE,
    "total": _NUMBER,
    "parts": _PARTS,
    "status": _one_of(*(s.value for s in RewardStatus)),
    "answer": _or_null(_TEXTS),
    "findings": _TEXTS,
    "claims": _OBJECTS,
    "explanation": _TEXTS,
    "evidence": _OBJECTS,
    "snapshot": _TEXT,
}
_SINCE = {"recited": _or_null(_TEXTS), "weights": _WEIGHTS}  # fields that older lines lack
_POLICY = {"step": _WHOLE, "sha256": _TEXT}
_CLAIM = {
    "finding": _TEXT,
    "label": _TEXT,
    "supports": _TRUTH,
    "verdict": _one_of(*(v.value for v in Verdict)),
    "confidence": _NUMBER,
    "checker": _TEXT,
    "passage_id": _TEXT,
    "why": _TEXT,
}
_EVIDENCE = {"id": _TEXT, "title": _TEXT, "section": _TEXT, "excerpt": _TEXT, "score": _NUMBER}
