"""Sections are cut at sentence ends within the budget, and nothing of the text is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fundus_ray.knowledge.document import Document, Section
from fundus_ray.knowledge.split import clean, passages, sentences, split


def test_a_section_that_fits_stays_whole() -> None:
    assert split(["One two.", "Three four."], words=4) == ["One two. Three four."]


def test_a_longer_one_is_cut_between_sentences_into_parts_of_about_equal_length() -> None:
    # 12 words, at most 8 a part: 2 parts, so 6 words each rather than 8 and 4
    text = "One is red. Two is red. Three is red. Four is red."
    assert split([text], words=8) == ["One is red. Two is red.", "Three is red. Four is red."]


def test_a_sentence_is_cut_only_where_it_alone_exceeds_the_budget() -> None:
    # 10 words, at most 6 a part: the long sentence is 6 and stays whole
    assert split(["Short one. A b c d e f. Next one."], words=6) == ["Short one.", "A b c d e f.", "Next one."]
    assert split(["a b c d e f g."], words=3) == ["a b c", "d e f", "g."]


def test_abbreviations_initials_and_numbers_end_no_sentence() -> None:
    text = "Seen in e.g. Coats disease (Fig. 2) by Wong et al. The rate was 2.5 vs. 3.1 per J. Smith. It fell."
    assert list(sentences(text)) == [
        "Seen in e.g. Coats disease (Fig. 2) by Wong et al. The rate was 2.5 vs. 3.1 per J. Smith.",
        "It fell.",
    ]


def test_quotes_and_brackets_stay_with_their_sentence() -> None:
    assert list(sentences('He said "red." (It was.) Then? Yes!')) == ['He said "red."', "(It was.)", "Then?", "Yes!"]


def test_scripts_without_spaces_are_cut_too() -> None:
    assert list(sentences("\u51fa\u8840\u3002\u6c34\u816b\u3002")) == ["\u51fa\u8840\u3002", "\u6c34\u816b\u3002"]
    assert [len(part) for part in split(["x" * 100], words=1)] == [40, 40, 20]


def test_control_and_invisible_characters_go_and_accents_are_composed() -> None:
    assert clean(" dru\x00sen\u200b \n\t haemo\u00adrrhage\ufeff e\u0301 \ud800") == "drusen haemorrhage \u00e9"


def test_the_budget_is_three_words_for_four_tokens() -> None:
    document = Document(sections=(Section("", ("One two three. Four five six. Seven eight nine.",)),))
    assert [p.text for p in passages(document, name="d", tokens=8)] == [
        "One two three. Four five six.",
        "Seven eight nine.",
    ]


def test_numbers_run_through_the_document_and_an_empty_section_keeps_its_own() -> None:
    sections = (Section("", ()), Section("A", ("One two three. Four five six.",)), Section("B", ("Seven.",)))
    made = passages(Document(sections=sections, title="T"), name="doc", tokens=5)
    assert [(p.id, p.section, p.text) for p in made] == [
        ("doc#1", "A", "One two three."),
        ("doc#2", "A", "Four five six."),
        ("doc#3", "B", "Seven."),
    ]
    assert {(p.title, p.licence, p.url) for p in made} == {("T", "unknown", "")}


def test_a_title_that_is_a_whole_text_is_cut() -> None:
    document = Document(sections=(Section("h" * 5000, ("x",)),), title="t" * 5000, licence="l" * 5000)
    (made,) = passages(document, name="d", tokens=32)
    assert (len(made.title), len(made.section), len(made.licence)) == (1000, 1000, 1000)


@given(
    paragraphs=st.lists(
        st.text(alphabet=st.sampled_from(list('aB. \n!?"(\u3002\u00e9\x00')) | st.characters()), max_size=6
    ),
    words=st.integers(1, 12),
)
def test_parts_hold_all_of_the_text_in_order_and_none_exceeds_the_budget(paragraphs: list[str], words: int) -> None:
    parts = split(paragraphs, words=words)
    assert "".join("".join(parts).split()) == "".join("".join(clean(p) for p in paragraphs).split())
    assert all(part and part == clean(part) and len(part.split()) <= words for part in parts)
    assert parts == split(paragraphs, words=words)
