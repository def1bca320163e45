"""The language model as judge: what it is asked and may answer, and a real engine with a tiny model."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
from pathlib import Path

import pytest
from PIL import Image

from fundus_ray.cluster import WORKER_ENV
from fundus_ray.config import load
from fundus_ray.errors import ConfigError, FundusRayError, WorkerDiedError
from fundus_ray.knowledge.records import load_records
from fundus_ray.reward.checkers.checker import CheckerError, Claim
from fundus_ray.reward.checkers.judge import JudgeChecker, read_reply, request_of
from fundus_ray.reward.checkers.open import open_checker
from fundus_ray.types import Evidence, Modality, ModelReply, ModelRequest, Verdict

RECORDS = load_records()
VOCABULARY = RECORDS.vocabulary


def passage(name: str, text: str) -> Evidence:
    return Evidence(name, "Title", "", text, "test", "", "", score=1.0, rank=1, query="")


PASSAGES = (passage("a#0", "Drusen mark macular degeneration."), passage("b#0", "Cups grow in glaucoma."))
CLAIM = Claim("drusen", "glaucoma", True, Modality.CFP, PASSAGES)


class Scripted:
    """A model that says what it is told to."""

    def __init__(self, reply: str | Exception) -> None:
        self.reply = reply
        self.asked: list[ModelRequest] = []
        self.under_way = self.most_under_way = 0

    async def complete(self, request: ModelRequest, *, pixels: Image.Image | None, limit_s: float) -> ModelReply:
        self.asked.append(request)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if isinstance(self.reply, Exception):
            raise self.reply
        return ModelReply(text=self.reply, complete=True)

    async def close(self) -> None:
        pass


def judge(reply: str | Exception) -> tuple[JudgeChecker, Scripted]:
    model = Scripted(reply)
    return JudgeChecker(model, vocabulary=VOCABULARY, limit_s=5.0), model


def test_it_is_asked_about_the_statement_and_may_answer_only_with_a_verdict_and_a_passage() -> None:
    request = request_of(dataclasses.replace(CLAIM, supports=False), VOCABULARY)
    assert "Passage 1: Title. . Drusen mark macular degeneration." in request.user
    assert "Passage 2: Title. . Cups grow in glaucoma." in request.user
    assert "Statement: Drusen speak against glaucoma." in request.user
    properties = json.loads(request.schema)["properties"]
    assert properties["verdict"]["enum"] == ["supported", "contradicted", "not found"]
    assert properties["passage"]["enum"] == [1, 2]


@pytest.mark.parametrize(
    ("reply", "verdict", "passage_id"),
    [
        ('{"verdict": "supported", "passage": 1}', Verdict.SUPPORTED, "a#0"),
        ('{"verdict": "contradicted", "passage": 2}', Verdict.CONTRADICTED, "b#0"),
        ('{"verdict": "not found", "passage": 2}', Verdict.NOT_FOUND, None),
    ],
)
async def test_a_reply_is_a_verdict_with_its_passage(reply: str, verdict: Verdict, passage_id: str | None) -> None:
    checker, _ = judge(reply)
    (found,) = await checker.check([CLAIM])
    assert found.verdict is verdict
    assert (found.passage.passage_id if found.passage else None) == passage_id


def test_the_confidence_is_the_probability_of_the_token_that_decides_the_verdict() -> None:
    pieces = [('{"verdict', 0.5), ('":', 0.5), (' "', 0.5), ("supp", 0.6), ("orted", 0.9), ('",', 0.5), (' "', 0.5)]
    rest = [("passage", 0.5), ('":', 0.5), (" 1", 0.25), ("}", 1.0)]
    tokens = tuple((text, math.log(p)) for text, p in [*pieces, *rest])
    text = "".join(text for text, _ in tokens)
    found = read_reply(ModelReply(text, complete=True, tokens=tokens), CLAIM)
    assert found.confidence == pytest.approx(0.6)
    assert found.why == "by the judge, passage a#0, P = 0.60"
    verdicts = json.loads(request_of(CLAIM, VOCABULARY).schema)["properties"]["verdict"]["enum"]
    assert len({verdict[0] for verdict in verdicts}) == 3


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "supported",
        '{"verdict": "suppo',
        '{"verdict": "maybe", "passage": 1}',
        '{"verdict": "supported", "passage": 0}',
        '{"verdict": "supported", "passage": 3}',
        '{"verdict": "supported"}',
        '["supported", 1]',
    ],
)
def test_any_other_reply_is_a_checker_error(reply: str) -> None:
    with pytest.raises(CheckerError, match="none of the allowed ones"):
        read_reply(ModelReply(text=reply, complete=False), CLAIM)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (TimeoutError(), "the judge did not answer within 5 s"),
        (WorkerDiedError("judge: its engine died"), "the judge failed: judge: its engine died"),
        (ConfigError("the request does not fit"), "the judge failed: the request does not fit"),
    ],
)
async def test_a_model_that_fails_is_a_checker_error(failure: Exception, said: str) -> None:
    checker, _ = judge(failure)
    with pytest.raises(CheckerError, match=said):
        await checker.check([CLAIM, CLAIM])


async def test_all_claims_are_asked_at_once_and_those_without_passages_not_at_all() -> None:
    checker, model = judge('{"verdict": "supported", "passage": 1}')
    bare = dataclasses.replace(CLAIM, passages=())
    found = await checker.check([CLAIM, bare, CLAIM, CLAIM])
    assert [f.verdict for f in found] == [Verdict.SUPPORTED, Verdict.NOT_FOUND, Verdict.SUPPORTED, Verdict.SUPPORTED]
    assert (len(model.asked), model.most_under_way) == (3, 3)


async def test_a_real_engine_answers_within_the_allowed_choices_and_its_failures_are_checker_errors(
    tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in WORKER_ENV.items():  # as in the reward actors
        monkeypatch.setenv(name, value)
    config = load(None, ["reward.checker=judge", f"reward.checker_model={tiny_policy}"])
    checker = open_checker(config, RECORDS)
    try:
        claims = [
            dataclasses.replace(CLAIM, finding=finding, passages=PASSAGES[:count])
            for finding, count in (("drusen", 1), ("drusen", 2), ("enlarged_cup", 2), ("microaneurysm", 1))
        ]
        found = await checker.check(claims)
        assert len(found) == 4
        for verdict, claim in zip(found, claims, strict=True):  # the model is untrained: any choice, but a choice
            assert (verdict.passage is None) == (verdict.verdict is Verdict.NOT_FOUND)
            assert verdict.passage is None or verdict.passage in claim.passages
            # An untrained model finds all tokens much alike: among its whole vocabulary it would be about 1/415.
            assert 0.05 < verdict.confidence <= 1
        assert [v.verdict for v in await checker.check(claims)] == [v.verdict for v in found]  # temperature 0

        endless = dataclasses.replace(CLAIM, passages=(passage("c#0", "drusen " * 20000),))
        with pytest.raises(CheckerError, match="does not fit"):
            await checker.check([CLAIM, endless])
        assert isinstance(checker, JudgeChecker)
        with pytest.raises(CheckerError, match="did not answer within"):
            await JudgeChecker(checker._model, vocabulary=VOCABULARY, limit_s=1e-6).check([CLAIM])
    finally:
        await checker.close()


async def test_a_folder_that_vllm_does_not_serve_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    config = load(None, ["reward.checker=judge", f"reward.checker_model={tmp_path}"])
    with pytest.raises(FundusRayError, match="cannot be served"):
        open_checker(config, RECORDS)
