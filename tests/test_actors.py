"""Pools and error translation on a real private Ray, with small plain classes as actors."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from fundus_ray.actors import Actor, ModelActor, RewardActor, RolloutActor
from fundus_ray.crew import Care
from fundus_ray.engine_pool import RolloutPool
from fundus_ray.errors import DataError, DeliveryError, ProcessDiedError, WorkerDiedError
from fundus_ray.knowledge.retriever import SearchError
from fundus_ray.learner_ranks import LearnerRanks
from fundus_ray.model_pool import ModelPool
from fundus_ray.obs.faults import Fault
from fundus_ray.obs.log_file import redirect_output
from fundus_ray.obs.trace import Trace
from fundus_ray.reward_pool import RewardPool
from fundus_ray.types import (
    DeliveryProof,
    ImageRef,
    Modality,
    ModelReply,
    ModelRequest,
    PolicyVersion,
    Prompt,
    PublishedAdapter,
    Pulse,
    Rollout,
    RolloutGroup,
    Sample,
    Sampling,
    ScoredGroup,
    StepResult,
    TrainBatch,
)

import ray  # isort: skip  # after fundus_ray.actors, which sets how loud Ray is

SAMPLING = Sampling(n=2, temperature=1.0, max_tokens=4)
SAMPLE = Sample(  # here, since Ray's processes, which it goes to, cannot import from the tests' folder
    id="s",
    image=ImageRef(path="s.png", sha256="0", width_px=28, height_px=28),
    modality=Modality.CFP,
    question="?",
    options=("a", "b"),
    answer=("a",),
    task="diagnosis",
    source="test",
    split="train",
    patient_id="p",
)


def prompt(group_id: int) -> Prompt:
    return Prompt(sample=SAMPLE, system="", user="", group_id=group_id, seed=0)


class Writer:
    """Speaks the rollout worker's methods. Odd things happen at group ids below zero."""

    def __init__(self, name: str, log_path: str, shift: float = 0.0) -> None:
        redirect_output(log_path)
        print(f"{name} is here", flush=True)
        self._name = name
        self._shift = shift
        self._version = PolicyVersion(step=0, sha256="0")
        self._taken: PolicyVersion | None = None
        self.cancelled = 0
        self._closed = False

    async def generate(self, prompt: Prompt, sampling: Sampling) -> RolloutGroup:
        if prompt.group_id == -1:
            raise DataError("image s.png cannot be read")
        if prompt.group_id == -2:
            raise KeyError("a\nprogramming error")
        if prompt.group_id == -3:
            await self._sleep()
        if prompt.group_id == -4:
            raise ProcessDiedError("vLLM's engine process died: of thirst")
        await asyncio.sleep(0.05)
        rollout = Rollout(
            token_ids=(1,), logprobs=(-1.0,), text="", finish_reason="stop", seed=sampling.n, policy=self._version
        )
        return RolloutGroup(
            prompt=prompt,
            prompt_token_ids=(1,),
            rollouts=(rollout,) * sampling.n,
            worker=self._name,
            started_s=0.0,
            finished_s=0.0,
        )

    async def _sleep(self) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def cancellations(self) -> int:
        return self.cancelled

    async def take(self, adapter: PublishedAdapter) -> DeliveryProof:
        self._taken = adapter.version
        return DeliveryProof(
            worker=self._name,
            version=adapter.version,
            sha256=adapter.version.sha256,
            listed=True,
            probe_error=abs(self._shift),
            probe_shift=None,
            seconds=0.0,
        )

    async def serve(self, version: PolicyVersion) -> None:
        assert version == self._taken
        self._version = version

    async def start(self) -> None:
        print(f"{self._name} is ready", flush=True)

    async def pulse(self) -> Pulse:
        return Pulse()

    async def pid(self) -> int:
        return os.getpid()

    async def close(self) -> None:
        self._closed = True
        if self._name == "rollout-1":
            raise RuntimeError("stuck")

    async def closed(self) -> bool:
        return self._closed


class Teacher:
    """Speaks the learner's methods; refuses to start without a model."""

    def __init__(self, model_path: str) -> None:
        if not model_path:
            raise DataError("no model there")
        self._step = 0

    def unreadable(self, images: Sequence[ImageRef]) -> dict[int, str]:
        return {}

    def update(self, batch: TrainBatch) -> StepResult:
        self._step += 1
        return StepResult(step=self._step, seconds=0.0, metrics={"rows": float(len(batch.seq_lens))})

    def publish(self) -> tuple[PolicyVersion, PublishedAdapter]:
        version = PolicyVersion(step=self._step, sha256=f"hash-{self._step}")
        files = {"adapter_model.safetensors": bytes(1_000_000)}
        return version, PublishedAdapter(version=version, files=files, probe_token_ids=(1, 2), probe_logprobs=(-1.0,))

    def save(self, folder: str) -> None:
        (Path(folder) / "learner.txt").write_text(str(self._step))

    def load(self, folder: str) -> None:
        self._step = int((Path(folder) / "learner.txt").read_text())


class Marker:
    """Speaks the reward worker's methods. Its scores name the process that they come from. The first start of all finds
    the search down."""

    def __init__(self, tried: str) -> None:
        self._tried = Path(tried)

    async def start(self) -> None:
        if not self._tried.exists():
            self._tried.touch()
            raise SearchError("http://h:9200 is gone")

    async def pulse(self) -> Pulse:
        return Pulse()

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        if group.prompt.group_id == -5 and not self._tried.with_suffix(".died").exists():
            self._tried.with_suffix(".died").touch()
            os._exit(1)
        return ScoredGroup(group, (), trainable=True, drop_reason=str(os.getpid()), started_s=0.0, finished_s=0.0)

    async def close(self) -> None:
        pass


class Answerer:
    """Speaks the methods of a served model's worker. The first life ends with the question `die`."""

    def __init__(self, marker: str) -> None:
        self._marker = Path(marker)

    async def start(self) -> None:
        pass

    async def ask(self, image: ImageRef | None, request: ModelRequest) -> ModelReply:
        if request.user == "broken":
            raise DataError("image s.png is damaged")
        if request.user == "die" and not self._marker.exists():
            self._marker.touch()
            os._exit(1)
        return ModelReply(f"{request.user} {os.getpid()}", complete=True)

    async def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A private Ray, and where its workers log."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield tmp_path_factory.mktemp("logs")
    ray.shutdown()


@pytest.fixture(scope="module")
def engines(logs: Path) -> list[Actor]:
    """Two workers that several tests share."""
    return [writer(f"rollout-{i}", logs) for i in range(2)]


@pytest.fixture(scope="module")
def teacher(logs: Path) -> LearnerRanks:
    """A learner that several tests share."""
    return LearnerRanks(lambda: [make(Teacher, "model", name="learner")], limit_s=30.0)


def make(worker: type, *args: Any, name: str, log: Path | None = None) -> Actor:
    return Actor(name=name, handle=ray.remote(worker).options(num_cpus=0).remote(*args), log_path=log)


def writer(name: str, logs: Path, *, shift: float = 0.0) -> Actor:
    log = logs / f"{name}.log"
    return make(Writer, name, str(log), shift, name=name, log=log)


def engine(spawn: Callable[[], Actor], *, limit_s: float = 30.0) -> RolloutActor:
    return RolloutActor(spawn, start_limit_s=30.0, limit_s=30.0, group_limit_s=limit_s)


def marker(name: str, tried: Path, **limits: Any) -> RewardActor:
    return RewardActor(lambda: make(Marker, str(tried), name=name), start_limit_s=30.0, limit_s=30.0, **limits)


def pool(
    actors: Sequence[Actor | RolloutActor], *, limit_s: float = 30.0, restarts: int = 0, trace: Trace | None = None
) -> RolloutPool:
    engines = [a if isinstance(a, RolloutActor) else engine(lambda a=a: a, limit_s=limit_s) for a in actors]  # type: ignore[misc]
    return RolloutPool(
        engines, sampling=SAMPLING, probe_tolerance=1e-3, care=care("engine", restarts=restarts), trace=trace or Trace()
    )


def care(role: str, *, restarts: int = 0, hang_s: float = math.inf) -> Care:
    return Care(role=role, setting=f"{role}.restarts", restarts=restarts, hang_s=hang_s)


async def test_groups_under_way_are_spread_evenly_and_their_spans_name_the_worker(engines: list[Actor]) -> None:
    trace = Trace()
    rollouts = pool(engines, trace=trace)
    groups = await asyncio.gather(*(rollouts.generate(prompt(i)) for i in range(6)))
    assert sorted(group.worker for group in groups) == ["rollout-0"] * 3 + ["rollout-1"] * 3
    spans = [span for span in trace.window(start_s=0.0, end_s=1e12) if span.name == "generate"]
    assert {(s.ids["group"], s.ids["worker"]) for s in spans} == {(g.prompt.group_id, g.worker) for g in groups}


async def test_sampling_of_a_call_replaces_that_of_training(engines: list[Actor]) -> None:
    assert len((await pool(engines).generate(prompt(9))).rollouts) == 2
    assert len((await pool(engines).generate(prompt(9), Sampling(5, 0.0, 4))).rollouts) == 5


async def test_killed_worker_is_named_with_what_it_did_and_its_last_words(logs: Path) -> None:
    actor = writer("rollout-7", logs)
    under_way = asyncio.create_task(pool([actor]).generate(prompt(-3)))
    os.kill(await actor.call("pid", doing="saying its pid", limit_s=30.0), signal.SIGKILL)
    with pytest.raises(WorkerDiedError) as caught:
        await under_way
    message = str(caught.value)
    assert message.startswith("rollout-7 died while writing group -3: its worker process has died.")
    _, log, spent = message.splitlines()
    assert log == f"{logs}/rollout-7.log ends: rollout-7 is here"
    assert spent.startswith("The restarts are spent (engine.restarts=0). Deaths: rollout-7 1; the last: rollout-7 died")
    with pytest.raises(WorkerDiedError, match="rollout-7 died while writing group 4"):
        await pool([actor]).generate(prompt(4))


async def test_killed_engine_is_started_again_and_writes_under_the_newest_version(
    teacher: LearnerRanks, logs: Path
) -> None:
    spawned: list[Actor] = []

    def spawn() -> Actor:
        spawned.append(writer("rollout-6", logs))
        return spawned[-1]

    rollouts = pool([engine(spawn)], restarts=1)
    published = await teacher.publish()
    await rollouts.set_policy(published)
    pid = await spawned[0].call("pid", doing="saying its pid", limit_s=30.0)
    under_way = asyncio.create_task(rollouts.generate(prompt(5)))
    os.kill(pid, signal.SIGKILL)
    group = await under_way
    assert (group.worker, group.policy) == ("rollout-6", published.version)
    assert len(spawned) == 2
    assert await spawned[1].call("pid", doing="saying its pid", limit_s=30.0) != pid
    assert (logs / "rollout-6.log").read_text().splitlines()[-1] == "rollout-6 is ready"
    os.kill(await spawned[1].call("pid", doing="saying its pid", limit_s=30.0), signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match="rollout-6 died while writing group 6"):
        await rollouts.generate(prompt(6))


async def test_a_frozen_engine_is_found_without_a_prompt_or_with_one_and_its_process_ends(logs: Path) -> None:
    spawned: list[Actor] = []

    def spawn() -> Actor:
        spawned.append(writer("rollout-5", logs))
        return spawned[-1]

    faults: list[Fault] = []
    told = asyncio.Event()

    def tell(fault: Fault) -> None:
        faults.append(fault)
        told.set()

    watched = replace(care("engine", restarts=2, hang_s=4.0), tell=tell)
    first = engine(spawn)
    frozen = [await spawned[0].call("pid", doing="saying its pid", limit_s=60.0)]  # from now on it is watched
    rollouts = RolloutPool([first], sampling=SAMPLING, probe_tolerance=1e-3, care=watched, trace=Trace())
    os.kill(frozen[0], signal.SIGSTOP)
    await asyncio.wait_for(told.wait(), 60.0)
    frozen.append(await spawned[1].call("pid", doing="saying its pid", limit_s=60.0))
    os.kill(frozen[1], signal.SIGSTOP)
    group = await asyncio.wait_for(rollouts.generate(prompt(3)), 60.0)
    assert group.worker == "rollout-5"
    assert len(spawned) == 3
    assert [(fault.kind, fault.requeued) for fault in faults] == [("hung", ()), ("hung", (3,))]
    assert all(fault.cause.startswith("rollout-5 hangs: it answered nothing for 4 s") for fault in faults)
    async with asyncio.timeout(30):
        while any(map(psutil.pid_exists, frozen)):
            await asyncio.sleep(0.1)
    assert await rollouts.close(limit_s=30.0) == []


async def test_worker_that_does_not_answer_is_named_and_its_call_is_cancelled(engines: list[Actor]) -> None:
    before = await cancellations(engines[0])
    with pytest.raises(WorkerDiedError, match=r"rollout-0 did not answer within 0\.3 s while writing group -3"):
        await pool(engines[:1], limit_s=0.3).generate(prompt(-3))
    await until_cancelled(engines[0], more_than=before)


async def test_cancelled_caller_cancels_the_call(engines: list[Actor]) -> None:
    before = await cancellations(engines[0])
    task = asyncio.create_task(pool(engines[:1]).generate(prompt(-3)))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_cancelled(engines[0], more_than=before)


async def cancellations(actor: Actor) -> int:
    count: int = await actor.call("cancellations", doing="counting", limit_s=30.0)
    return count


async def until_cancelled(actor: Actor, *, more_than: int) -> None:
    async with asyncio.timeout(20):
        while await cancellations(actor) == more_than:
            await asyncio.sleep(0.05)


async def test_our_own_error_of_a_worker_arrives_as_it_was_raised(engines: list[Actor]) -> None:
    with pytest.raises(DataError) as caught:
        await pool(engines).generate(prompt(-1))
    assert type(caught.value) is DataError
    assert str(caught.value) == "image s.png cannot be read"


async def test_death_of_a_process_that_only_the_worker_knows_is_told_as_its_own_is(
    engines: list[Actor], logs: Path
) -> None:
    with pytest.raises(WorkerDiedError) as caught:
        await pool(engines[:1]).generate(prompt(-4))
    first, second, _ = str(caught.value).splitlines()
    assert first == "rollout-0 died while writing group -4: vLLM's engine process died: of thirst"
    assert second.startswith(f"{logs}/rollout-0.log ends: ")


async def test_other_error_of_a_worker_is_one_line_that_names_it(engines: list[Actor]) -> None:
    with pytest.raises(WorkerDiedError, match=r"^rollout-0 failed while writing group -2: KeyError: 'a\\nprogramming"):
        await pool(engines[:1]).generate(prompt(-2))


async def test_worker_that_cannot_start_says_why(logs: Path) -> None:
    learner = LearnerRanks(lambda: [make(Teacher, "", name="learner")], limit_s=30.0)
    with pytest.raises(WorkerDiedError, match=r"learner died while publishing: it could not start: .*no model there$"):
        await learner.publish()


async def test_policy_goes_from_learner_to_every_engine_by_reference(
    teacher: LearnerRanks, engines: list[Actor]
) -> None:
    result = await teacher.update(batch_of(3))
    assert (result.step, result.metrics) == (1, {"rows": 3.0})
    published = await teacher.publish()
    assert published.version == PolicyVersion(step=1, sha256="hash-1")
    assert isinstance(published.payload, ray.ObjectRef)
    proofs = await pool(engines).set_policy(published)
    assert [(proof.worker, proof.version.step) for proof in proofs] == [("rollout-0", 1), ("rollout-1", 1)]
    assert (await pool(engines).generate(prompt(0))).policy.step == 1


async def test_delivery_that_is_not_proven_is_an_error(teacher: LearnerRanks, engines: list[Actor], logs: Path) -> None:
    rollouts = pool([*engines, writer("rollout-8", logs, shift=0.5)])
    with pytest.raises(DeliveryError, match=r"rollout-8: probe differs from the learner by 0\.5 nats, allowed 0\.001"):
        await rollouts.set_policy(await teacher.publish())


async def test_learner_loads_what_it_saved(teacher: LearnerRanks, tmp_path: Path) -> None:
    before = await teacher.publish()
    await teacher.save(str(tmp_path))
    await teacher.update(batch_of(1))
    assert (await teacher.publish()).version.step == before.version.step + 1
    await teacher.load(str(tmp_path))
    assert (await teacher.publish()).version == before.version


async def test_reward_pool_scores(engines: list[Actor], tmp_path: Path) -> None:
    trace = Trace()
    rewards = RewardPool([marker("reward-0", tmp_path / "tried")], care=care("reward"), trace=trace)
    group = await pool(engines).generate(prompt(5))
    assert (await rewards.score(group)).group == group
    assert [(s.name, s.ids) for s in trace.window(start_s=0.0, end_s=1e12) if s.name != "here"] == [
        ("score", {"worker": "reward-0", "group": 5})
    ]


async def test_a_killed_reward_worker_is_started_again_waits_for_the_search_and_scores_what_it_was_scoring(
    engines: list[Actor], tmp_path: Path
) -> None:
    tried = tmp_path / "tried"
    worker = marker("reward-0", tried)
    with pytest.raises(SearchError, match="is gone"):
        await worker.start()  # at the start of a run a search that is not there is an error
    rewards = RewardPool([worker], care=care("reward", restarts=1), trace=Trace())
    group = await pool(engines).generate(prompt(-5))
    before = (await rewards.score(replace(group, prompt=prompt(5)))).drop_reason
    tried.unlink()
    scored = await rewards.score(group)
    assert scored.group == group
    assert scored.drop_reason != before, "another process scored it"
    assert await rewards.close(limit_s=30.0) == []


async def test_closing_reaches_every_engine_and_reports_what_went_wrong(engines: list[Actor]) -> None:
    problems = await pool(engines).close(limit_s=30.0)
    assert [str(problem).partition(":")[0] for problem in problems] == ["rollout-1 failed while closing"]
    assert await engines[0].call("closed", doing="asking", limit_s=30.0)


def batch_of(rows: int) -> TrainBatch:
    ints = np.ones(rows, dtype=np.int64)
    floats = np.zeros((rows, 2), dtype=np.float32)
    return TrainBatch(
        token_ids=np.ones((rows, 2), dtype=np.int64),
        prompt_lens=ints,
        seq_lens=ints + 1,
        behaviour_logprobs=floats,
        rewards=np.zeros(rows),
        policy_steps=ints,
        image_index=ints * 0,
        images=(SAMPLE.image,),
        policy_step=1,
    )


async def test_a_served_models_engine_that_dies_is_started_again_and_its_question_asked_again(
    logs: Path, tmp_path: Path
) -> None:
    def make_answerer() -> Actor:
        return make(Answerer, str(tmp_path / "died"), name="reader-0")

    engine = ModelActor(make_answerer, loading="a model", start_limit_s=30.0, limit_s=30.0)
    pool = ModelPool([engine], care=care("engine", restarts=1))
    first = await pool.ask(None, ModelRequest("", "hello", max_tokens=1))
    again = await pool.ask(None, ModelRequest("", "die", max_tokens=1))
    assert again.text.split()[0] == "die"
    assert again.text.split()[1] != first.text.split()[1], "another process answered"
    with pytest.raises(DataError, match=r"image s\.png is damaged"):
        await pool.ask(None, ModelRequest("", "broken", max_tokens=1))
    assert await pool.close(limit_s=30.0) == []
