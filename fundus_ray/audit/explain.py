"""One scored rollout in words, for a clinician: the question, what the chain says, what each part of its score is for.

In: a line of a run's rollouts, and the vocabulary. Out: text for a terminal.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.steps import Reading, read_chain
from fundus_ray.types import RewardStatus

WIDTH = 110
SNIPPET_CHARS = 300
LEGEND = (
    "the chain; [+finding] asserted, [-finding] denied, [?finding] said to be possible; each finding is marked once,\n"
    "where the chain first says it (asserted, denied and possible each count alone), and not where it says it again"
)


def explain(line: Mapping[str, Any], vocabulary: Vocabulary) -> str:
    """The whole account. The findings are marked as this version of the software reads them."""
    reading = read_chain(line["text"], vocabulary)
    blocks = [
        _head(line, vocabulary),
        f"{LEGEND}\n{_marked(line['text'], reading)}",
        _score(line, vocabulary),
        _claims(line, vocabulary),
        _passages(line),
    ]
    return printable("\n\n".join(block for block in blocks if block))


def mentions(reading: Reading) -> list[tuple[str, str, int, int]]:
    """(polarity, finding, start, end) of every finding in the text, in text order."""
    kinds = (("asserted", reading.asserted), ("denied", reading.denied), ("hedged", reading.hedged))
    return sorted(((kind, m.finding, m.start, m.end) for kind, group in kinds for m in group), key=lambda m: m[2:])


def no_score(explanation: Iterable[str]) -> str:
    """Of an unscorable rollout: that it has no score, and why."""
    return f"no score: {'; '.join(reason.removeprefix('not scored: ') for reason in explanation)}"


def printable(text: str) -> str:
    """The text without what could steer a terminal: a chain is written by a model."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def _head(line: Mapping[str, Any], vocabulary: Vocabulary) -> str:
    options = "; ".join(f"{letter}. {text}" for letter, text in zip(ascii_uppercase, line["options"], strict=False))
    annotated = line["gold_findings"]
    rows = [
        ("rollout", f"{line['id']} of policy version {line['policy']['step']}; sample {line['sample']}"),
        ("image", f"{line['image'] or 'sha256 ' + line['image_sha256']} ({line['modality']})"),
        ("question", line["question"]),
        ("options", options or "(answered in free text)"),
        ("right answer", ", ".join(line["gold_answer"])),
        ("on the image", "not annotated" if annotated is None else _names(annotated, vocabulary)),
    ]
    return "\n".join(_wrapped(f"{name:<13} ", text) for name, text in rows)


def _marked(text: str, reading: Reading) -> str:
    signs = {"asserted": "+", "denied": "-", "hedged": "?"}
    parts, done = [], 0
    for kind, _, start, end in mentions(reading):
        if start >= done:
            parts += [text[done:start], f"[{signs[kind]}{text[start:end]}]"]
            done = end
    return textwrap.indent(
        "\n".join(textwrap.fill(row, WIDTH - 3) for row in "".join([*parts, text[done:]]).split("\n")), "   "
    )


def _score(line: Mapping[str, Any], vocabulary: Vocabulary) -> str:
    if line["status"] == RewardStatus.UNSCORABLE.value:
        return _wrapped("total         ", no_score(line["explanation"]))
    said = "none that can be read" if line["answer"] is None else ", ".join(line["answer"])
    weights = line.get("weights") or {}
    rows = [
        f"answer        {said}",
        f"findings      {_names(line['findings'], vocabulary)}",
        _wrapped("total         ", _total(line, weights)),
    ]
    if line.get("recited"):
        rows.append(f"recited       {_names(line['recited'], vocabulary)}: fits the answer, but is not on the image")
    reasons = _by_part(line["explanation"], line["parts"])
    for name, value in line["parts"].items():
        worth = "does not apply" if value is None else f"{value:.3f}{_weight(weights.get(name))}"
        rows.append(f"   {name:<13}{worth}")
        rows += [_wrapped("      - ", reason) for reason in reasons.pop(name, ())]
    rows += [_wrapped("   - ", reason) for reason in reasons.pop("", ())]
    return "\n".join(rows)


def _total(line: Mapping[str, Any], weights: Mapping[str, float]) -> str:
    """The total, and how it comes of the parts and their weights."""
    total = f"{line['total']:.3f}"
    if line["status"] == RewardStatus.UNPARSEABLE.value:
        return f"{total}: without an answer that can be read the total is 0, whatever the parts are"
    if not weights:
        return f"{total}, the weighted mean of the parts that apply; the weights are not on record"
    counted = [(weights.get(name, 0.0), value) for name, value in line["parts"].items() if value is not None]
    counted = [(weight, value) for weight, value in counted if weight]
    if not counted:
        return f"{total}: no part with a weight applies"
    summed = " + ".join(f"{weight:g} x {value:.3f}" for weight, value in counted)
    return f"{total} = ({summed}) / {math.fsum(weight for weight, _ in counted):g}"


def _weight(weight: float | None) -> str:
    if weight is None:
        return ""
    return f" (weight {weight:g})" if weight else " (weight 0: not counted)"


def _by_part(explanation: Iterable[str], parts: Mapping[str, Any]) -> dict[str, list[str]]:
    """Reasons by the part that they begin with; under "" those that begin with none."""
    found: dict[str, list[str]] = {}
    for line in explanation:
        name, colon, rest = line.partition(": ")
        known = bool(colon) and name in parts
        found.setdefault(name if known else "", []).append(rest if known else line)
    return found


def _claims(line: Mapping[str, Any], vocabulary: Vocabulary) -> str:
    if not line["claims"]:
        return "" if line["status"] == RewardStatus.UNSCORABLE.value else "stated relations: none"
    passages = {e["id"]: e for e in line["evidence"]}
    rows = ["stated relations"]
    for claim in line["claims"]:
        joint = "speaks for" if claim["supports"] else "speaks against"
        finding = _names([claim["finding"]], vocabulary)
        said = f"{claim['verdict'].replace('_', ' ')} ({claim['checker']}, {claim['confidence']:.2f})"
        rows.append(_wrapped("   - ", f"{finding} {joint} {claim['label']}: {said}: {claim['why']}"))
        if claim["passage_id"] in passages:
            rows.append(_passage("     ", passages[claim["passage_id"]]))
    return "\n".join(rows)


def _passages(line: Mapping[str, Any]) -> str:
    """Those that no relation has shown already."""
    shown = {claim["passage_id"] for claim in line["claims"]}
    rest = {e["id"]: e for e in line["evidence"] if e["id"] not in shown}
    rows = [
        f"passages found (knowledge snapshot {line['snapshot']})" if rest else f"knowledge snapshot {line['snapshot']}"
    ]
    return "\n".join([*rows, *(_passage("   - ", e) for e in rest.values())])


def _passage(lead: str, e: Mapping[str, Any]) -> str:
    title = f"{e['title']}: {e['section']}" if e["section"] else e["title"]
    text = textwrap.shorten(e["excerpt"], SNIPPET_CHARS, placeholder=" ...")
    return _wrapped(lead, f"{title} ({e['id']}, score {e['score']:.3g}): {text}")


def _names(findings: Sequence[str], vocabulary: Vocabulary) -> str:
    # A user's own vocabulary may be gone: its ids then stand for themselves.
    known = vocabulary.findings
    return ", ".join(known[f].name if f in known else f for f in findings) or "none"


def _wrapped(lead: str, text: str) -> str:
    return textwrap.fill(" ".join(str(text).split()), WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead))
