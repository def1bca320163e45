"""Drafted records: what the model may say, and what becomes of what it said."""

from __future__ import annotations

import json

import pytest
import yaml

from fundus_ray.errors import DataError
from fundus_ray.knowledge.draft import Draft, draft_request, draft_yaml, read_draft, speaks_of
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.types import Evidence, Modality, ModelReply

VOCABULARY = load_vocabulary()


def passage(number: int, text: str) -> Evidence:
    return Evidence(
        passage_id=f"doc#{number}",
        title="Radiation retinopathy",
        section="Signs",
        text=text,
        source="An atlas",
        url="",
        licence="CC0",
        score=1.0,
        rank=number,
        query="q",
    )


PASSAGES = [
    passage(1, "Radiation retinopathy shows microaneurysms and cotton wool spots."),
    passage(2, "Drusen are not part of it."),
]


ALL = {"microaneurysms": "required", "cotton wool spots": "supportive", "drusen": "unrelated"}


def read(roles: dict[str, str] = ALL, **more: object) -> Draft:
    return read_draft(
        ModelReply(json.dumps({**roles, "other": [], "rule": "Vessels  leak.", **more}), complete=True),
        label="radiation retinopathy",
        modality=Modality.CFP,
        passages=PASSAGES,
        vocabulary=VOCABULARY,
        snapshot="snap",
        model="llm",
    )


def test_the_model_chooses_a_role_for_each_finding_that_the_passages_speak_of() -> None:
    request = draft_request("radiation retinopathy", Modality.CFP, PASSAGES, vocabulary=VOCABULARY, max_tokens=10)
    assert "[1] Radiation retinopathy. Signs. Radiation retinopathy shows" in request.user
    schema = json.loads(request.schema)
    assert schema["required"] == ["microaneurysms", "cotton wool spots", "drusen", "other", "rule"]
    assert schema["properties"]["drusen"] == {
        "enum": ["required", "alternative", "supportive", "contradicting", "unrelated"]
    }


def test_without_a_passage_there_is_nothing_to_draft_from() -> None:
    with pytest.raises(DataError, match=r"no passage speaks of 'x': add documents"):
        draft_request("x", Modality.CFP, [], vocabulary=VOCABULARY, max_tokens=10)


def test_roles_become_lists_with_the_passages_that_speak_of_the_finding() -> None:
    draft = read()
    assert draft.findings == {"required": ("microaneurysm",), "supportive": ("cotton_wool_spot",), "contradicting": ()}
    assert draft.citations == {"microaneurysm": ("doc#1",), "cotton_wool_spot": ("doc#1",)}
    assert (draft.rule, draft.sources) == ("Vessels leak.", ("An atlas",))


def test_alternatives_become_a_group_of_which_one_is_required() -> None:
    draft = read({**ALL, "microaneurysms": "alternative", "cotton wool spots": "alternative"})
    assert draft.any_of == (("microaneurysm", "cotton_wool_spot"),)
    assert draft.findings == {"required": (), "supportive": (), "contradicting": ()}
    assert set(draft.citations) == {"microaneurysm", "cotton_wool_spot"}
    assert not any(line.startswith("no finding is required") for line in draft.flagged)
    content = yaml.safe_load(draft_yaml(draft, on="2031-02-03"))["record"]["modalities"]["CFP"]
    assert content["any_of"] == [["microaneurysm", "cotton_wool_spot"]]
    assert "any_of" not in yaml.safe_load(draft_yaml(read(), on="2031-02-03"))["record"]["modalities"]["CFP"]


def test_a_lone_alternative_is_required_and_flagged() -> None:
    draft = read({**ALL, "microaneurysms": "alternative"})
    assert (draft.any_of, draft.findings["required"]) == ((), ("microaneurysm",))
    assert "'microaneurysms' was named as an alternative to nothing and stands as required" in draft.flagged


def test_what_the_vocabulary_does_not_know_is_flagged_and_left_out() -> None:
    assert "'purple rings' is not in the vocabulary" in read(other=["purple rings", "purple rings"]).flagged


def test_a_draft_that_requires_nothing_is_flagged() -> None:
    draft = read({**ALL, "microaneurysms": "unrelated"})
    assert any(line.startswith("no finding is required") for line in draft.flagged)
    assert not any(line.startswith("no finding is required") for line in read().flagged)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (ModelReply('{"microaneurysms": "req', complete=False), "was cut off"),
        (ModelReply("{}", complete=True), "cannot be read"),
        (ModelReply(json.dumps({**ALL, "other": []}), complete=True), "cannot be read"),
    ],
)
def test_a_reply_that_is_no_draft_is_quoted(reply: ModelReply, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_draft(
            reply,
            label="x",
            modality=Modality.CFP,
            passages=PASSAGES,
            vocabulary=VOCABULARY,
            snapshot="",
            model="",
        )


def test_the_file_holds_record_and_draft_apart() -> None:
    tree = yaml.safe_load(draft_yaml(read(other=["purple rings"]), on="2031-02-03"))
    assert tree["record"]["label"] == "radiation retinopathy"
    assert tree["record"]["modalities"]["CFP"]["rule"] == "Vessels leak."
    assert tree["draft"]["on"] == "2031-02-03"
    assert tree["draft"]["look_at"][0] == "'purple rings' is not in the vocabulary"


@pytest.mark.parametrize(
    ("label", "text", "said"),
    [
        ("radiation retinopathy", "In Radiation-Retinopathy, vessels leak.", True),
        ("CRAO", "CRAO: pale retina", True),
        ("CRAO", "macraos", False),
    ],
)
def test_a_passage_speaks_of_a_label_as_whole_words(label: str, text: str, said: bool) -> None:
    one = Evidence("i", "", "", text, "", "", "", 1.0, 1, "")
    assert speaks_of(one, label) is said
