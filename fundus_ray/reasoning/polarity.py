"""Whether a mention is asserted, denied, doubted or past: one sweep over mentions and cues.

In: spans of mentions, the prose and its marks (cues.py). Out: a `Polarity` for each span.

A cue in front of a list holds for the whole of it: "no drusen, haemorrhages or exudates" denies three, and so does
"none of these:" with three lines of a list. Its scope ends with the sentence, at words such as "but", "with" and
"which", where a new clause begins ("no drusen, the disc is swollen"), where a comma leads to the other eye, and at a
comma or "and" once a verb has closed the list ("no drusen are seen, and ..."). "possible" and its like doubt the next
finding and what "or" and "and" join to it. A cue behind ("drusen and exudates are absent") holds for the last finding
before it and for what is joined to that one. A question doubts its findings, unless "yes" or "no" answers it.

"History of", "previous" and their like speak of an earlier time alone: neither of what is seen nor of what is not, nor
of what is possible. Their scope is a list too, but ends at a comma, and at "now". Where a later word says how it stands
today, that holds ("the previous haemorrhage has cleared", "the previous drusen persist"). "No history of" denies, as in
NegEx, and what is "resolved" is denied: it is gone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum

from fundus_ray.reasoning.cues import Mark
from fundus_ray.reasoning.eyes import parts_eyes

Span = tuple[str, int, int]  # key, start, end

_FORWARD = {"deny", "deny_mark", "deny_to_comma", "deny_twice", "deny_given", "deny_not", "untrue", "against"}
_BACKWARD = {"deny_back", "ruled_out_by", "be_not", "nothing", "minus", "none", "times_zero"}
_DOUBTS_BACK = {"hedge_back", "unlikely", "doubt"}
_DOUBTS = {"hedge_next", "hedge", "hedge_if", "would", "link_suggest", "link_would", "shows_would", "query"}
_ENDS = {"break", "existential", "contrast", "which", "given", "so"}
_LINKS = {"link", "link_verb", "link_suggest", "link_would", "against", "shows", "shows_would"}
_NEXT = {"hedge_next", "past_next"}
_PREDICATES = {"verb", *_LINKS}
_REACH = 80  # characters from a cue to the first finding that it can hold for
_REACH_AT_ONCE = 16  # the same where the cue mostly looks back
_LEAD = 8  # characters in front of a cue at the head of a sentence ("Several years ago")
_FLIP = 24  # characters from a denial to a second one that undoes it ("not a case without")
_ADJACENT = 3
_CLAUSE_OVER = re.compile(
    r"\s{0,3}(?:[.,;)\n]|\Z|(?:but|and|however|whereas|while|here|there|in\s{1,3}this|on\s{1,3}this|at\s{1,3}all)\b)",
    re.ASCII | re.IGNORECASE,
)
_ITEM = re.compile(r"(?:[-*\u2022]|\d{1,2}[.)])\s", re.ASCII)  # the mark of a list's line
_LASTS = re.compile(
    r"(?:persists?|remains?|(?:is|are)\s{1,2}(?:still|unchanged|again|stable|larger|smaller))\b",
    re.ASCII | re.IGNORECASE,
)
_NOT = re.compile(r"\b(?:not|isn't|aren't)\b", re.ASCII | re.IGNORECASE)
_NO_VERB = re.compile(r"(?:strongly\s|highly\s)?suggest(?:ive|ing)", re.ASCII)
_RELATIVE = re.compile(r"\b(?:to|that|not)\s{1,2}\Z", re.ASCII | re.IGNORECASE)
_PRONOUN = re.compile(r"\b(?:it|this|there|she|he|i|we)\s{1,2}\Z", re.ASCII | re.IGNORECASE)
_BUT_NOT = re.compile(r"(?:but|yet)\s{1,2}(?:is\s|are\s|was\s|were\s|have\s)?(?:not|never)\b", re.ASCII | re.IGNORECASE)
_GOES_ON = re.compile(r"\s{0,3}(?:and|or|nor|no|without)\b", re.ASCII | re.IGNORECASE)
_ANSWER = re.compile(
    r"[\s\"')-]{0,4}(?:(?P<yes>yes|present|definitely|indeed)|(?P<no>no|none|absent|not\s{1,3}(?:seen|present|really)))"
    r"\s{0,3}(?:[.,;!\n<]|\Z)",
    re.ASCII | re.IGNORECASE,
)


class Polarity(Enum):
    """How a text means a mention."""

    ASSERTED = "asserted"
    DENIED = "denied"
    HEDGED = "hedged"
    UNLIKELY = "unlikely"  # of a finding: hedged; of a label: spoken against
    PAST = "past"  # of a finding: said of an earlier time, so not read; of a label: as asserted


def polarities(
    spans: Sequence[Span], prose: str, marks: Sequence[Mark], *, others: Sequence[Span] = ()
) -> list[Polarity]:
    """One for each of the spans, which stand in text order and do not overlap.

    `others`: mentions of another sort, none at the place of a span; a cue may hold for them instead.
    """
    if not spans:
        return []
    sweep = _Sweep(spans, prose)
    i = 0
    places: list[tuple[int, int, int | None]] = [(start, end, k) for k, (_, start, end) in enumerate(spans)]
    places += [(start, start, None) for _, start, _ in others]
    for start, end, k in sorted(places):
        while i < len(marks) and marks[i].start < start:
            sweep.cue(marks[i])
            i += 1
        sweep.mention(k) if k is not None else sweep.other(start)
        while i < len(marks) and marks[i].start < end:  # a cue within a mention is part of its name
            i += 1
    for mark in marks[i:]:
        sweep.cue(mark)
        if mark.kind in ("stop", "question"):
            break  # no cue looks back beyond its sentence
    return sweep.found


class _Sweep:
    """Where the sweep stands: the scope that is open, and the list of mentions that a later cue may look back on."""

    def __init__(self, spans: Sequence[Span], prose: str) -> None:
        self._spans, self._prose = spans, prose
        self.found = [Polarity.ASSERTED] * len(spans)
        self._denies_items = False  # the lines of a list are denied: "none of these:"
        self._item = 0  # where the text of its line begins
        self._new_sentence(0, begin=len(prose) - len(prose.lstrip()))

    def _new_sentence(self, first: int, *, begin: int) -> None:
        self._first = first  # mention of this sentence
        self._begin = begin
        self._next = first
        self._list: list[tuple[int | None, str]] = []  # mentions in one list, and how each is joined to the one before
        self._earlier: list[tuple[int | None, str]] = []  # the list before the last "but"
        self._joint = "none"
        self._verb = False  # since the last mention
        self._confused = False  # "do not confuse" has been read, and its "with" has not
        self._repeats = 0  # "no" said again after a comma
        self._last: Mark | None = None
        self._close()

    def _close(self) -> None:
        self._scope: Polarity | None = None
        self._kind = ""
        self._opened = 0
        self._limit = 0
        self._leads = False  # the cue stands at the head of its sentence
        self._covered = 0  # mentions since the scope opened
        self._armed = False

    def _open(self, mark: Mark, scope: Polarity, *, reach: int = _REACH) -> None:
        self._scope, self._kind, self._opened, self._limit = scope, mark.kind, mark.end, mark.end + reach
        self._covered, self._armed = 0, True
        self._leads = mark.start - self._begin <= _LEAD

    def mention(self, k: int) -> None:
        start = self._spans[k][1]
        self._previous(start)
        if self._scope is not None and self._armed and (self._covered or start <= self._limit):
            self.found[k] = self._scope
            self._covered += 1
            if self._kind in _NEXT:
                self._armed = False
        if _NOT.search(self._prose, start, self._spans[k][2]):  # "the disc is not swollen"
            self.found[k] = Polarity.DENIED
        self._listed(k)
        self._next = k + 1

    def other(self, start: int) -> None:
        """A mention of the other sort."""
        self._previous(start)
        self._covered += self._scope is not None
        self._armed = self._armed and self._kind != "past_next"
        self._listed(None)

    def _listed(self, k: int | None) -> None:
        if self._verb or self._joint == "none":
            self._list = []
        self._list.append((k, self._joint))
        self._joint, self._verb = "none", False

    def cue(self, mark: Mark) -> None:
        """One mark, in text order with the mentions."""
        kind = mark.kind
        if kind == "now":  # says nothing else, and stands between no two other marks
            if self._scope is Polarity.PAST:
                self._close()
            return
        act = _ACTS.get(kind)
        if act is not None:
            act(self, mark)
        if kind in _PREDICATES:
            self._predicate(mark)
        self._confused = kind == "confuse" or self._confused
        self._last = mark

    def _end_sentence(self, mark: Mark) -> None:
        if mark.start < self._item:
            return  # the full stop of "1."
        if mark.kind == "question" and self._next > self._first:
            answer = _ANSWER.match(self._prose, mark.end)
            meant = Polarity.HEDGED
            if answer:
                meant = Polarity.ASSERTED if answer.group("yes") else Polarity.DENIED
            said = self.found[self._first : self._next]
            self.found[self._first : self._next] = [p if p is Polarity.PAST else meant for p in said]
        heads = self._scope is Polarity.DENIED and not self._covered and self._armed
        self._new_sentence(self._next, begin=mark.end)
        if self._prose[mark.start] == "\n":
            self._new_line(mark, heads=heads)

    def _new_line(self, mark: Mark, *, heads: bool) -> None:
        """`heads`: a denial that held for nothing ended the line before. Behind its colon, "none of these:", it holds
        for the next line and for the list that begins there."""
        item = _ITEM.match(self._prose, mark.end)
        heads = heads and self._prose[max(0, mark.start - _ADJACENT) : mark.start].rstrip(" *").endswith(":")
        self._denies_items = heads or (self._denies_items and item is not None)
        if self._denies_items:
            self._item = item.end() if item else mark.end
            self._open(Mark(mark.start, self._item, "deny"), Polarity.DENIED)

    def _end_scope(self, mark: Mark) -> None:
        if mark.kind == "sure":
            if self._scope not in (Polarity.DENIED, Polarity.PAST):
                self._close()
            return
        if mark.kind == "existential" and not self._covered:
            return  # "perhaps there are drusen", "nowhere do I see drusen"
        if mark.kind != "which":
            self._earlier, self._list = self._list, []
        if mark.kind == "break" and self._confused:
            self._open(mark, Polarity.DENIED)  # "do not confuse exudates with drusen"
            self._confused = False
        else:
            self._close()

    def _predicate(self, mark: Mark) -> None:
        """A verb, or a word of linking, which are predicates too."""
        links = mark.kind in _LINKS and mark.kind != "against"
        if links and self._scope is Polarity.DENIED and (self._follows_comma(mark) or self._has_subject(mark)):
            self._close()
        if self._kind in _NEXT and self._covered:
            self._armed = False
        if self._kind == "past" and not self._covered:
            self._close()  # "a patient with a history of diabetes shows drusen"
        last = self._list[-1][0] if self._list else None
        if last is not None and self.found[last] is Polarity.PAST and _LASTS.match(self._prose, mark.start):
            self._look_back(Polarity.ASSERTED)  # "the previous drusen persist"
        self._verb = True

    def _follows_comma(self, mark: Mark) -> bool:
        last = self._last
        return last is not None and last.kind in ("comma", "open", "which") and mark.start - last.end <= _ADJACENT

    def _has_subject(self, mark: Mark) -> bool:
        """Whether a verb of linking ends a denied subject: as in "drusen without haemorrhages suggest ...", not as in
        "no drusen to suggest ..."."""
        if not self._covered or mark.kind not in ("link_verb", "link_suggest"):
            return False
        word = self._prose[mark.start : mark.end].lower()
        return not (_NO_VERB.match(word) or _RELATIVE.search(self._prose, max(0, mark.start - 6), mark.start))

    def _joined(self, mark: Mark) -> None:
        """A comma, "and", "or": the list goes on, or a new clause begins."""
        is_or = mark.kind == "join" and self._prose[mark.start : mark.end].lower() in ("or", "nor", "/")
        listed_and = mark.kind == "join" or self._prose[mark.start] in "aA"
        if self._joint != "and":
            self._joint = "and" if listed_and else "comma"
        if self._scope is None or (self._leads and self._scope is Polarity.PAST and mark.start == self._opened):
            return  # "Formerly, ..."
        if self._kind in _NEXT:
            if mark.kind == "join" and not self._verb:
                self._armed = True
            else:
                self._close()
            return
        over = mark.kind == "open" or (self._covered and self._verb)
        at_comma = mark.kind == "comma" and (
            self._kind in ("hedge_if", "deny_to_comma")
            or self._scope is Polarity.PAST
            or (self._kind == "deny_not" and not self._covered)
            or (self._repeats and not self._more_to_come(mark))
            or (
                self._scope is Polarity.DENIED
                and self._covered
                and parts_eyes(self._prose, (mark.start, mark.end), self._begin)
            )
        )
        if (over and not is_or) or at_comma:
            self._close()

    def _more_to_come(self, mark: Mark) -> bool:
        """Whether the list after "no a, no b," goes on to be denied: "no a, no b, c or d"."""
        return bool(_GOES_ON.match(self._prose, mark.end))

    def _gone(self, mark: Mark) -> None:
        if self._near(mark) and self._joint == "none":
            self._look_back(Polarity.DENIED)  # "drusen resolved since the last visit"
        elif mark.kind == "resolved":
            self._deny(mark)

    def _deny(self, mark: Mark) -> None:
        undone = self._scope is Polarity.DENIED and not self._covered
        near = mark.start - self._opened <= _FLIP and (self._last is None or self._last.kind != "comma")
        if undone and ((mark.kind in ("deny_twice", "deny_given") and near) or self._kind == "untrue"):
            self._open(mark, Polarity.ASSERTED)
            return
        if self._scope is Polarity.HEDGED and not self._covered and mark.kind != "untrue":
            return  # "may not be drusen", "if no drusen"
        self._repeats += self._scope is Polarity.DENIED and bool(self._covered)
        self._open(mark, Polarity.DENIED)

    def _previous(self, start: int) -> None:
        """Opens the scope of a "previous" that stands right before the mention at `start`."""
        last = self._last
        if last is not None and last.kind == "past_next" and start - last.end <= _REACH_AT_ONCE:
            self._open_past(last)

    def _open_past(self, mark: Mark) -> None:
        if self._scope is not Polarity.DENIED or self._covered:  # else "no history of drusen"
            self._open(mark, Polarity.PAST)

    def _past(self, mark: Mark) -> None:
        last = self._last
        at_verb = last is not None and last.kind == "verb" and mark.start - last.end <= _ADJACENT
        if mark.kind == "past_both" and at_verb and self._list and self._joint == "none":
            self._look_back(Polarity.PAST)  # "drusen were previously seen"
        else:
            self._open_past(mark)

    def _past_back(self, mark: Mark) -> None:
        if self._list and self._joint == "none":
            self._look_back(Polarity.PAST)
        elif mark.start - self._begin <= _LEAD:
            self._open_past(mark)

    def _doubt(self, mark: Mark) -> None:
        if self._scope is Polarity.PAST and not self._covered and mark.kind in ("hedge_next", "query"):
            return  # "a history of possible drusen"
        if mark.kind in ("would", "link_would"):
            self._look_back(Polarity.HEDGED)
        if mark.kind in ("hedge_next", "hedge") and self._near(mark) and _CLAUSE_OVER.match(self._prose, mark.end):
            self._look_back(Polarity.HEDGED)  # "retinal tear suspected."
            return
        unsure = mark.kind == "hedge_if"  # "I cannot tell whether"
        if (
            self._scope is Polarity.DENIED
            and not unsure
            and not (self._covered and mark.kind in ("hedge_next", "query", "hedge"))
        ):
            return  # "no possible drusen", "no drusen to suggest"
        kind = "hedge_next" if mark.kind == "query" else mark.kind
        self._open(Mark(mark.start, mark.end, kind), Polarity.HEDGED)

    def _deny_back(self, mark: Mark) -> None:
        if self._last is not None and self._last.kind == "break" and _BUT_NOT.match(self._prose, self._last.start):
            self._list = self._earlier  # "drusen were looked for but not found"
        if mark.kind in ("none", "minus", "times_zero") and not self._near(mark):
            return
        if mark.kind == "be_not" and not _CLAUSE_OVER.match(self._prose, mark.end):
            self._deny(mark)
        elif self._list and not self._of_a_pronoun(mark) and not self._follows_comma(mark):
            self._look_back(Polarity.DENIED, commas=mark.kind == "nothing", doubted=mark.kind == "nothing")
            self._list = []
        elif self._list and self._last is not None and self._last.kind == "which":
            self._look_back(Polarity.DENIED)
        elif mark.kind in ("deny_back", "none"):
            self._open(mark, Polarity.DENIED, reach=_REACH_AT_ONCE)

    def _near(self, mark: Mark) -> bool:
        """Whether a mention stands right before the mark."""
        last = self._list[-1][0] if self._list else None
        return last is not None and mark.start - self._spans[last][2] <= _ADJACENT

    def _doubt_back(self, mark: Mark) -> None:
        scope = Polarity.UNLIKELY if mark.kind == "unlikely" else Polarity.HEDGED
        if self._list and not self._of_a_pronoun(mark) and not self._follows_comma(mark):
            self._look_back(scope)
        else:
            self._open(mark, scope)

    def _of_a_pronoun(self, mark: Mark) -> bool:
        """Whether a cue that looks back has its own subject: "it is likely ..."."""
        return bool(_PRONOUN.search(self._prose, max(0, mark.start - 8), mark.start))

    def _look_back(self, polarity: Polarity, *, commas: bool = False, doubted: bool = False) -> None:
        """Gives it to the last mention and to those joined to it, as far as no scope of their own holds for them.

        `commas`: a comma joins as well as "and"; `doubted`: a doubt gives way ("check for drusen: none").
        """
        for k, joint in reversed(self._list):
            if k is not None:
                gives_way = (
                    self.found[k] is Polarity.ASSERTED
                    or (doubted and self.found[k] is Polarity.HEDGED)
                    or (polarity in (Polarity.ASSERTED, Polarity.DENIED) and self.found[k] is Polarity.PAST)
                )
                if not gives_way:
                    return
                self.found[k] = polarity
            commas = commas or joint == "and"
            if joint == "none" or not commas:
                return


# What a kind of cue does; a predicate does more.
_ACTS: dict[str, Callable[[_Sweep, Mark], None]] = {
    **dict.fromkeys(("stop", "question"), _Sweep._end_sentence),
    **dict.fromkeys(("comma", "open", "join"), _Sweep._joined),
    **dict.fromkeys(_FORWARD, _Sweep._deny),
    **dict.fromkeys(("resolved", "gone"), _Sweep._gone),
    **dict.fromkeys(_BACKWARD, _Sweep._deny_back),
    **dict.fromkeys(_DOUBTS, _Sweep._doubt),
    **dict.fromkeys(_DOUBTS_BACK, _Sweep._doubt_back),
    **dict.fromkeys(("past", "past_both"), _Sweep._past),
    "past_back": _Sweep._past_back,
    **dict.fromkeys((*_ENDS, "sure"), _Sweep._end_scope),
}
