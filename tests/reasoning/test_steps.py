"""Any text is read: negation by clause, tags strictly, and nothing raises."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reasoning.steps import Reading, first_sentence, labels_in, read_chain

VOCABULARY = load_vocabulary()
GOOD = "<think>Findings: drusen. Conclusion: glaucoma.</think><answer>B</answer>"


def read(text: str) -> Reading:
    return read_chain(text, VOCABULARY)


@pytest.mark.parametrize(
    ("text", "asserted", "denied"),
    [
        ("drusen and hard exudates", ["drusen", "hard_exudate"], []),
        ("no drusen", [], ["drusen"]),
        (
            "No drusen, hemorrhage or microaneurysms; hard exudates",
            ["hard_exudate"],
            ["drusen", "retinal_haemorrhage", "microaneurysm"],
        ),
        ("without CWS", [], ["cotton_wool_spot"]),
        ("absence of drusen. Hard exudates.", ["hard_exudate"], ["drusen"]),
        ("she denies drusen", [], ["drusen"]),
        ("no drusen but hard exudates", ["hard_exudate"], ["drusen"]),
        ("no drusen\nhard exudates", ["hard_exudate"], ["drusen"]),
        ("drusen without hard exudates", ["drusen"], ["hard_exudate"]),
        ("drusen: none, hard exudates seen", ["hard_exudate"], ["drusen"]),
        ("microaneurysms are not seen; drusen absent", [], ["microaneurysm", "drusen"]),
        ("Findings: none. drusen", ["drusen"], []),
        ("no sign of disease with drusen", ["drusen"], []),
        ("no cup of 0.5 mm or drusen", [], ["drusen"]),
        ("negative for drusen", [], ["drusen"]),
        ("known drusen, another", ["drusen"], []),
        ("0 microaneurysms", [], ["microaneurysm"]),
        ("0 microaneurysms, 3 hard exudates", ["hard_exudate"], ["microaneurysm"]),
        ("drusen (0)", [], ["drusen"]),
        ("drusen (n = 0), hard exudates (n = 4)", ["hard_exudate"], ["drusen"]),
        ("drusen x0", [], ["drusen"]),
        ("0.5 mm drusen", ["drusen"], []),
        ("10 drusen", ["drusen"], []),
        ("0 to 2 drusen", ["drusen"], []),
        ("grade 0 with drusen", ["drusen"], []),
        ("no drusen in the left eye, exudates in the right eye", ["hard_exudate"], ["drusen"]),
        ("OD: no drusen, OS: exudates", ["hard_exudate"], ["drusen"]),
        ("no drusen in the left eye, exudates in the left eye", [], ["drusen", "hard_exudate"]),
        (
            "no drusen in the left eye, exudates or CWS in the right eye",
            [],
            ["drusen", "hard_exudate", "cotton_wool_spot"],
        ),
        ("drusen are neither seen nor suspected", [], ["drusen"]),
        ("drusen are neither seen nor suspected, exudates are present", ["hard_exudate"], ["drusen"]),
        ("neither drusen nor exudates", [], ["drusen", "hard_exudate"]),
        ("microaneurysms resolved since the last visit", [], ["microaneurysm"]),
        ("microaneurysms resolved, drusen are seen", ["drusen"], ["microaneurysm"]),
        ("drusen disappeared", [], ["drusen"]),
        ("the haze cleared and drusen are visible", ["drusen"], []),
        ("drusen, resolved haemorrhages", ["drusen"], ["retinal_haemorrhage"]),
        ("none of these:\n- microaneurysms\n- drusen\n\nhard exudates", ["hard_exudate"], ["microaneurysm", "drusen"]),
        ("There is no:\n1. CWS.\n2. drusen.\nThere are exudates", ["hard_exudate"], ["cotton_wool_spot", "drusen"]),
        ("Negatives: drusen, exudates. Microaneurysms", ["microaneurysm"], ["drusen", "hard_exudate"]),
        ("Pertinent negatives:\ndrusen and exudates\nMicroaneurysms", ["microaneurysm"], ["drusen", "hard_exudate"]),
        ("**Negatives:**\n* drusen\n* exudates", [], ["drusen", "hard_exudate"]),
        ("no drusen:\n- hard exudates", ["hard_exudate"], ["drusen"]),
        ("- no\n- drusen", ["drusen"], []),
    ],
)
def test_negation_reaches_to_the_end_of_its_clause(text: str, asserted: list[str], denied: list[str]) -> None:
    reading = read(text)
    assert list(reading.findings) == asserted
    assert [m.finding for m in reading.denied] == denied


def test_a_finding_named_often_counts_once_where_it_stands_first() -> None:
    (mention,) = read("drusen, soft drusen and again drusen").asserted
    assert (mention.finding, mention.start, mention.end) == ("drusen", 0, 6)


def test_asserted_and_denied_at_once_is_a_problem_but_not_one_of_form() -> None:
    reading = read(GOOD.replace("drusen", "drusen. No drusen"))
    assert reading.contradictory == {"drusen"}
    assert reading.problems == ("both asserted and denied: drusen",)
    assert reading.well_formed


def test_findings_are_not_read_from_the_answer_or_the_conclusion() -> None:
    reading = read("<think>Findings: none. Conclusion: drusen of the disc.</think><answer>hard exudates</answer>")
    assert reading.findings == ()
    assert reading.conclusion == "drusen of the disc"


def test_a_negation_does_not_reach_across_a_tag() -> None:
    assert read("<think>no disease</think>drusen<answer>B</answer>").findings == ("drusen",)


@pytest.mark.parametrize(
    ("text", "conclusion"),
    [
        (GOOD, "glaucoma"),
        ("Conclusion: AMD. Treat soon.", "AMD"),
        ("CONCLUSION :  mild   disease", "mild disease"),
        ("Conclusion: normal.\nConclusion: glaucoma.", "glaucoma"),
        ("Perhaps AMD, more likely glaucoma, not RVO", "glaucoma"),
        ("optic disc on the left", None),
        ("optic disc on the left, so the left eye", "left eye"),
        ("there is no abnormality", "normal"),
        ("nothing to say", None),
        ("Conclusion: ", None),
        ("<think>Conclusion:\ndiabetic retinopathy</think><answer>B</answer>", "diabetic retinopathy"),
        ("Conclusion:\n\n  AMD.\nTreat soon.", "AMD"),
        ("Conclusion:\n- AMD\n- glaucoma", "AMD"),
        ("Conclusion:\n* AMD", "AMD"),
        ("Conclusion:\n1. AMD. Treat soon.", "AMD"),
        ("Conclusion:\n2) AMD", "AMD"),
        ("**Conclusion:**\n\u2022 AMD", "AMD"),
        ("Conclusion: 0.5 mm.", "0.5 mm"),
        ("<think>Conclusion:</think>AMD", None),
        ("<think>Conclusion:\n</think><answer>AMD</answer>", None),
        ("Conclusion:\nFindings: drusen", None),
        ("Conclusion:\nRequired: drusen", None),
    ],
)
def test_conclusion_follows_its_heading_or_is_the_last_label_not_denied(text: str, conclusion: str | None) -> None:
    assert read(text).conclusion == conclusion


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD + " Good luck.", "text after </answer>"),
        ("Well: " + GOOD, "text outside the tags"),
        (GOOD.replace("</think>", "</think>so"), "text outside the tags"),
        (GOOD.replace("</answer>", ""), "</answer> is missing"),
        (GOOD.replace("<think>", ""), "<think> is missing"),
        (GOOD.replace("<think>", "<think><think>"), "<think> is repeated"),
        (GOOD + "<answer>B</answer>", "<answer> is repeated"),
        ("<answer>B</answer><think>Findings: x. Conclusion: y.</think>", "tags are nested or out of order"),
        ("<think>Findings: x. Conclusion: y.<answer>B</answer></think>", "tags are nested or out of order"),
        (GOOD.replace("B</answer>", " </answer>"), "empty answer"),
        (GOOD.replace("Findings: ", ""), "heading findings is missing"),
        (GOOD.replace("Findings: ", "Findings: Findings: "), "heading findings is repeated"),
        ("<think>Conclusion: x. Findings: y.</think><answer>B</answer>", "the conclusion stands before the findings"),
    ],
)
def test_a_chain_in_another_form_is_not_well_formed(text: str, problem: str) -> None:
    reading = read(text)
    assert not reading.well_formed
    assert problem in reading.problems


def test_blanks_around_the_tags_are_well_formed() -> None:
    assert read("\n" + GOOD.replace("</think>", "</think>\n\n") + "\n").well_formed


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (GOOD, "B"),
        ("<answer> B </answer>", "B"),
        ("<answer>B</answer><answer>B</answer>", "B"),
        ("<answer>B</answer><answer>C</answer>", None),
        ("<answer><answer>B</answer></answer>", "B"),
        ("<answer>B", None),
        ("<answer></answer>", None),
        ("B", None),
        ("", None),
    ],
)
def test_answer_is_what_stands_in_the_tags_and_two_that_differ_are_none(text: str, answer: str | None) -> None:
    assert read(text).answer == answer


@pytest.mark.parametrize(
    ("text", "hedged"),
    [
        ("possible drusen, definite hard exudates", ["drusen"]),
        ("drusen cannot be excluded", ["drusen"]),
        ("?CWS", ["cotton_wool_spot"]),
        ("Are there drusen?", ["drusen"]),
        ("Are there drusen? No.", []),
        ("no possible drusen", []),
    ],
)
def test_a_finding_that_is_possible_is_neither_asserted_nor_denied(text: str, hedged: list[str]) -> None:
    reading = read(text)
    assert [m.finding for m in reading.hedged] == hedged
    assert not set(hedged) & {m.finding for m in reading.asserted + reading.denied}


@pytest.mark.parametrize(
    "text",
    [
        "history of drusen",
        "History of drusen or hard exudates",
        "Previous drusen and hard exudates",
        "Formerly, drusen were seen",
        "Drusen were previously seen",
        "Drusen were seen two years ago",
        "Drusen in the past",
        "Two years ago, drusen were seen",
        "a history of possible drusen",
        "a possible history of drusen",
        "Is there a history of drusen?",
    ],
)
def test_a_finding_of_an_earlier_time_is_neither_asserted_nor_denied_nor_possible(text: str) -> None:
    reading = read(text)
    assert reading.asserted + reading.denied + reading.hedged == ()


@pytest.mark.parametrize(
    ("text", "asserted", "denied"),
    [
        ("history of drusen, hard exudates", ["hard_exudate"], []),
        ("history of drusen; hard exudates", ["hard_exudate"], []),
        ("history of drusen, no hard exudates", [], ["hard_exudate"]),
        ("history of drusen with hard exudates", ["hard_exudate"], []),
        ("previous drusen, now hard exudates", ["hard_exudate"], []),
        ("history of disease now with drusen", ["drusen"], []),
        ("a history of disease is noted and drusen are seen", ["drusen"], []),
        ("compared with the previous visit drusen are larger", ["drusen"], []),
        ("previous laser scars", ["laser_scars"], []),
        ("drusen, treated two years ago, and hard exudates", ["drusen", "hard_exudate"], []),
        ("the previous drusen persist", ["drusen"], []),
        ("previously noted drusen are unchanged", ["drusen"], []),
        ("the previous drusen have resolved", [], ["drusen"]),
        ("resolved drusen", [], ["drusen"]),
        ("no history of drusen", [], ["drusen"]),
        ("no previous drusen", [], ["drusen"]),
        ("history of drusen. drusen", ["drusen"], []),
    ],
)
def test_the_past_ends_where_the_text_speaks_of_today(text: str, asserted: list[str], denied: list[str]) -> None:
    reading = read(text)
    assert list(reading.findings) == asserted
    assert [m.finding for m in reading.denied] == denied
    assert reading.hedged == ()


def test_a_disease_of_an_earlier_time_can_still_be_the_conclusion() -> None:
    assert read("Previous RVO.").conclusion_labels == {"retinal vein occlusion"}
    assert labels_in("no history of glaucoma", VOCABULARY) == set()


def test_number_grade_and_eye_stand_with_the_finding() -> None:
    exudates, spots = read("Mild hard exudates and two cotton wool spots in the right eye.").asserted
    assert (exudates.grade, exudates.count, exudates.side) == ("mild", None, "right")
    assert (spots.grade, spots.count, spots.side) == ("", 2, "right")


@pytest.mark.parametrize(
    ("text", "relation"),
    [
        ("Microaneurysms indicate DR.", ("microaneurysm", "diabetic retinopathy", True, True, True)),
        ("Drusen do not suggest DR.", ("drusen", "diabetic retinopathy", False, True, False)),
        ("No drusen, which rules out AMD.", ("drusen", "age-related macular degeneration", False, False, True)),
        ("No drusen, consistent with a normal eye.", ("drusen", "normal", True, False, False)),
        ("Glaucoma is supported by an enlarged cup.", ("enlarged_cup", "glaucoma", True, True, True)),
        ("An optic disc on the left means a left eye.", ("disc_on_left", "left eye", True, True, True)),
    ],
)
def test_a_relation_says_what_speaks_for_what(text: str, relation: tuple[str, str, bool, bool, bool]) -> None:
    (found,) = read(text).relations
    assert (found.finding, found.label, found.supports, found.present, found.speaks_for) == relation


@pytest.mark.parametrize(
    ("word", "count"), [("one", 1), ("twelve", 12), ("thirteen", 13), ("nineteen", 19), ("twenty", 20)]
)
def test_a_number_is_read_as_a_word(word: str, count: int) -> None:
    assert read(f"{word} microaneurysms").asserted[0].count == count


def test_a_relation_reaches_from_finding_to_label() -> None:
    text = "We see that microaneurysms indicate diabetic retinopathy here."
    (found,) = read(text).relations
    assert text[found.start : found.end] == "microaneurysms indicate diabetic retinopathy"


def test_roles_of_a_trace_are_relations_to_its_conclusion() -> None:
    text = GOOD.replace("drusen.", "drusen, hard exudates. Required: drusen. Supportive: hard exudates.")
    assert [(r.finding, r.label, r.supports) for r in read(text).relations] == [
        ("drusen", "glaucoma", True),
        ("hard_exudate", "glaucoma", True),
    ]
    assert read(GOOD).relations == ()


def test_a_role_ends_at_the_next_heading_where_no_full_stop_ends_it() -> None:
    reading = read("Required: drusen Supportive: hard exudates Conclusion: AMD with microaneurysms")
    assert [r.finding for r in reading.relations] == ["drusen", "hard_exudate"]
    assert {r.label for r in reading.relations} == {"age-related macular degeneration"}


def test_a_conclusion_on_its_own_line_is_no_finding() -> None:
    reading = read("Findings:\nmicroaneurysms\nConclusion:\ndrusen of the disc")
    assert reading.findings == ("microaneurysm",)
    assert reading.findings_first


def test_a_long_text_of_role_headings_without_a_full_stop_is_read() -> None:
    # Anything quadratic would take an hour here.
    assert read("Required: drusen " * 60_000 + "Conclusion: AMD").conclusion == "AMD"


def test_a_sentence_that_points_back_takes_the_findings_before_it() -> None:
    one = read("There are drusen. There are hard exudates. This suggests AMD.")
    assert [r.finding for r in one.relations] == ["hard_exudate"]
    both = read("There are drusen. There are hard exudates. These findings suggest AMD.")
    assert [r.finding for r in both.relations] == ["drusen", "hard_exudate"]


def test_a_disease_in_whose_name_a_finding_stands_asserts_no_finding() -> None:
    reading = read("Hard exudates suggest diabetic macular oedema.")
    assert reading.findings == ("hard_exudate",)
    assert [r.label for r in reading.relations] == ["diabetic macular oedema"]


def test_places_of_conclusion_and_answer() -> None:
    reading = read(GOOD)
    assert reading.conclusion_span is not None
    assert reading.answer_span is not None
    assert GOOD[slice(*reading.conclusion_span)] == "glaucoma"
    assert GOOD[slice(*reading.answer_span)] == "B"
    assert reading.conclusion_labels == {"glaucoma"}


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (GOOD, True),
        ("<think>Conclusion: glaucoma. Findings: drusen.</think>", False),
        ("No drusen. Conclusion: normal.", True),
        ("Conclusion: normal.", None),
        ("Findings: drusen.", None),
    ],
)
def test_findings_stand_before_the_conclusion_or_behind_it(text: str, first: bool | None) -> None:
    assert read(text).findings_first is first


TOKENS = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "Findings:",
        "Conclusion:",
        "no ",
        "drusen",
        "B",
        ".",
        "\n",
        " with ",
    ]
)


@settings(deadline=None)
@given(text=st.one_of(st.text(), st.lists(st.one_of(TOKENS, st.text(max_size=3))).map("".join)))
@example(text="\u0130 dru\u017fen \x00 conclusion:")
@example(text="</answer></answer><answer>")
def test_any_text_is_read_without_an_error(text: str) -> None:
    reading = read(text)
    for mention in reading.asserted + reading.denied:
        assert VOCABULARY.finding_id(text[mention.start : mention.end]) == mention.finding
    assert len(set(reading.findings)) == len(reading.findings)
    if reading.well_formed:
        assert reading.answer


@pytest.mark.parametrize(
    "unit",
    ["<answer>", "no ", "drusen ", "Conclusion:", "cotton ", "optic disc ", " ", "\n", ".", "not", "<", "dot and "],
)
def test_a_long_text_of_one_word_is_read(unit: str) -> None:
    # Anything quadratic would take an hour here.
    read(unit * (200_000 // len(unit)))


def test_labels_that_are_denied_do_not_count() -> None:
    assert labels_in("glaucoma, not AMD", VOCABULARY) == {"glaucoma"}


@pytest.mark.parametrize(
    ("text", "first"), [(" a  b. c", "a b"), ("a.", "a"), ("0.5 mm. x", "0.5 mm"), ("a\nb", "a"), ("", "")]
)
def test_first_sentence_ends_at_a_full_stop_or_line_break(text: str, first: str) -> None:
    assert first_sentence(text) == first
