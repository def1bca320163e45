"""What the generic model is asked, and how its replies are taken."""

from __future__ import annotations

import json

import pytest

from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.traces.reader import candidates, finding_request, findings_of
from fundus_ray.types import Modality, ModelReply

VOCABULARY, RECORDS = load_vocabulary(), load_records()


def test_only_findings_that_some_label_of_the_data_asks_for_may_be_named() -> None:
    dr, amd = RECORDS.get("diabetic retinopathy", Modality.CFP), RECORDS.get("AMD", Modality.CFP)
    assert dr is not None
    assert amd is not None
    allowed = candidates(RECORDS, Modality.CFP, ["diabetic retinopathy", "AMD", "no such label", "AMD"])
    assert set(allowed) == {*dr.in_favour, *amd.in_favour}
    assert list(allowed) == sorted(allowed)
    assert candidates(RECORDS, Modality.CFP, ["no such label"]) == ()


def test_the_request_names_the_choices_and_its_schema_allows_nothing_else() -> None:
    request = finding_request(Modality.OCT, ["drusen", "hard exudates"], max_findings=3, max_tokens=50)
    assert "retinal OCT scan" in request.system
    assert "drusen, hard exudates" in request.user
    items = json.loads(request.schema)["properties"]["findings"]
    assert items == {"type": "array", "items": {"enum": ["drusen", "hard exudates"]}, "maxItems": 3}


def test_a_reply_becomes_ids_each_once() -> None:
    reply = ModelReply('{"findings": ["hard exudates", "drusen", "hard exudates"]}', complete=True)
    assert findings_of(reply, VOCABULARY) == ("hard_exudate", "drusen")
    assert findings_of(ModelReply('{"findings":[]}', complete=True), VOCABULARY) == ()


@pytest.mark.parametrize(
    "text",
    [
        '{"findings": ["drusen"',
        "drusen",
        '{"finding": []}',
        '{"findings": 3}',
        '{"findings": [3]}',
        "[]",
        "null",
        '{"findings": ["ghost vessel"]}',
    ],
)
def test_a_reply_that_is_not_as_asked_is_none(text: str) -> None:
    assert findings_of(ModelReply(text, complete=True), VOCABULARY) is None


def test_a_reply_that_was_cut_off_is_none_even_where_it_parses() -> None:
    assert findings_of(ModelReply('{"findings": []}', complete=False), VOCABULARY) is None
