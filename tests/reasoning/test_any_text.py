"""Properties of a reading, whatever the text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reasoning.cues import marks
from fundus_ray.reasoning.shared_noun import with_shared_nouns
from fundus_ray.reasoning.steps import Mention, Reading, read_chain

VOCABULARY = load_vocabulary()
WORDS = (
    *("<think>", "</think>", "<answer>", "</answer>", "Findings:", "Conclusion:", "Required: ", "B", "OD", "both eyes"),
    *("no ", "not ", "without ", "may ", "possible ", "?", "if ", "absent", " is ", " cannot be excluded", "neither "),
    *("drusen", "hard exudates", "macular hole", "optic disc on the left", "the disc is not swollen", "two ", "mild "),
    *(
        "hard ",
        "soft ",
        "exudates",
        "intraretinal",
        "subretinal fluid",
        "vitreous haemorrhage",
        "intra- ",
        "haemorrhages",
    ),
    *("history of ", "previous ", "previously ", " in the past", " now ", " persist "),
    *("AMD", "glaucoma", "no AMD", "left eye", " suggest ", " because ", " so ", " rules out ", ", which ", " shows "),
    *(".", ",", ";", "\n", " and ", " or ", " with ", " but ", ": none", "(-)", "\u2019", "\u0130", "\ud800", "\x00"),
)
PROSE = st.lists(st.sampled_from(WORDS), max_size=30).map("".join)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=80),
    PROSE,
    st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=4)), max_size=30).map("".join),
)


def read(text: str) -> Reading:
    return read_chain(text, VOCABULARY)


def names_it(text: str, mention: Mention) -> bool:
    """Whether the words of the mention are a name of its finding, alone or with the last words of the next name."""
    said = text[mention.start : mention.end]
    if VOCABULARY.finding_id(said) == mention.finding:
        return True
    behind = VOCABULARY.finding_matcher.find(text[mention.end :])
    later = next(((start, end) for _, start, end in behind if start > 0), None)
    if later is None:
        return False
    name = text[mention.end + later[0] : mention.end + later[1]]
    joined = (said.removesuffix("-") + gap + name[i:] for i in range(1, len(name)) for gap in ("", " "))
    return any(VOCABULARY.finding_id(whole) == mention.finding for whole in joined)


def spans(reading: Reading) -> set[tuple[str, int, int]]:
    return {(m.finding, m.start, m.end) for m in reading.asserted + reading.denied + reading.hedged}


@settings(deadline=None, max_examples=300)
@given(text=TEXTS)
@example(text="\u0130 dru\u017fen \x00 conclusion:")
@example(text="</answer></answer><answer>")
@example(text="<answer>\ud800</answer> no drusen")
@example(text="Conclusion: . ")
def test_every_span_lies_in_the_text_and_reads_as_what_it_is(text: str) -> None:
    reading = read(text)
    for mention in reading.asserted + reading.denied + reading.hedged:
        assert names_it(text, mention)
        assert mention.side in ("", "left", "right", "both")
        assert mention.grade in ("", "mild", "moderate", "severe")
    matcher = VOCABULARY.finding_matcher
    named = with_shared_nouns(text, list(matcher.find(text)), matcher)
    for relation in reading.relations:
        assert relation.finding in {f for f, start, end in named if relation.start <= start < end <= relation.end}
        assert relation.label in VOCABULARY.labels
    assert (reading.answer is None) == (reading.answer_span is None)
    if reading.answer_span:
        assert text[slice(*reading.answer_span)] == reading.answer
    assert (reading.conclusion is None) == (reading.conclusion_span is None)
    if reading.conclusion and reading.conclusion_span:
        said = text[slice(*reading.conclusion_span)]
        assert reading.conclusion in (" ".join(said.split()), VOCABULARY.label(said))


@settings(deadline=None, max_examples=200)
@given(text=TEXTS)
def test_each_finding_is_asserted_denied_and_hedged_once_and_in_text_order(text: str) -> None:
    reading = read(text)
    for mentions in (reading.asserted, reading.denied, reading.hedged):
        assert len({m.finding for m in mentions}) == len(mentions)
        assert [m.start for m in mentions] == sorted(m.start for m in mentions)
    said = [(r.finding, r.label, r.supports, r.present) for r in reading.relations]
    assert len(set(said)) == len(said)


@settings(deadline=None, max_examples=100)
@given(text=TEXTS)
def test_a_text_is_read_twice_alike(text: str) -> None:
    assert read(text) == read(text)


@settings(deadline=None, max_examples=200)
@given(text=PROSE, more=st.sampled_from(["The weather is fine.", "It rained; we stayed.", "7 8 9", "\n\n"]))
def test_unrelated_text_behind_loses_no_mention(text: str, more: str) -> None:
    assert spans(read(text)) <= spans(read(text + ".\n" + more))


@settings(deadline=None, max_examples=200)
@given(text=PROSE)
def test_unrelated_text_in_front_moves_every_mention_and_loses_none(text: str) -> None:
    front = "The weather is fine.\n"
    moved = {(finding, start + len(front), end + len(front)) for finding, start, end in spans(read(text))}
    assert spans(read(front + text)) == moved


@settings(deadline=None, max_examples=200)
@given(text=TEXTS)
def test_marks_stand_in_text_order_and_apart(text: str) -> None:
    found = marks(text)
    assert all(0 <= m.start < m.end <= len(text) for m in found)
    assert all(a.end <= b.start for a, b in pairwise(found))


@pytest.mark.parametrize("unit", [*WORDS, "drusen, would ", "no drusen suggest AMD ", "drusen? ", "<think></answer>"])
def test_a_long_text_of_one_kind_is_read(unit: str) -> None:
    # Anything quadratic would take an hour here.
    read(unit * (200_000 // len(unit)))


@pytest.mark.parametrize("depth", [1, 50, 2000])
def test_nested_tags_are_a_problem_of_form_and_their_findings_are_read(depth: int) -> None:
    reading = read("<think>" * depth + "no drusen, hard exudates" + "</think>" * depth + "<answer>B</answer>")
    assert [m.finding for m in reading.denied] == ["drusen", "hard_exudate"]
    assert reading.answer == "B"
    assert ("<think> is repeated" in reading.problems) == (depth > 1)


@pytest.mark.parametrize("cut", range(0, 130, 7))
def test_a_text_that_is_cut_off_is_read_as_far_as_it_goes(cut: int) -> None:
    whole = "<think>Findings: hard exudates, drusen. Required: drusen. Conclusion: glaucoma.</think><answer>B</answer>"
    reading = read(whole[:cut])
    assert set(reading.findings) <= {"hard_exudate", "drusen"}
    assert reading.answer is None or cut >= len(whole)
    assert reading.well_formed == (cut >= len(whole))
