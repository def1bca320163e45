"""Held-out evaluation: one greedy chain a sample, scored as in training.

In: samples, and two callables that reach the engines and the reward workers. Out: an `EvalResult`. No Ray here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace

from fundus_ray.bars import Bar
from fundus_ray.errors import SampleError
from fundus_ray.evaluate.metrics import EvalResult, EvalRow, summarise
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.reward.outcome import accuracy
from fundus_ray.reward.tasks import in_annotators_terms
from fundus_ray.types import Prompt, RewardStatus, RolloutGroup, Sample, Sampling, ScoredGroup

Generate = Callable[[Prompt, Sampling], Awaitable[RolloutGroup]]
Score = Callable[[RolloutGroup], Awaitable[ScoredGroup]]

PROMPT_SEED = 0  # greedy decoding draws nothing


async def evaluate(
    generate: Generate,
    score: Score,
    samples: Sequence[Sample],
    *,
    sampling: Sampling,
    concurrency: int,
    timeout_s: float,
    label: str = "evaluate",
    image_paths: bool = False,
) -> EvalResult:
    """Read every sample once, at temperature 0 and n = 1 whatever `sampling` says; only its max_tokens is used.

    At most `concurrency` samples are under way. A sample whose generation or scoring takes over `timeout_s`, or that
    is unscorable or cannot be read, is counted under the result's `failed` ("generate_timeout", "score_timeout",
    "unscorable", "unusable") and is in no other number. Every other error ends the evaluation: what is under way is
    cancelled and the error raised.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency={concurrency} must be >= 1")
    greedy = replace(sampling, n=1, temperature=0.0)
    free = asyncio.Semaphore(concurrency)

    async def one(index: int, sample: Sample) -> tuple[int, EvalRow | str]:
        async with free:
            prompt = build_prompt(sample, group_id=index, seed=PROMPT_SEED)
            return index, await _read(
                generate, score, prompt, sampling=greedy, timeout_s=timeout_s, image_paths=image_paths
            )

    outcomes = await _all([one(i, sample) for i, sample in enumerate(samples)], label=label)
    in_order = [outcomes[i] for i in range(len(samples))]
    return summarise(
        [outcome for outcome in in_order if isinstance(outcome, EvalRow)],
        failed=Counter(outcome for outcome in in_order if isinstance(outcome, str)),
    )


async def _all(
    jobs: Sequence[Coroutine[None, None, tuple[int, EvalRow | str]]], *, label: str
) -> dict[int, EvalRow | str]:
    """Run the jobs under a progress bar; the first error cancels the others and is raised."""
    tasks = [asyncio.create_task(job) for job in jobs]
    outcomes: dict[int, EvalRow | str] = {}
    try:
        with Bar(total=len(tasks), desc=label, unit="image", mininterval=0.5) as bar:
            for done in asyncio.as_completed(tasks):
                index, outcome = await done
                outcomes[index] = outcome
                bar.update()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return outcomes


async def _read(
    generate: Generate, score: Score, prompt: Prompt, *, sampling: Sampling, timeout_s: float, image_paths: bool
) -> EvalRow | str:
    """The sample's row, or why there is none."""
    try:
        group = await asyncio.wait_for(generate(prompt, sampling), timeout_s)
    except TimeoutError:
        return "generate_timeout"
    except SampleError:
        return "unusable"
    try:
        scored = await asyncio.wait_for(score(group), timeout_s)
    except TimeoutError:
        return "score_timeout"
    except SampleError:
        return "unusable"
    (item,) = scored.scored
    if item.status is RewardStatus.UNSCORABLE:
        return "unscorable"
    sample = prompt.sample
    return EvalRow(
        sample=sample.id,
        image=sample.image.path if image_paths else sample.image.sha256,
        task=sample.task,
        question=sample.question,
        options=sample.options,
        gold_answer=sample.answer,
        gold_findings=sample.findings,
        text=item.rollout.text,
        answer=item.answer,
        correct=accuracy(item.answer, sample.answer) == 1.0,
        findings=in_annotators_terms(item.findings, sample),
        recited=item.recited,
        well_formed=item.parts["format"] == 1.0,
        status=item.status.value,
        total=item.total,
        parts=dict(item.parts),
        policy_step=item.rollout.policy.step,
        policy_sha256=item.rollout.policy.sha256,
    )
