"""Chains to read in report.md: three rollouts of the last step, and the photograph.

In: a `RunRecord`. Out: Markdown. What the model wrote is fenced, so that it cannot change the page.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fundus_ray.obs.run_record import RunRecord

EXCERPT_CHARS = 300
SHOWN_PASSAGES = 3
OUT_OF_DISTRIBUTION = (
    "The policy has not learned from this photograph; what is expected, a normal eye, is its author's word. The chain "
    "shows that the path from pixels to words works on a real image; **it says nothing about this eye and is no "
    "medical reading**."
)
TRAINED_ON_PHOTO = "The policy was trained on views of this photograph: this is no test of it and no medical reading."


def chains_section(record: RunRecord) -> str:
    """Best, median and worst of the last step that wrote rollouts."""
    title = "## Three rollouts of the last step"
    scored = [r for r in record.last_rollouts if r["status"] != "unscorable"]
    if not scored:
        return f"{title}\n\nNo scored rollout was written in this run."
    chosen = pick_three(scored)
    return "\n\n".join([title, *(_chain(record, label, rollout) for label, rollout in chosen)])


def pick_three(rollouts: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """("best" | "median" | "worst", rollout) by total score; of fewer than three rollouts, as many as there are."""
    ranked = sorted(rollouts, key=lambda r: (-r["total"], r["group_id"], r["seed"]))
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    picked: dict[int, str] = {}
    for label, place in places.items():
        picked.setdefault(place, label)
    return [(label, ranked[place]) for place, label in picked.items()]


def photo_section(record: RunRecord) -> str:
    """The photograph's chain, where the run read it (fact "photo")."""
    photo = record.facts.get("photo")
    if not photo:
        return ""
    known = ("image", "question", "text", "answer")
    more = [f"- {name}: {_text(photo[name])}" for name in photo if name not in known]
    trained_on_it = record.config.get("data", {}).get("source") == "photo"
    lines = [
        "## A real photograph" if trained_on_it else "## A real photograph, out of distribution",
        "",
        TRAINED_ON_PHOTO if trained_on_it else OUT_OF_DISTRIBUTION,
        "",
        _image(record, photo.get("image")),
        "",
        f"- question: {_text(photo.get('question'))}",
        f"- answer read from the chain: {_text(photo.get('answer'))}",
        *more,
        "",
        _fenced(str(photo.get("text", ""))),
    ]
    return "\n".join(lines)


def _chain(record: RunRecord, label: str, r: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{name} {'n/a' if value is None else f'{value:.2f}'}" for name, value in r["parts"].items())
    lines = [
        f"### {label.capitalize()}: {r['total']:.3f} ({parts})",
        "",
        _image(record, r["image"], sha256=r.get("image_sha256", "")),
        "",
        f"- sample {_text(r['sample'])}, {r['modality']}: {_text(r['question'])}",
        f"- right answer: {_text(r['gold_answer'])}; chosen: {_text(r['answer'])}",
        f"- findings annotated: {_text(r['gold_findings'])}; asserted: {_text(r['findings'])}",
        f"- policy version {r['policy']['step']}, worker {r['worker']}, seed {r['seed']}"
        + ("" if r["trainable"] else f"; not trained on: {r['drop_reason']}"),
        "",
        _fenced(r["text"]),
        "",
        "Why this score:",
        "",
        *(f"- {_text(line)}" for line in r["explanation"] or ("no explanation was given",)),
        "",
        *_evidence(r["evidence"], snapshot=r["snapshot"]),
    ]
    return "\n".join(lines).rstrip()


def _evidence(evidence: Sequence[Mapping[str, Any]], *, snapshot: str) -> list[str]:
    if not evidence:
        return ["No passage was used."]
    lines = [f"Evidence (knowledge index {snapshot[:16]}):", ""]
    for e in evidence[:SHOWN_PASSAGES]:
        excerpt = _text(e["excerpt"])
        cut = excerpt if len(excerpt) <= EXCERPT_CHARS else excerpt[:EXCERPT_CHARS].rsplit(" ", 1)[0] + " …"
        lines.append(
            f"- **{_text(e['title'])}** ({_text(e['id'])}; {_text(e['source'])}; score {e['score']:.2f}): {cut}"
        )
    if len(evidence) > SHOWN_PASSAGES:
        lines.append(f"- and {len(evidence) - SHOWN_PASSAGES} more in the rollouts' file")
    return lines


def _image(record: RunRecord, path: str | None, *, sha256: str = "") -> str:
    if not path and sha256:
        return (
            f"image {sha256[:16]}: which file that is says "
            f"`fundus-ray data image {sha256[:16]} --config {record.path / 'config.yaml'}`"
        )
    if not path:
        return "(no image path)"
    shown = f"`{path}`"
    if not Path(path).is_file():
        return f"{shown} (no longer there)"
    return f"![the image](<{os.path.relpath(path, record.path)}>) {shown}"


def _fenced(text: str) -> str:
    """A fence longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"


def _text(value: object) -> str:
    """A value on one line; a list joined, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "none"
    return " ".join(str(value).split())
