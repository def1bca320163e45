"""The checker that the settings ask for.

Networks are imported only where they are used: PyTorch and vLLM cost seconds.
"""

from __future__ import annotations

import math
from dataclasses import replace

from fundus_ray.config import Config
from fundus_ray.knowledge.records import Records
from fundus_ray.reward.checkers.checker import Checker
from fundus_ray.reward.checkers.judge import JudgeChecker
from fundus_ray.reward.checkers.record import RecordChecker

# Tokens of the judge's prompt and reply: the statement and the question, and each passage, of which passage_tokens is
# only an estimate.
_JUDGE_LEN, _QUESTION_LEN, _PASSAGE_FACTOR = 4096, 1024, 2


def open_checker(config: Config, records: Records) -> Checker:
    """Takes seconds to minutes for a model. Must be called inside a running event loop. Raises ConfigError where
    reward.checker_model cannot be used."""
    reward, vocabulary = config.reward, records.vocabulary
    if reward.checker == "nli":
        from fundus_ray.reward.checkers.nli import NliChecker

        return NliChecker(
            reward.checker_model,
            vocabulary=vocabulary,
            threads=max(1, math.ceil(reward.cpus)),
            gpu=reward.gpus > 0,
            limit_s=reward.timeout_s,
        )
    if reward.checker == "judge":
        from fundus_ray.policy.serve import ServedModel

        passages = config.knowledge.top_k * config.knowledge.passage_tokens
        length = max(_JUDGE_LEN, config.rollout.max_model_len, _QUESTION_LEN + _PASSAGE_FACTOR * passages)
        engine = replace(
            config.rollout,
            gpus=reward.gpus,
            tensor_parallel=max(1, math.floor(reward.gpus)),
            max_model_len=length,
        )
        served = replace(config, rollout=engine)
        model = ServedModel.start(served, model_path=reward.checker_model, name="judge")
        return JudgeChecker(model, vocabulary=vocabulary, limit_s=reward.timeout_s)
    return RecordChecker(records)
