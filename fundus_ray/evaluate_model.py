"""`fundus-ray evaluate --model`: a model answers a benchmark's questions, and the controls' with it.

    benchmark -> Question -> words and image -> engine actors (vLLM on Ray) -> OUT/answers.jsonl -> OUT/answers/

In: a benchmark, a model with perhaps an adapter, and how to ask. Out: `Answered`, one as the benchmark asks and one a
control, which score.py takes. Answers are kept as they come: a second call asks only what has no answer yet. A question
that could not be asked (its image cannot be read, it took too long) is no wrong answer: it is named, counted, and left
out of every score.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from fundus_ray.bars import Bar
from fundus_ray.cluster import check_machine
from fundus_ray.config import Config
from fundus_ray.errors import ConfigError, DataError, TimeLimitError
from fundus_ray.evaluate.benchmarks.answer_folder import AnswerFolder, QuestionName, about, mark
from fundus_ray.evaluate.benchmarks.asking import (
    ALTERNATIVES,
    BENCHMARK,
    WORDING_VERSION,
    letter_scores,
    reordered,
    words,
)
from fundus_ray.evaluate.benchmarks.controls import GREY_IMAGE, NO_IMAGE, ORDER
from fundus_ray.evaluate.benchmarks.pictures import AskedImage, image_files
from fundus_ray.evaluate.benchmarks.predictions import Answers
from fundus_ray.evaluate.benchmarks.question import Answer, Benchmark, Question, TaskFile
from fundus_ray.evaluate.benchmarks.room import check_room
from fundus_ray.gather import all_or_first_error
from fundus_ray.model_pool import ModelPool
from fundus_ray.obs.sole_writer import sole_writer
from fundus_ray.obs.strict_json import lines_of, write_text
from fundus_ray.policy.load import served_processor
from fundus_ray.reasoning.prompt import DIRECT
from fundus_ray.runtime import start_answerers
from fundus_ray.sft.checkpoint import fingerprint
from fundus_ray.stored_model import StoredModel
from fundus_ray.types import ModelRequest

NOT_ASKED = "not_asked.jsonl"
NO_PROMPT, NO_FILE, UNREADABLE, TOO_LONG, UNLISTED = (
    "no prompt of this E-mode",
    "image file is missing",
    "image cannot be read",
    "no answer within loop.stall_s",
    "options are not listed in the prompt",
)
CONTROLS = {"order": ORDER, "image": NO_IMAGE, "grey": GREY_IMAGE}  # as --controls names them


@dataclass(frozen=True, slots=True)
class Asking:
    """How the questions are put. px: side that images are scaled to, 0 = they stay; orders: other orders of the options
    that are tried by the control of that name."""

    form: str
    e_mode: int
    px: int
    controls: tuple[str, ...] = ()
    orders: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """name: "" as the benchmark asks, else the control; benchmark: the questions that could be asked, the others
    counted in `left_out`."""

    name: str
    benchmark: Benchmark
    answers: Answers
    cut_off: int = 0
    not_asked: tuple[str, ...] = ()  # a line each: question, reason


@dataclass(frozen=True, slots=True)
class _Round:
    """All questions of the benchmark, put in one way."""

    name: str
    benchmark: Benchmark
    questions: Mapping[QuestionName, _Put]
    folder: AnswerFolder
    not_asked: dict[QuestionName, tuple[str, str]] = field(default_factory=dict)  # -> kind of reason, reason


@dataclass(frozen=True, slots=True)
class _Put:
    """One question as it goes to an engine."""

    question: Question
    image: AskedImage | None
    request: ModelRequest


def made_with(
    config: Config, benchmark: Benchmark, *, model: StoredModel, asking: Asking, images: Path
) -> dict[str, str | int]:
    """What answers of one folder share. Which controls are made, and on which machines, changes no answer."""
    return {
        "benchmark": benchmark.name,
        "model": str(model.base),
        "model_files": fingerprint(model.base),
        "adapter": model.adapter.folder if model.adapter else "",
        "adapter_files": model.adapter.sha256 if model.adapter else "",
        "prompt": asking.form,
        **({"e_mode": asking.e_mode} if asking.form == BENCHMARK else {}),
        "images": str(images.resolve()),  # cropped by FunBench's preprocess.py or not, they have the same names
        "image_px": asking.px,
        "max_tokens": config.rollout.max_tokens,
        "arithmetic": config.policy.dtype,
        "wording": WORDING_VERSION,
    }


def answer_benchmark(
    config: Config,
    benchmark: Benchmark,
    *,
    model: StoredModel,
    asking: Asking,
    root: Path,
    images: Path,
    out: Path,
) -> list[Answered]:
    """Ask what has no answer in `out` yet, and give back all answers: as the benchmark asks first.

    Raises ConfigError where `out` holds answers of another model or settings or cannot be written, the cluster is too
    small, or a question does not fit rollout.max_model_len, which the largest image tells before an engine starts;
    DataError where no image is there; WorkerDiedError where an engine fails for good. What was answered until then is
    kept.
    """
    check_machine(config)
    with ExitStack() as at_the_end:
        rounds: list[_Round] = []
        with _writing(out):
            out.mkdir(parents=True, exist_ok=True)
            at_the_end.enter_context(sole_writer(out))
            mark(out, made_with(config, benchmark, model=model, asking=asking, images=images))
            files = image_files(benchmark, root=root, images=images, unpacked=out / "images")
            there = _check_images(benchmark, files)
            for name, varied in _variants(benchmark, asking):
                one = _round(config, name, varied, asking=asking, files=files, there=there, out=out)
                at_the_end.callback(one.folder.close)
                at_the_end.callback(_export, one, out)
                rounds.append(one)
        if todo := [(one, name) for one in rounds for name in one.folder.missing() if name not in one.not_asked]:
            _check_room(config, todo, model=model)
            asyncio.run(_ask(config, todo, model=model, out=out))
        with _writing(out):
            _write_not_asked(out, rounds)
        return [_answered(one) for one in rounds]


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise ConfigError(
            f"--out {out} cannot be written: {err}; what was answered until then is kept: make room and call again"
        ) from None


def _export(one: _Round, out: Path) -> None:
    with _writing(out):
        one.folder.export()


def _check_images(benchmark: Benchmark, files: Mapping[str, Path]) -> set[str]:
    """Names of the images that are there. Raises DataError where none is."""
    there = {image for image, path in files.items() if path.is_file()}
    if not there:
        first = next(iter(files.values()))
        raise DataError(f"no image of {benchmark.name} is there, such as {first}; give their folder by --images")
    return there


def _check_room(config: Config, todo: Sequence[tuple[_Round, QuestionName]], *, model: StoredModel) -> None:
    asked = {
        f"{file}: {key}": (put.image, put.request)
        for one, (file, key) in todo
        if (put := one.questions[file, key]).image is not None
    }
    if asked:
        check_room(asked, processor=served_processor(model.base), max_model_len=config.rollout.max_model_len)


def _variants(benchmark: Benchmark, asking: Asking) -> Iterator[tuple[str, Benchmark]]:
    """(name, questions) of each round; reordered questions keep their names."""
    yield "", benchmark
    for control in asking.controls:
        if control != "order":
            yield CONTROLS[control], benchmark
            continue
        for seed in range(1, asking.orders + 1):
            yield f"{ORDER} {seed}", _reordered(benchmark, seed=seed, asking=asking)


def _reordered(benchmark: Benchmark, *, seed: int, asking: Asking) -> Benchmark:
    left_out = Counter(benchmark.left_out)
    files = []
    for file in benchmark.files:
        questions = []
        for question in file.questions:
            try:
                questions.append(reordered(question, seed=seed, form=asking.form, e_mode=asking.e_mode))
            except DataError:
                left_out[UNLISTED] += 1
        if questions:
            files.append(TaskFile(file.path, tuple(questions)))
    return replace(benchmark, files=tuple(files), left_out=left_out)


def _round(
    config: Config,
    name: str,
    benchmark: Benchmark,
    *,
    asking: Asking,
    files: Mapping[str, Path],
    there: set[str],
    out: Path,
) -> _Round:
    put: dict[QuestionName, _Put] = {}
    not_asked: dict[QuestionName, tuple[str, str]] = {}
    for question in (question for file in benchmark.files for question in file.questions):
        one = (question.file, question.key)
        text = words(question, form=asking.form, e_mode=asking.e_mode)
        if text is None:
            not_asked[one] = (NO_PROMPT, f"E-mode{asking.e_mode} is null")
        else:
            shown = AskedImage(str(files[question.image]), px=asking.px, grey=name == GREY_IMAGE)
            image = None if name == NO_IMAGE else shown
            put[one] = _Put(question, image, _request(config, question, text, form=asking.form))
    hashes = {one: _about(p) for one, p in put.items()}
    path = out / "controls" / name.replace(" ", "-") if name else out
    folder = AnswerFolder(path, asked=hashes)
    for one in folder.missing():
        if put[one].question.image not in there:
            not_asked[one] = (NO_FILE, f"{files[put[one].question.image]} does not exist")
    return _Round(name, benchmark, put, folder, not_asked)


def _about(put: _Put) -> str:
    content = (put.question.content,) if put.question.content else ()
    return about(put.request.system, put.request.user, put.question.image, put.question.options, *content)


def _request(config: Config, question: Question, text: tuple[str, str], *, form: str) -> ModelRequest:
    system, user = text
    # The first token of a chain, or one of several letters, says nothing of an option's probability.
    scored = form in (BENCHMARK, DIRECT) and not question.several
    alternatives = ALTERNATIVES if scored else 0
    return ModelRequest(system=system, user=user, max_tokens=config.rollout.max_tokens, alternatives=alternatives)


async def _ask(config: Config, todo: Sequence[tuple[_Round, QuestionName]], *, model: StoredModel, out: Path) -> None:
    at_once = min(len(todo), config.rollout.max_seqs * config.rollout.workers)
    items = iter(todo)
    async with start_answerers(config, model_path=model.base, adapter=model.adapter, log_dir=out / "logs") as pool:
        with Bar(total=len(todo), desc="answers", unit="question", mininterval=0.5) as bar:

            async def work() -> None:
                for one, name in items:
                    await _ask_one(pool, one, name, out=out)
                    bar.update()

            await all_or_first_error([work() for _ in range(at_once)])


async def _ask_one(pool: ModelPool, one: _Round, name: QuestionName, *, out: Path) -> None:
    put = one.questions[name]
    try:
        reply = await pool.ask(put.image, put.request)
    except DataError as err:
        one.not_asked[name] = (UNREADABLE, str(err))
        return
    except TimeLimitError as err:
        one.not_asked[name] = (TOO_LONG, str(err))
        return
    except ConfigError as err:
        raise ConfigError(f"{name[0]}: {name[1]}: {err}") from None
    scores = letter_scores(reply.first, put.question.options) if reply.first else None
    with _writing(out):
        one.folder.add(name, Answer(reply.text, scores), complete=reply.complete)


def _write_not_asked(out: Path, rounds: Sequence[_Round]) -> None:
    rows = [
        {"asked": one.name or "as the benchmark does", "file": file, "key": key, "why": why}
        for one in rounds
        for (file, key), (_, why) in one.not_asked.items()
    ]
    write_text(out / NOT_ASKED, lines_of(rows))


def _answered(one: _Round) -> Answered:
    left_out = Counter(one.benchmark.left_out)
    left_out.update(kind for kind, _ in one.not_asked.values())
    files = []
    for file in one.benchmark.files:
        questions = tuple(q for q in file.questions if (q.file, q.key) not in one.not_asked)
        if questions:
            files.append(TaskFile(file.path, questions))
    if not files:
        counts = ", ".join(f"{kind}: {count}" for kind, count in left_out.items())
        raise DataError(f"{one.name or one.benchmark.name}: not one question could be asked; {counts}")
    return Answered(
        name=one.name,
        benchmark=replace(one.benchmark, files=tuple(files), left_out=left_out),
        answers=one.folder.answers,
        cut_off=one.folder.cut_off,
        not_asked=tuple(f"{file}: {key}: {why}" for (file, key), (_, why) in one.not_asked.items()),
    )
