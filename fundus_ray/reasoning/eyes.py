"""The names of the eyes in a text, and where a text goes from one eye to the other."""

from __future__ import annotations

import re

_REACH = 80  # characters on each side of a comma in which an eye is sought
_SEGMENT_END = re.compile(r"[.,;:\n]")
_OR = re.compile(r"\b(?:or|nor)\b", re.ASCII | re.IGNORECASE)
# The eyes by name: OS is the left one (oculus sinister), OD the right one, OU both.
EYE = re.compile(
    r"\b(?:(?P<left>(?i:left\s{1,3}(?:eye|fundus|retina|macula|disc)|left-sided)|OS|LE)"
    r"|(?P<right>(?i:right\s{1,3}(?:eye|fundus|retina|macula|disc)|right-sided)|OD|RE)"
    r"|(?P<both>(?i:both\s{1,3}(?:eyes|fundi|retinas|maculae|discs)|bilateral(?:ly)?|each\s{1,3}eye|either\s{1,3}eye)|OU))\b",
    re.ASCII,
)


def parts_eyes(prose: str, comma: tuple[int, int], begin: int) -> bool:
    """Whether prose[comma[0]:comma[1]] stands between two eyes: "no drusen in the left eye, exudates in the right eye".

    `begin`: where its sentence begins. An "or" behind the comma goes on with the list before it.
    """
    start, after = comma
    end = _SEGMENT_END.search(prose, after, after + _REACH)
    segment = prose[after : end.start() if end else after + _REACH]
    eye = EYE.search(segment)
    if eye is None or _OR.search(segment):
        return False
    before = list(EYE.finditer(prose, max(begin, start - _REACH), start))
    return bool(before) and before[-1].lastgroup != eye.lastgroup
