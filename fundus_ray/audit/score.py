"""One chain scored as a run would score it, without Ray: from a command line's words to a JSON object.

In: question, options, right answer, modality, kind of question, text. Out: what `fundus-ray reward score` prints.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from fundus_ray.audit.explain import mentions
from fundus_ray.config import Config
from fundus_ray.errors import ConfigError
from fundus_ray.knowledge.store import build_store, records_of
from fundus_ray.obs.rollout_lines import scores
from fundus_ray.reasoning.answer import choose
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.reward.checkers.open import open_checker
from fundus_ray.reward.tasks import TASKS
from fundus_ray.reward.worker import make_rubric
from fundus_ray.types import (
    ImageRef,
    Modality,
    PolicyVersion,
    RewardStatus,
    Rollout,
    RolloutGroup,
    Sample,
    ScoredGroup,
)

# A letter that begins an option: at the start, or after a comma, semicolon or line break.
_LETTERED = re.compile(r"(?:^|[,;\n])\s*\(?([A-Za-z])[.):]\)?(?=\s)", re.ASCII)


def sample_of(
    config: Config,
    *,
    modality: str,
    question: str,
    options: str,
    truth: str,
    findings: str | None,
    task: str | None = None,
) -> Sample:
    """The question as a sample. `options`: "A. ..., B. ...", which may hold commas; empty for an answer in free text.
    `findings`: names or ids of those on the image, with commas; None where it is not annotated. `task`: the kind of
    question, one of TASKS; None: it is judged by its options, as in a run. Raises ConfigError."""
    known = {m.value.lower(): m for m in Modality}
    if modality.lower() not in known:
        raise ConfigError(f"--modality {modality} is not known; give one of {', '.join(known)}")
    if task is not None and task not in TASKS:
        raise ConfigError(f"--task {task!r} is not known; give one of {', '.join(TASKS)}, or leave it out")
    texts = split_options(options)
    if not question.strip():
        raise ConfigError("--question is empty; give the question that the chain answers")
    if not truth.strip():
        remedy = "the right option's letter or text" if texts else "the right answer's text, or options"
        raise ConfigError(f"--truth is empty; give {remedy}")
    right = choose(truth, texts)
    if right is None:
        lettered = ", ".join(f"{letter}. {text}" for letter, text in zip(ascii_uppercase, texts, strict=False))
        raise ConfigError(f"--truth {truth!r} names none of the options; give a letter of: {lettered}")
    vocabulary = records_of(config.knowledge).vocabulary
    annotated = None
    if findings is not None:
        names = [name.strip() for name in findings.split(",") if name.strip()]
        unknown = [name for name in names if vocabulary.finding_id(name) is None]
        if unknown:
            raise ConfigError(
                f"--findings: {unknown[0]!r} is not in the vocabulary; names are in fundus_ray/knowledge/findings.yaml"
            )
        annotated = vocabulary.ids(names)
    return Sample(
        id="stdin",
        image=ImageRef("", "", 0, 0),
        modality=known[modality.lower()],
        question=question,
        options=texts,
        answer=right,
        task=task or "",
        source="stdin",
        split="eval",
        patient_id="",
        findings=annotated,
    )


def split_options(text: str) -> tuple[str, ...]:
    """The texts of options lettered A, B, C, ... or a, b, c, ... in order. A letter out of order, or of the other case
    than the first, belongs to the text before it.

    >>> split_options("A. drusen, small, B. diabetic retinopathy (NPDR), C. none")
    ('drusen, small', 'diabetic retinopathy (NPDR)', 'none')

    Raises ConfigError where there are none, or fewer than two, or one is empty or given twice.
    """
    if not text.strip():
        return ()
    found = list(_LETTERED.finditer(text))
    letters = ascii_lowercase if found and found[0].group(1).islower() else ascii_uppercase
    marks: list[re.Match[str]] = []
    for mark in found:
        if len(marks) < len(letters) and mark.group(1) == letters[len(marks)]:
            marks.append(mark)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    options = (
        tuple(text[mark.end() : end].strip().rstrip(",;").strip() for mark, end in zip(marks, ends, strict=True))
        if marks
        else ()
    )
    distinct = {" ".join(option.split()).casefold() for option in options}
    if len(options) < 2 or marks[0].start() != 0 or "" in distinct or len(distinct) < len(options):
        raise ConfigError(
            f"--options {text!r} cannot be read: give two or more different texts, lettered in order, as in "
            '"A. normal, B. glaucoma"'
        )
    return options


def score_text(config: Config, sample: Sample, text: str) -> dict[str, Any]:
    """The chain's score as a dict; its total is None where it is unscorable. Blanks around the chain do not count for
    its form, but spans are places in `text` as it was given. Raises SearchError, DataError, ConfigError where knowledge
    cannot be read."""
    chain, before = text.strip(), len(text) - len(text.lstrip())
    (scored,) = asyncio.run(score_groups(config, [_group(sample, chain)]))
    outcome = scores(scored, scored.scored[0])
    for claim in outcome["claims"]:
        claim.update(start=before + claim["start"], end=before + claim["end"])
    reading = read_chain(chain, records_of(config.knowledge).vocabulary)
    spans = [
        {
            "finding": finding,
            "polarity": polarity,
            "start": before + start,
            "end": before + end,
            "text": chain[start:end],
        }
        for polarity, finding, start, end in mentions(reading)
    ]
    keys = ("status", "total", "parts", "weights", "answer", "recited", "claims", "explanation", "evidence", "snapshot")
    made = {**{key: outcome[key] for key in keys}, "findings": spans}
    return {**made, "total": None} if made["status"] == RewardStatus.UNSCORABLE.value else made


async def score_groups(config: Config, groups: Sequence[RolloutGroup]) -> list[ScoredGroup]:
    """The groups scored by the settings, in order, reward.at_once of them at once. Raises as score_text does."""
    records = records_of(config.knowledge)
    async with AsyncExitStack() as stack:
        folder = Path(config.run.dir).resolve() / "cache" / "knowledge"
        retriever = await build_store(config.knowledge, folder=folder)
        stack.push_async_callback(retriever.close)
        checker = open_checker(config, records)
        stack.push_async_callback(checker.close)
        rubric = make_rubric(config, records=records, retriever=retriever, checker=checker)
        free = asyncio.Semaphore(config.reward.at_once)

        async def score(group: RolloutGroup) -> ScoredGroup:
            async with free:
                return await rubric.score_group(group)

        tasks = [asyncio.create_task(score(group)) for group in groups]
        try:
            return [await task for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _group(sample: Sample, text: str) -> RolloutGroup:
    rollout = Rollout((), (), text, "stop", seed=0, policy=PolicyVersion(0, ""))
    return RolloutGroup(build_prompt(sample, group_id=0, seed=0), (), (rollout,), "stdin", 0.0, 0.0)
