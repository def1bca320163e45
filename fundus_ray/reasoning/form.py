"""The form of a chain: its tags, headings and answer.

In: any text. Out: the tags and headings with their places, what is wrong with the form, the answer, and the prose: the
text without tags and answers, at the same offsets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

_TAG = re.compile(r"</?(?:think|answer)>")
_GRAMMAR = ("<think>", "</think>", "<answer>", "</answer>")
_HEADING = re.compile(r"\b(findings|conclusion)\s{0,3}:", re.ASCII | re.IGNORECASE)
_ROLE = re.compile(r"\b(?:required|supportive)\s{0,3}:", re.ASCII | re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.\s|\n")
# What may stand between a heading and its text: blanks, line ends, list marks.
_LEAD_IN = re.compile(r"(?:\s|[-*\u2022]{1,3}\s|\d{1,2}[.)]\s)*", re.ASCII)
Match = re.Match[str]


def tags(text: str) -> list[Match]:
    """Every tag of the grammar, opening or closing."""
    return list(_TAG.finditer(text))


def headings(prose: str) -> list[Match]:
    """Every heading; group 1 is its name."""
    return list(_HEADING.finditer(prose))


def roles(prose: str, stop: int) -> list[Match]:
    """Every heading before `stop` that says what the findings after it are to the conclusion."""
    return list(_ROLE.finditer(prose, 0, stop))


def first_sentence(text: str) -> str:
    """The text up to its first sentence or line end, without a closing full stop; blanks collapsed."""
    text = text.strip()
    end = _SENTENCE_END.search(text)
    return " ".join(text[: end.start() if end else len(text)].split()).rstrip(".").rstrip()


def sentence_end(text: str, start: int, stop: int) -> int:
    """Where the sentence that runs at `start` ends, `stop` at the latest: before a full stop with a blank behind it, or
    at a line end."""
    end = _SENTENCE_END.search(text, start, stop)
    return end.start() if end else stop


def conclusion_place(prose: str, found: Sequence[Match], tags: Sequence[Match]) -> tuple[int, int] | None:
    """[start, end) of the sentence after the last conclusion heading, without its full stop; None without a heading.

    The sentence may begin on a later line or behind a list mark, but not behind a tag or another heading.
    """
    last = next((h for h in reversed(found) if h.group(1).lower() == "conclusion"), None)
    if last is None:
        return None
    stop = next((tag.start() for tag in tags if tag.start() >= last.end()), len(prose))
    lead_in = _LEAD_IN.match(prose, last.end(), stop)
    begin = lead_in.end() if lead_in else last.end()
    if _HEADING.match(prose, begin) or _ROLE.match(prose, begin):
        return begin, begin
    start, end = trimmed(prose, begin, sentence_end(prose, begin, stop))
    return start, start + len(prose[start:end].rstrip(".").rstrip())


def answers(text: str, found: Sequence[Match]) -> list[tuple[int, int]]:
    """[start, end) of what stands inside each pair of answer tags, blanks around it left out."""
    return [
        trimmed(text, a.end(), b.start())
        for a, b in pairwise(found)
        if (a.group(), b.group()) == ("<answer>", "</answer>")
    ]


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without the blanks around it."""
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    return start, start + len(inner.strip())


def form_problems(text: str, found: Sequence[Match]) -> list[str]:
    """What is wrong with the tags, a line each."""
    names = [tag.group() for tag in found]
    problems = [_count_problem(name, names) for name in _GRAMMAR if names.count(name) != 1]
    if problems:
        return problems
    if tuple(names) != _GRAMMAR:
        return ["tags are nested or out of order"]
    if text[found[3].end() :].strip():
        problems.append("text after </answer>")
    if text[: found[0].start()].strip() or text[found[1].end() : found[2].start()].strip():
        problems.append("text outside the tags")
    if not text[found[2].end() : found[3].start()].strip():
        problems.append("empty answer")
    return problems


def heading_problems(found: Sequence[Match]) -> list[str]:
    """What is wrong with the headings, a line each."""
    names = [f"heading {h.group(1).lower()}" for h in found]
    if names == ["heading findings", "heading conclusion"]:
        return []
    odd = [_count_problem(name, names) for name in ("heading findings", "heading conclusion") if names.count(name) != 1]
    return odd or ["the conclusion stands before the findings"]


def _count_problem(name: str, names: list[str]) -> str:
    return f"{name} is {'repeated' if name in names else 'missing'}"


def prose_of(text: str, found: Sequence[Match]) -> str:
    """The text with tags and answers blanked, at the same offsets. A tag becomes a line break: no clause crosses it."""
    parts, done = [], 0
    for i, tag in enumerate(found):
        closes_answer = i > 0 and (found[i - 1].group(), tag.group()) == ("<answer>", "</answer>")
        parts.append(" " * (tag.start() - done) if closes_answer else text[done : tag.start()])
        parts.append("\n" + " " * (tag.end() - tag.start() - 1))
        done = tag.end()
    return "".join([*parts, text[done:]])
