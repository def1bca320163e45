"""A language model as judge, served by vLLM: it reads the passages and may answer only with a verdict and a passage.

The reply is constrained by a JSON schema, so it cannot be anything else, at temperature 0. All claims of a call are
asked at once, and the engine batches them.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from typing import Protocol

from PIL import Image

from fundus_ray.errors import FundusRayError
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.passage import passage_words
from fundus_ray.reward.checkers.checker import CheckedVerdict, CheckerError, Claim, sentence
from fundus_ray.types import ModelReply, ModelRequest, Verdict

_SYSTEM = "You check statements about the eye against passages of ophthalmic texts. Use nothing but the passages."
_QUESTION = (
    "Do the passages support the statement, contradict it, or is it not found in them? Name the passage that decides."
)
_REPLY_TOKENS = 48  # of {"verdict": "contradicted", "passage": 12}, however small the tokenizer's words are
_WORDS = {verdict.value.replace("_", " "): verdict for verdict in Verdict}


class Served(Protocol):
    """A served model (policy/serve.py): the libraries of networks are not imported here."""

    async def complete(self, request: ModelRequest, *, pixels: Image.Image | None, limit_s: float) -> ModelReply:
        """The reply. Raises TimeoutError after limit_s seconds, ConfigError for a request that does not fit,
        WorkerDiedError where the engine fails."""

    async def close(self) -> None:
        """Stop the engine."""


class JudgeChecker:
    """Claims without a passage are NOT_FOUND without asking, with confidence 1. Else the confidence is the model's own
    probability of the verdict among the allowed ones (`_probability`), which need not be calibrated."""

    name = "judge"

    def __init__(self, model: Served, *, vocabulary: Vocabulary, limit_s: float) -> None:
        """limit_s: longest check [s]."""
        self._model = model
        self._vocabulary = vocabulary
        self._limit_s = limit_s

    async def check(self, claims: Sequence[Claim]) -> list[CheckedVerdict]:
        """Raises CheckerError where the engine fails, takes too long, or its reply is cut off."""
        tasks = [asyncio.create_task(self._check(claim)) for claim in claims]
        try:
            return [await task for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Stop the engine."""
        await self._model.close()

    async def _check(self, claim: Claim) -> CheckedVerdict:
        if not claim.passages:
            return CheckedVerdict(Verdict.NOT_FOUND, 1.0, None, "no passage was found on it")
        try:
            reply = await self._model.complete(request_of(claim, self._vocabulary), pixels=None, limit_s=self._limit_s)
        except TimeoutError:
            raise CheckerError(f"the judge did not answer within {self._limit_s:g} s (reward.timeout_s)") from None
        except FundusRayError as err:  # a prompt too long for it, an engine that died
            raise CheckerError(f"the judge failed: {' '.join(str(err).split())[:300]}") from None
        return read_reply(reply, claim)


def request_of(claim: Claim, vocabulary: Vocabulary) -> ModelRequest:
    """The statement with its numbered passages, and the only replies that are allowed."""
    numbered = [f"Passage {i}: {passage_words(passage)}" for i, passage in enumerate(claim.passages, start=1)]
    statement = sentence(claim.finding, claim.label, vocabulary, supports=claim.supports)
    schema = {
        "type": "object",
        "properties": {
            "verdict": {"type": "string", "enum": list(_WORDS)},
            "passage": {"type": "integer", "enum": list(range(1, len(claim.passages) + 1))},
        },
        "required": ["verdict", "passage"],
        "additionalProperties": False,
    }
    return ModelRequest(
        system=_SYSTEM,
        user="\n".join([*numbered, f"Statement: {statement}", _QUESTION]),
        max_tokens=_REPLY_TOKENS,
        schema=json.dumps(schema),
    )


def read_reply(reply: ModelReply, claim: Claim) -> CheckedVerdict:
    """The verdict. Raises CheckerError where the reply is none of the allowed ones."""
    try:
        tree = json.loads(reply.text)
        verdict, passage = _WORDS[tree["verdict"]], dict(enumerate(claim.passages, start=1))[tree["passage"]]
    except (ValueError, KeyError, TypeError):
        raise CheckerError(f"the judge's reply is none of the allowed ones: {reply.text[:100]!r}") from None
    confidence = _probability(reply)
    if verdict is Verdict.NOT_FOUND:
        return CheckedVerdict(verdict, confidence, None, f"the judge finds it in no passage, P = {confidence:.2f}")
    why = f"by the judge, passage {passage.passage_id}, P = {confidence:.2f}"
    return CheckedVerdict(verdict, confidence, passage, why)


def _probability(reply: ModelReply) -> float:
    """Of the verdict's first token (the first with a letter after the colon) among the tokens that the schema allows
    there. The verdicts differ in their first letter, so the rest is only spelling. Other tokens that begin the same
    word are not added: it is no more than the verdict's probability. 1 where the model tells of no tokens.

    Example: `supp` has 0.6, `su` 0.1, `contr` 0.2, `not` 0.1: 0.6 (the verdict itself has 0.7).
    """
    said = ""
    for text, logprob in reply.tokens:
        if ":" in said and any(letter.isalpha() for letter in text):
            return min(1.0, math.exp(logprob))
        said += text
    return 1.0
