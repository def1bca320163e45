"""The matcher reads every writing of a phrase, prefers the longest, and stays fast with a thousand phrases."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_ray.knowledge.matcher import Matcher, normalise
from fundus_ray.knowledge.vocabulary import load_vocabulary

WORDS = ("disc", "disk", "disco", "edema", "oedema", "grey", "gray", "spot", "spots", "a", "cup", "of")
GAPS = (" ", "-", "/", "  ", "\n", ", ")


def found(matcher: Matcher, text: str) -> list[tuple[str, str]]:
    return [(key, text[start:end]) for key, start, end in matcher.find(text)]


def longest_by_trying_all(keys: dict[str, str], text: str) -> list[tuple[str, int, int]]:
    """An independent reading: at each place every end is tried, the longest known phrase wins."""
    hits, place = [], 0
    while place < len(text):
        best = None
        if place == 0 or not re.match(r"\w", text[place - 1], re.ASCII):
            for end in range(len(text), place, -1):
                whole = end == len(text) or not re.match(r"\w", text[end], re.ASCII)
                edges = text[place].isalnum() and text[end - 1].isalnum()
                if whole and edges and normalise(text[place:end]) in keys:
                    best = end
                    break
        if best is not None:
            hits.append((keys[normalise(text[place:best])], place, best))
        place = best or place + 1
    return hits


@settings(max_examples=150, deadline=None)
@given(
    phrases=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3), min_size=1, max_size=8),
    text=st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), max_size=12),
)
def test_the_trie_reads_what_trying_all_phrases_reads(phrases: list[list[str]], text: list[tuple[str, str]]) -> None:
    keys = {normalise(" ".join(words)): normalise(" ".join(words)) for words in phrases}
    prose = "".join(word + gap for word, gap in text)
    assert list(Matcher(keys).find(prose)) == longest_by_trying_all(keys, prose)


def test_the_longest_phrase_wins_and_the_shorter_one_is_read_where_the_longer_one_breaks_off() -> None:
    matcher = Matcher({"drusen": "short", "drusen of the optic disc": "long", "optic disc": "disc"})
    assert found(matcher, "drusen of the optic disk") == [("long", "drusen of the optic disk")]
    assert found(matcher, "drusen of the optic discus") == [("short", "drusen")]
    assert found(matcher, "drusen of an optic disc") == [("short", "drusen"), ("disc", "optic disc")]


@pytest.mark.parametrize(
    ("phrase", "writing"),
    [
        ("grey haemorrhagic naevus", "gray hemorrhagic nevus"),
        ("optic disc oedema", "Optic-Disk edema"),
        ("neovascularisation", "neovascularization"),
        ("localised tumour", "localized tumor"),
        ("ischaemic whitening", "ischemic whitening"),
        ("subfoveal colour spot", "subfoveal color spot"),
        ("nerve fibre in the centre", "nerve fiber in the center"),
        ("hyperaemia", "hyperemia"),
    ],
)
def test_british_and_american_spelling_read_alike_in_both_directions(phrase: str, writing: str) -> None:
    assert found(Matcher({phrase: "key"}), f"an {writing}.") == [("key", writing)]
    assert found(Matcher({writing: "key"}), f"an {phrase}.") == [("key", phrase)]
    assert normalise(normalise(writing)) == normalise(writing) == normalise(phrase)


def test_an_abbreviation_of_three_letters_is_read_in_capitals_alone_where_that_is_asked() -> None:
    phrases = {"ODD": "odd", "MAs": "mas", "dot": "dot", "CNVM": "cnvm", "disc drusen": "odd"}
    asked = Matcher(phrases, short_in_capitals=True)
    assert found(asked, "an odd ODD; MAs MAS mas Mas. Odd DOT, cnvm") == [
        ("odd", "ODD"),
        ("mas", "MAs"),
        ("mas", "MAS"),
        ("dot", "DOT"),
        ("cnvm", "cnvm"),
    ]
    assert found(Matcher(phrases), "an odd ODD") == [("odd", "odd"), ("odd", "ODD")]
    assert asked.exact("odd") == "odd"


def test_a_gap_is_at_most_four_blanks() -> None:
    matcher = Matcher({"hard exudates": "key"})
    assert found(matcher, "hard" + " " * 4 + "exudates")
    assert not found(matcher, "hard" + " " * 5 + "exudates")


def test_a_phrase_with_an_apostrophe_is_read() -> None:
    assert found(Matcher({"bull's eye": "key"}), "a Bull's-eye ring") == [("key", "Bull's-eye")]


def test_without_phrases_nothing_is_read() -> None:
    assert found(Matcher({}), "any text") == []


@pytest.mark.parametrize("phrase", ["", "(x)", "-", "x!"])
def test_a_phrase_that_is_no_whole_word_is_refused(phrase: str) -> None:
    with pytest.raises(ValueError, match="must begin and end with a letter or digit"):
        Matcher({phrase: "key"})


def test_one_phrase_has_one_key() -> None:
    with pytest.raises(ValueError, match=r"'grey spot' belongs to both one and two"):
        Matcher({"gray spot": "one", "grey spot": "two"})


def test_every_phrase_of_the_vocabulary_is_read_whole_in_american_spelling_and_with_hyphens() -> None:
    vocabulary = load_vocabulary()
    american = (
        ("haemorrh", "hemorrh"),
        ("oedema", "edema"),
        ("disc", "disk"),
        ("grey", "gray"),
        ("isation", "ization"),
    )
    for finding in vocabulary.findings.values():
        for phrase in (finding.name, *finding.synonyms):
            writing = phrase.replace(" ", "-")
            for british, other in american:
                writing = writing.replace(british, other)
            assert found(vocabulary.finding_matcher, f"({writing})") == [(finding.id, writing)]


@pytest.mark.parametrize("unit", ["retinal ", "optic disc ", "haemorrhages in all ", "a" * 8, " " * 8, "-/"])
def test_time_is_linear_in_the_text(unit: str) -> None:
    matcher = load_vocabulary().finding_matcher

    def seconds(times: int) -> float:
        text = unit * times
        runs = []
        for _ in range(3):
            start = time.process_time()
            hits = sum(1 for _ in matcher.find(text))
            runs.append(time.process_time() - start)
            assert hits <= times
        return min(runs)

    # Eight times the text; quadratic time would take 64 times as long. Time of the processor, which others share.
    assert seconds(16_000) < 24 * seconds(2_000) + 0.01
