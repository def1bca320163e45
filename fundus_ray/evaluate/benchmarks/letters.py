"""An answer's text in, the options that it chooses out, by the rules of FunBench's published scorer.

The rules, in their order: newlines and every "and" become ", "; brackets at both ends go; where several options may be
right the text is split at commas. Then an item is a bare letter; or a letter and "."; or an option's exact text; or
it holds the text of exactly one option, letter case aside. Where no item is any of these, the option nearest by
sentence similarity is taken, if there is a sentence model; without one the answer is unmatched and never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase as LETTERS

from fundus_ray.reasoning.answer import choose

Nearest = Callable[[str, Sequence[str]], int]  # (text, candidates) -> index of the candidate most like it

UNMATCHED = "unmatched"
_OUT_OF_RANGE = "letter out of range"
_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|(?=<answer>)|\Z)", re.IGNORECASE | re.DOTALL)
_THINK_END = re.compile(r"</think>", re.IGNORECASE)
_LETTER_AMONG_WORDS = re.compile(
    r"(?:(?<=[\s.()\[\],:;!*#{}])|^)(?!A\s+(?!is\b|because\b)[a-z])([A-Z])(?=[\s.()\[\],:;!*#{}]|$)"
)
_THINK = re.compile(r"\s*<think>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """`rule` is the first item's rule; `stops_published`: the published scorer ends with an IndexError on this text."""

    chosen: tuple[int, ...]  # places in the options, each once
    rule: str
    stops_published: bool = False


def unwrap(text: str) -> str:
    """The text inside the last pair of answer tags; else what stands behind the thinking; else the text itself.

    A chain that was cut off while thinking has no answer: "".
    """
    if inside := _ANSWER.findall(text):
        return str(inside[-1]).strip()
    if ends := list(_THINK_END.finditer(text)):
        return text[ends[-1].end() :].strip()
    return "" if _THINK.match(text) else text


def read_funbench(
    text: str, options: Sequence[str], *, several: bool, nearest: Nearest | None, meanings: Sequence[str] | None = None
) -> Reading:
    """What FunBench's scorer reads. `meanings` stand for the options (Yes, No) where similarity decides."""
    plain = text.replace("\n", ", ").replace("and", ", ").strip("()")
    items = [item.strip() for item in (plain.split(",") if several else [plain])]
    read = [_item(item, options) for item in items if item]
    found = [(place, rule) for place, rule in read if place is not None]
    beyond = any(rule == _OUT_OF_RANGE for _, rule in read)
    if found:
        return Reading(tuple(dict.fromkeys(place for place, _ in found)), found[0][1], beyond)
    if beyond or (not several and not items[0]):
        return Reading((), UNMATCHED, stops_published=True)
    return _likest(text, text if several else items[0], options, nearest, meanings or options)


def read_choice(text: str, options: Sequence[str], *, nearest: Nearest | None) -> Reading:
    """One option of a multiple-choice question of OmniMedVQA or GMAI-MMBench: as training reads it (`B`, `(B)`,
    `B. text`, the text); else the one option's letter among its words, as VLMEvalKit does for GMAI-MMBench ("The answer
    is B."), but an A before a small word is the article; else by FunBench's rules."""
    chosen = choose(text, options)
    if chosen is not None and len(chosen) == 1:
        return Reading((options.index(chosen[0]),), "as in training")
    named = {LETTERS.index(letter) for letter in _LETTER_AMONG_WORDS.findall(text)}
    within = [place for place in named if place < len(options)]
    if len(within) == 1:
        return Reading((within[0],), "letter among words")
    return read_funbench(text, options, several=False, nearest=nearest)


def _item(item: str, options: Sequence[str]) -> tuple[int | None, str]:
    if item in LETTERS and len(item) == 1:
        return _in_range(item, options, "letter")
    if item[0] in LETTERS and item[1:2] == ".":
        return _in_range(item[0], options, "letter and full stop")
    if item in options:
        return options.index(item), "option's text"
    held = [place for place, option in enumerate(options) if option.lower() in item.lower()]
    return (held[0], "holds one option's text") if len(held) == 1 else (None, UNMATCHED)


def _in_range(letter: str, options: Sequence[str], rule: str) -> tuple[int | None, str]:
    place = LETTERS.index(letter)
    return (place, rule) if place < len(options) else (None, _OUT_OF_RANGE)


def _likest(
    text: str, compared: str, options: Sequence[str], nearest: Nearest | None, meanings: Sequence[str]
) -> Reading:
    # An option that holds "and" is torn by the rules; its own text is nearest to itself, which needs no model.
    same = [place for place, option in enumerate(options) if option.casefold() == text.strip().casefold()]
    if same:
        return Reading((same[0],), "nearest: the option itself")
    if nearest is None:
        return Reading((), UNMATCHED)
    return Reading((nearest(compared, meanings),), "nearest by similarity")
