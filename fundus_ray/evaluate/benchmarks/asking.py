"""A question in words, in the benchmark's own or in this project's; and what its first token says of each option.

In: a `Question`. Out: system and user text; the same question with its options in another order; from a reply's
likeliest first tokens a number for each option.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from string import ascii_uppercase

from fundus_ray.errors import DataError
from fundus_ray.evaluate.benchmarks.modality import shown_modality
from fundus_ray.evaluate.benchmarks.question import Question
from fundus_ray.reasoning.prompt import DIRECT, MODALITY_TASKS, THINK, THINK_AFTER, ask, system_line

WORDING_VERSION = 1  # of stored answers: raise it whenever the same question is put in other words
BENCHMARK = "benchmark"
FORMS = (BENCHMARK, THINK, THINK_AFTER, DIRECT)
ALTERNATIVES = 20  # likeliest first tokens, as many as vLLM gives; all letters of a question are among them as a rule
_PLAIN = "plain"
_SEPARATORS = (", ", "\n")  # between options in the prompts of the benchmarks


def words(question: Question, *, form: str, e_mode: int) -> tuple[str, str] | None:
    """(system, user) text, "" = no system turn. BENCHMARK: its own text alone, of FunBench that of `e_mode`; None where
    it has none. The other forms tell the modality where the benchmark's names do and the question does not ask for it.
    """
    if form == BENCHMARK:
        text = question.prompts.get(_mode(question, e_mode))
        return None if text is None else ("", text)
    told = None if _asks_modality(question) else shown_modality(question)
    return system_line(told), ask(question.question, question.options, several=question.several, form=form)


def reordered(question: Question, *, seed: int, form: str, e_mode: int) -> Question:
    """The same question with its options in another order than it has, drawn by seed and name. Of its prompts that
    which `words` takes stays, if it takes one.

    Raises DataError where that one does not hold the options as the benchmarks list them.
    """
    rng = random.Random(f"{seed}:{question.file}:{question.key}")
    options = list(question.options)
    while len(options) > 1 and tuple(options) == question.options:
        rng.shuffle(options)
    used = {_mode(question, e_mode)} if form == BENCHMARK else set()
    prompts = {mode: _relisted(text, question, options) for mode, text in question.prompts.items() if mode in used}
    return replace(question, options=tuple(options), prompts=prompts)


def letter_scores(first: Sequence[tuple[str, float]], options: Sequence[str]) -> Mapping[str, float] | None:
    """Option -> probability that the reply begins with its letter, of (text, logprob) of the likeliest first tokens.

    None where the likeliest is no option's letter: the reply then does not begin with its answer.
    """
    letters = ascii_uppercase[: len(options)]
    read = [(text.strip(" \n(.)"), logprob) for text, logprob in first]
    if not read or read[0][0] not in tuple(letters):
        return None
    return {
        option: sum(math.exp(logprob) for text, logprob in read if text == letter)
        for letter, option in zip(letters, options, strict=True)
    }


def _mode(question: Question, e_mode: int) -> str:
    """Which of its prompts is meant."""
    return _PLAIN if _PLAIN in question.prompts else f"E-mode{e_mode}"


def _asks_modality(question: Question) -> bool:
    """Of FunBench by its task, of OmniMedVQA by its question type."""
    parts = question.file.split("/")
    return question.groups.get("question_type") == "Modality Recognition" or any(
        part.startswith(MODALITY_TASKS) for part in parts
    )


def _relisted(text: str, question: Question, options: Sequence[str]) -> str:
    for separator in _SEPARATORS:
        before = _listed(question.options, separator)
        if text.count(before) == 1:
            return text.replace(before, _listed(options, separator))
    raise DataError(f"{question.file}: {question.key}: its prompt does not list its options as A. ..., B. ...")


def _listed(options: Sequence[str], separator: str) -> str:
    return separator.join(f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
