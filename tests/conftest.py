"""Parts that several test folders share: a tiny policy on disk and samples to show it, scored groups,
and a server to kill."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

# Before vLLM or torch is imported anywhere: a quiet CPU engine, and cores left for its process.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from search_server import Server

from fundus_ray.config import load
from fundus_ray.data.source import load_data
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.types import (
    Evidence,
    ImageRef,
    Modality,
    PolicyVersion,
    Prompt,
    RewardStatus,
    Rollout,
    RolloutGroup,
    Sample,
    ScoredGroup,
    ScoredRollout,
)

# Files whose tests start whole runs, engines or servers, longest first. They are begun first: with several processes
# (scripts/test.sh) a long one that begins last would keep one of them busy alone.
LONGEST = (
    "test_pipeline_deaths.py",
    "test_submit.py",
    "test_pipeline.py",
    "test_replay_pipeline.py",
    "test_evaluate_engine.py",
    "test_parity.py",
    "test_engine.py",
    "test_loop_schedules.py",
    "test_reservation.py",
    "test_ranks.py",
    "test_draft_record.py",
    "test_run_gauges.py",
    "test_write_traces.py",
    "test_export.py",
    "test_actors.py",
    "test_learner_ranks.py",
    "test_judge.py",
    "test_cli.py",
)
MakeGroup = Callable[..., ScoredGroup]
PeakBytes = Callable[[Callable[[], object]], int]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others as they were."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A search server that a test may kill."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sample, ...]:
    """Twelve phantoms."""
    config = load(None, ["data.train_samples=12", "data.eval_samples=4"])
    cache_dir = tmp_path_factory.mktemp("phantoms")
    return tuple(load_data(config, cache_dir=cache_dir, finding_ids=load_vocabulary().ids).train)


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory: pytest.TempPathFactory, samples: tuple[Sample, ...]) -> Path:
    """A randomly initialised tiny Qwen2.5-VL checkpoint, its tokenizer trained on the prompts of the samples."""
    from fundus_ray.policy.tiny import make_tiny_policy
    from fundus_ray.reasoning.prompt import build_prompt

    folder = tmp_path_factory.mktemp("policy") / "tiny"
    texts = [build_prompt(s, group_id=0, seed=0).user for s in samples]
    make_tiny_policy(
        folder,
        texts=texts,
        phrases=samples[0].options,
        image_px=112,
        image_mean=(0.3, 0.2, 0.1),
        image_std=(0.2, 0.15, 0.1),
        seed=0,
    )
    return folder


@pytest.fixture
def make_group(tmp_path: Path) -> MakeGroup:
    """`make_group(totals, group_id=0, step=0)`: one rollout a total; a total of None is unscorable."""
    image = tmp_path / "eye one.png"
    image.write_bytes(b"not read")

    def make(totals: list[float | None], *, group_id: int = 0, step: int = 0) -> ScoredGroup:
        sample = Sample(
            id=f"phantom-{group_id}",
            image=ImageRef(path=str(image), sha256="ab" * 32, width_px=112, height_px=112),
            modality=Modality.CFP,
            question="What is the most likely diagnosis?",
            options=("normal", "glaucoma"),
            answer=("glaucoma",),
            task="diagnosis",
            source="phantoms",
            split="train",
            patient_id=f"p{group_id}",
            findings=("cup_enlarged",),
        )
        prompt = Prompt(sample=sample, system="s", user="u", group_id=group_id, seed=100 * group_id)
        rollouts = tuple(_rollout(total, seed=100 * group_id + i, step=step) for i, total in enumerate(totals))
        group = RolloutGroup(
            prompt=prompt,
            prompt_token_ids=(1, 2),
            rollouts=rollouts,
            worker="rollout-0",
            started_s=10.0,
            finished_s=12.5,
        )
        scored = tuple(_scored(r, total) for r, total in zip(rollouts, totals, strict=True))
        trainable = None not in totals
        return ScoredGroup(
            group=group,
            scored=scored,
            trainable=trainable,
            drop_reason="" if trainable else "unscorable",
            started_s=12.5,
            finished_s=12.75,
        )

    return make


def _rollout(total: float | None, *, seed: int, step: int) -> Rollout:
    return Rollout(
        token_ids=(5, 6),
        logprobs=(-0.5, -0.25),
        text=f"<think>Findings: none. Conclusion: glaucoma.</think><answer>B</answer> {total}",
        finish_reason="stop",
        seed=seed,
        policy=PolicyVersion(step=step, sha256="cd" * 32),
    )


def _scored(rollout: Rollout, total: float | None) -> ScoredRollout:
    passage = Evidence(
        passage_id="glaucoma-1",
        title="Glaucoma",
        section="",
        url="",
        licence="CC0",
        text="An enlarged cup\nis typical.",
        source="shipped",
        score=3.5,
        rank=1,
        query="glaucoma cup",
    )
    return ScoredRollout(
        rollout=rollout,
        status=RewardStatus.UNSCORABLE if total is None else RewardStatus.SCORED,
        total=0.0 if total is None else total,
        parts={"accuracy": 1.0, "format": 1.0, "grounding": None},
        answer=("glaucoma",),
        findings=(),
        claims=(),
        explanation=("accuracy 1: the answer is glaucoma",),
        evidence=(passage,),
        snapshot="index-1",
    )


@pytest.fixture
def peak_bytes() -> PeakBytes:
    """`peak_bytes(run)`: the most bytes of CPU tensors that were allocated since `run` began and not freed yet, counted
    from PyTorch's own log and not from the process."""
    from torch.profiler import ProfilerActivity, profile

    def measure(run: Callable[[], object]) -> int:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as log:
            run()
        events = [e for e in log.profiler.kineto_results.events() if e.name() == "[memory]"]
        events.sort(key=lambda e: e.start_ns())
        return int(max(accumulate(e.nbytes() for e in events)))

    return measure
