"""A command line's words become a sample or one clear error; its chain is scored as in a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_ray.audit.score import sample_of, score_text, split_options
from fundus_ray.config import Config, load
from fundus_ray.errors import ConfigError
from fundus_ray.types import Modality, Sample

CHAIN = (
    "<think>Findings: microaneurysms, hard exudates. No drusen. Microaneurysms indicate diabetic retinopathy. "
    "Conclusion: diabetic retinopathy.</think><answer>B</answer>"
)


def sample(
    config: Config | None = None,
    *,
    modality: str = "cfp",
    options: str = "A. normal, B. diabetic retinopathy",
    truth: str = "B",
    findings: str | None = None,
    question: str = "Q?",
    task: str | None = None,
) -> Sample:
    return sample_of(
        config or Config(),
        modality=modality,
        question=question,
        options=options,
        truth=truth,
        findings=findings,
        task=task,
    )


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("A. normal, B. glaucoma", ("normal", "glaucoma")),
        ("A. drusen, small, and soft, B. none, C. both", ("drusen, small, and soft", "none", "both")),
        ("(A) left eye; (B) right eye", ("left eye", "right eye")),
        ("A) one\nB) two\n", ("one", "two")),
        ("A: one, B: see fig. B. 2, C: three", ("one", "see fig. B. 2", "three")),
        ("A. vitamin A, A. 2 of it, B. vitamin B", ("vitamin A, A. 2 of it", "vitamin B")),
        ("A. one, C. not in order, B. two", ("one, C. not in order", "two")),
        ("a. normal, b. glaucoma", ("normal", "glaucoma")),
        ("(a) left; (b) right, B. it is, (c) none", ("left", "right, B. it is", "none")),
        ("A. vitamins a, b.\nB. none", ("vitamins a, b.", "none")),
        ("A. none, b. of them, B. all", ("none, b. of them", "all")),
        ("", ()),
    ],
)
def test_options_may_hold_commas_as_letters_part_them(text: str, options: tuple[str, ...]) -> None:
    assert split_options(text) == options


@pytest.mark.parametrize(
    "text", ["normal, glaucoma", "B. normal, C. x", "A. only", "A. x, B. X", "A. , B. x", "see A. x, B. y", "A.x"]
)
def test_options_that_cannot_be_read_are_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--options .* cannot be read: .*A\. normal, B\. glaucoma"):
        split_options(text)


def test_the_question_becomes_a_sample() -> None:
    made = sample(modality="OCT", truth="diabetic retinopathy", findings="Drusen, microaneurysms")
    assert (made.modality, made.options) == (Modality.OCT, ("normal", "diabetic retinopathy"))
    assert made.answer == ("diabetic retinopathy",)
    assert made.findings == ("drusen", "microaneurysm")
    assert sample().findings is None
    assert sample(findings="").findings == ()
    assert sample(options="", truth="free text").answer == ("free text",)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"modality": "mri"}, "--modality mri is not known; give one of cfp, oct, uwf"),
        ({"truth": "C"}, r"--truth 'C' names none of the options; give a letter of: A\. normal, B\. diabetic"),
        ({"truth": " "}, "--truth is empty; give the right option's letter or text"),
        ({"truth": "", "options": ""}, "--truth is empty; give the right answer's text, or options"),
        ({"question": " "}, "--question is empty; give the question"),
        (
            {"task": "Count"},
            "--task 'Count' is not known; give one of modality, structure, laterality, lesion, location, size, count, "
            "abnormality, diagnosis, grading, or leave it out",
        ),
        ({"findings": "drusen, blots of ink"}, "--findings: 'blots of ink' is not in the vocabulary"),
    ],
)
def test_other_words_are_an_error_that_names_them(words: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        sample(**words)  # type: ignore[arg-type]


def test_a_chain_is_scored_with_the_place_of_each_finding(tmp_path: Path) -> None:
    config = load(None, [f"run.dir={tmp_path}"])
    made = score_text(config, sample(config, findings="microaneurysms"), CHAIN)
    assert (made["status"], made["answer"]) == ("scored", ("diabetic retinopathy",))
    assert made["parts"]["accuracy"] == made["parts"]["format"] == made["parts"]["consistency"] == 1.0
    assert made["parts"]["grounding"] == pytest.approx(2 / 3)  # one of two stated is on the image
    assert made["recited"] == ("hard_exudate",)
    seen = [(f["finding"], f["polarity"]) for f in made["findings"]]
    assert seen == [("microaneurysm", "asserted"), ("hard_exudate", "asserted"), ("drusen", "denied")]
    assert all(CHAIN[f["start"] : f["end"]] == f["text"] for f in made["findings"])
    (claim,) = made["claims"]
    assert (claim["finding"], claim["label"], claim["verdict"]) == (
        "microaneurysm",
        "diabetic retinopathy",
        "supported",
    )
    assert {"id", "title", "section", "excerpt", "score"} <= made["evidence"][0].keys()
    assert made["snapshot"]


def test_a_task_gives_the_parts_their_meaning_as_in_a_run(tmp_path: Path) -> None:
    config = load(None, [f"run.dir={tmp_path}"])
    chain = "<think>Findings: three microaneurysms. Conclusion: <=5.</think><answer>A</answer>"
    words = {"question": "How many microaneurysms are there?", "options": "A. <=5, B. >5", "truth": "A"}
    assert score_text(config, sample(**words), chain)["parts"]["consistency"] is None  # type: ignore[arg-type]
    counted = score_text(config, sample(**words, task="count"), chain)  # type: ignore[arg-type]
    assert counted["parts"]["consistency"] == 1.0


def test_spans_are_places_in_the_text_as_given(tmp_path: Path) -> None:
    given = f"\n  \t{CHAIN}\n"
    made = score_text(load(None, [f"run.dir={tmp_path}"]), sample(), given)
    assert [given[f["start"] : f["end"]] for f in made["findings"]] == ["microaneurysms", "hard exudates", "drusen"]
    (claim,) = made["claims"]
    assert given[claim["start"] : claim["end"]].startswith("Microaneurysms indicate")
    assert made["parts"]["format"] == 1.0


def test_the_weights_stand_beside_the_parts(tmp_path: Path) -> None:
    settings = [f"run.dir={tmp_path}", "reward.format=0.5", "reward.consistency=0", "reward.grounding=0"]
    weights = score_text(load(None, settings), sample(), CHAIN)["weights"]
    assert (weights["accuracy"], weights["format"], weights["consistency"], weights["grounding"]) == (1.0, 0.5, 0, 0)


def test_a_chain_that_cannot_be_read_is_unparseable_and_scores_zero(tmp_path: Path) -> None:
    made = score_text(load(None, [f"run.dir={tmp_path}"]), sample(), "I do not know")
    assert (made["status"], made["total"], made["answer"], made["findings"]) == ("unparseable", 0.0, None, [])
