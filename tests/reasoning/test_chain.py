"""What `compose` writes, `read_chain` and `choose` read back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reasoning.answer import choose
from fundus_ray.reasoning.chain import compose
from fundus_ray.reasoning.prompt import letter
from fundus_ray.reasoning.steps import read_chain

VOCABULARY = load_vocabulary()
LABELS = tuple(VOCABULARY.labels)


def test_chain_with_findings_is_written_as_documented() -> None:
    text = compose(findings=["hard exudates", "microaneurysms"], conclusion="diabetic retinopathy", letters=["B"])
    assert text == (
        "<think>Findings: hard exudates, microaneurysms. Conclusion: diabetic retinopathy.</think><answer>B</answer>"
    )


def test_chain_without_findings_says_none() -> None:
    text = compose(findings=[], conclusion="normal", letters=["A"])
    assert text == "<think>Findings: none. Conclusion: normal.</think><answer>A</answer>"


def test_several_letters_are_joined_by_commas() -> None:
    assert compose(findings=[], conclusion="x", letters=["A", "D"]).endswith("<answer>A,D</answer>")


@settings(deadline=None)
@given(
    findings=st.lists(st.sampled_from(tuple(VOCABULARY.findings)), unique=True),
    chosen=st.lists(st.sampled_from(LABELS), unique=True, min_size=1, max_size=3),
)
def test_every_set_of_findings_and_labels_comes_back(findings: list[str], chosen: list[str]) -> None:
    options = list(dict.fromkeys([*LABELS[:20], *chosen]))  # a question has at most 26
    text = compose(
        findings=[VOCABULARY.name(f) for f in findings],
        conclusion=", ".join(chosen),
        letters=[letter(options.index(c)) for c in chosen],
    )
    reading = read_chain(text, VOCABULARY)
    assert list(reading.findings) == findings
    assert [text[m.start : m.end] for m in reading.asserted] == [VOCABULARY.name(f) for f in findings]
    assert reading.denied == ()
    assert reading.conclusion == ", ".join(chosen)
    assert set(choose(reading.answer, options) or ()) == set(chosen)
    assert reading.well_formed
    assert reading.problems == ()
