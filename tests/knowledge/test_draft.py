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


def read(**lists: object) -> Draft:
    raw = {"required": [], "supportive": [], "contradicting": [], "rule": "Vessels  leak.", **lists}
    return read_draft(
        ModelReply(json.dumps(raw), complete=True),
        label="radiation retinopathy",
        modality=Modality.CFP,
        passages=PASSAGES,
        vocabulary=VOCABULARY,
        snapshot="snap",
        model="llm",
    )


def test_the_request_numbers_the_passages_and_allows_no_other_number() -> None:
    request = draft_request("radiation retinopathy", Modality.CFP, PASSAGES, max_tokens=10)
    assert "[1] Radiation retinopathy. Signs. Radiation retinopathy shows" in request.user
    item = json.loads(request.schema)["properties"]["required"]["items"]
    assert item["properties"]["passage"] == {"enum": [1, 2]}


def test_without_a_passage_there_is_nothing_to_draft_from() -> None:
    with pytest.raises(DataError, match=r"no passage speaks of 'x': add documents"):
        draft_request("x", Modality.CFP, [], max_tokens=10)


def test_known_findings_are_kept_with_the_passage_that_speaks_of_them() -> None:
    draft = read(required=[{"finding": "Microaneurysm", "passage": 1}], supportive=[{"finding": "CWS", "passage": 1}])
    assert draft.findings == {"required": ("microaneurysm",), "supportive": ("cotton_wool_spot",), "contradicting": ()}
    assert draft.citations == {"microaneurysm": ("doc#1",), "cotton_wool_spot": ("doc#1",)}
    assert (draft.rule, draft.flagged, draft.sources) == ("Vessels leak.", (), ("An atlas",))


def test_what_the_vocabulary_does_not_know_is_flagged_and_left_out() -> None:
    draft = read(required=[{"finding": "purple rings", "passage": 2}])
    assert draft.findings["required"] == ()
    assert draft.flagged == ("required: 'purple rings' is not in the vocabulary (cited doc#2)",)


def test_a_finding_in_two_lists_stays_in_the_first_and_is_flagged() -> None:
    both = [{"finding": "microaneurysm", "passage": 1}]
    draft = read(required=both, contradicting=both)
    assert (draft.findings["required"], draft.findings["contradicting"]) == (("microaneurysm",), ())
    assert draft.flagged == ("microaneurysm was proposed as required and as contradicting; kept as required",)


def test_a_citation_that_does_not_speak_of_the_finding_is_flagged() -> None:
    draft = read(supportive=[{"finding": "microaneurysm", "passage": 2}])
    assert draft.citations == {}
    assert draft.flagged == ("microaneurysm: the cited passage doc#2 does not speak of it",)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (ModelReply('{"required": [', complete=False), "was cut off"),
        (ModelReply("{}", complete=True), "cannot be read"),
        (ModelReply('{"required": [{"finding": "drusen", "passage": 9}]}', complete=True), "cannot be read"),
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
    tree = yaml.safe_load(draft_yaml(read(required=[{"finding": "purple rings", "passage": 2}]), on="2031-02-03"))
    assert tree["record"]["label"] == "radiation retinopathy"
    assert tree["record"]["modalities"]["CFP"]["rule"] == "Vessels leak."
    assert tree["draft"]["on"] == "2031-02-03"
    assert tree["draft"]["look_at"] == ["required: 'purple rings' is not in the vocabulary (cited doc#2)"]


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
