"""Natural-language inference by a cross-encoder of transformers: does a passage entail the relation, or contradict it.

Premise: a passage. Hypothesis: the relation in a sentence, always as "is a sign of": a claim that the finding speaks
against the label is borne out by what contradicts that sentence. Nothing is downloaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from fundus_ray.errors import ConfigError
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.passage import passage_words
from fundus_ray.reward.checkers.checker import CheckedVerdict, CheckerError, Claim, sentence
from fundus_ray.types import Verdict

CONFIDENT = 0.7  # least probability of a verdict; what is less sure is NOT_FOUND
_BATCH = 32
_LONGEST = 512  # tokens, where the model sets no lower limit


class NliChecker:
    """One model, asked about all claims x passages in batches. The passage that is surest decides a claim."""

    name = "nli"

    def __init__(self, folder: str, *, vocabulary: Vocabulary, threads: int, gpu: bool, limit_s: float) -> None:
        """limit_s: longest check [s]. Raises ConfigError where there is no such model, or its labels do not say which
        of them is entailment and which contradiction."""
        self._vocabulary = vocabulary
        self._limit_s = limit_s
        self._turn = asyncio.Lock()  # more at once would only share the same threads
        torch.set_num_threads(threads)
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForSequenceClassification.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32
            )
        except (OSError, ValueError, KeyError) as err:
            raise ConfigError(
                f"reward.checker_model={folder}: cannot be read as a cross-encoder: {' '.join(str(err).split())[:200]}"
            ) from None
        self._entails, self._contradicts = _label_ids(model.config.id2label, folder=folder)
        self._model = model.to("cuda" if gpu else "cpu").eval()
        positions = getattr(model.config, "max_position_embeddings", _LONGEST)
        self._longest = min(_LONGEST, self._tokenizer.model_max_length, positions)

    async def check(self, claims: Sequence[Claim]) -> list[CheckedVerdict]:
        """Raises CheckerError where the model fails or takes too long."""
        try:
            async with asyncio.timeout(self._limit_s), self._turn:
                return await asyncio.to_thread(self._check, claims)
        except TimeoutError:
            raise CheckerError(
                f"the nli checker did not answer within {self._limit_s:g} s (reward.timeout_s)"
            ) from None
        except RuntimeError as err:  # PyTorch's word for memory and devices that fail
            raise CheckerError(f"the nli checker failed: {' '.join(str(err).split())[:200]}") from None

    async def close(self) -> None:
        """Nothing runs."""

    def _check(self, claims: Sequence[Claim]) -> list[CheckedVerdict]:
        pairs = [
            (passage_words(passage), sentence(claim.finding, claim.label, self._vocabulary))
            for claim in claims
            for passage in claim.passages
        ]
        probabilities = iter(self._probabilities(pairs))
        return [self._verdict(claim, [next(probabilities) for _ in claim.passages]) for claim in claims]

    def _verdict(self, claim: Claim, found: Sequence[tuple[float, float]]) -> CheckedVerdict:
        """`found`: P(entailment), P(contradiction) by each passage."""
        surest = max(
            ((p, is_sign, i) for i, both in enumerate(found) for p, is_sign in zip(both, (True, False), strict=True)),
            default=(0.0, True, 0),
        )
        probability, is_sign, i = surest
        if probability < CONFIDENT:
            why = f"no passage of {len(found)} bears it out or contradicts it with P >= {CONFIDENT:g}"
            return CheckedVerdict(Verdict.NOT_FOUND, 1 - probability, None, why)
        agrees = is_sign == claim.supports
        passage = claim.passages[i]
        word = "bears it out" if agrees else "contradicts it"
        return CheckedVerdict(
            verdict=Verdict.SUPPORTED if agrees else Verdict.CONTRADICTED,
            confidence=probability,
            passage=passage,
            why=f"passage {passage.passage_id} {word}, P = {probability:.2f}",
        )

    @torch.inference_mode()
    def _probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, float]]:
        """P(entailment), P(contradiction) of each; a premise that is too long is cut at its end."""
        result = [(0.0, 0.0)] * len(pairs)
        by_length = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]))  # little padding in a batch
        for start in range(0, len(pairs), _BATCH):
            chosen = by_length[start : start + _BATCH]
            tokens = self._tokenizer(
                [pairs[i][0] for i in chosen],
                [pairs[i][1] for i in chosen],
                padding=True,
                truncation="only_first",
                max_length=self._longest,
                return_tensors="pt",
            ).to(self._model.device)
            softmax = self._model(**tokens).logits.float().softmax(-1).cpu()
            for i, row in zip(chosen, softmax.tolist(), strict=True):
                result[i] = (row[self._entails], row[self._contradicts])
        return result


def _label_ids(id2label: dict[int, str], *, folder: str) -> tuple[int, int]:
    """Of entailment and contradiction, by the model's own names for its outputs."""
    found = [[i for i, name in id2label.items() if name.lower().startswith(word)] for word in ("entail", "contradict")]
    if [len(ids) for ids in found] != [1, 1]:
        raise ConfigError(
            f"reward.checker_model={folder}: its config.json names the outputs {', '.join(id2label.values())}; one "
            "must begin with `entail` and one with `contradict`"
        )
    return found[0][0], found[1][0]
