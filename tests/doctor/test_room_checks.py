"""Placement, adapters, disks, prompts and memory: each failing in its own way, with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from doctor_case import GIB, GPU_BYTES, case_of, machine, node

from fundus_ray.config import Config, load
from fundus_ray.doctor.findings import Verdict
from fundus_ray.doctor.room_checks import (
    adapters,
    disk,
    engine_memory,
    learner_memory,
    main_memory,
    placement,
    prompts,
    tensor_parallel,
)
from fundus_ray.places import Node
from fundus_ray.types import ImageRef

OnGpus = Callable[..., Config]
GPU = {"name": "H100", "total": GPU_BYTES, "used": 0}


def test_placement_fits_waits_or_fails(on_gpus: OnGpus) -> None:
    config = on_gpus("rollout.workers=2")

    def row(config: Config, *nodes: Node) -> tuple[Verdict, str]:
        (one,) = placement(case_of(config, [machine(config, place) for place in nodes]))
        assert one.remedy or one.verdict is Verdict.OK
        return one.verdict, one.found

    assert row(config, node("a", GPU=2.0), node("b", GPU=1.0)) == (Verdict.OK, "4 places on 2 machines")
    verdict, found = row(config, node("a", GPU=2.0))
    assert verdict is Verdict.FAIL
    assert "ask for 3 GPUs (rollout-0 1 + rollout-1 1 + learner 1) but the cluster has 2" in found
    busy = Node("b", {"CPU": 16.0, "GPU": 1.0}, {"CPU": 16.0, "GPU": 0.0})
    verdict, found = row(config, node("a", GPU=2.0), busy)
    assert (verdict, "learner: 1 of 4 have no place at this moment" in found) == (Verdict.WARN, True)


def test_machines_that_may_come_are_waited_for_and_engines_to_spare_are_no_matter(on_gpus: OnGpus) -> None:
    config = on_gpus("rollout.workers=4", "ray.address=auto", "ray.autoscale=true")
    (row,) = placement(case_of(config, [machine(config, node(GPU=2.0))]))
    assert row.verdict is Verdict.WARN
    config = on_gpus("rollout.workers=4", "rollout.min_workers=1")
    (row,) = placement(case_of(config, [machine(config, node(GPU=2.0))]))
    assert (row.verdict, row.found) == (Verdict.OK, "3 places on one machine; 3 more join when there is room")


def test_tensor_parallel_that_does_not_divide_the_heads_is_refused_and_one_that_does_passes(on_gpus: OnGpus) -> None:
    def rows(ways: int) -> list[str]:
        config = on_gpus(f"rollout.tensor_parallel={ways}", f"rollout.gpus={ways}")
        return [f"{row.found}; {row.remedy}" for row in tensor_parallel(case_of(config, []))]

    assert [rows(ways) for ways in (1, 2, 4, 8)] == [[], [], [], []]
    assert rows(3) == [
        "rollout.tensor_parallel=3 does not divide the model's 16 attention heads, 2 key and value heads, 16 heads of "
        "the vision tower; set it to one of 1, 2, 4, 8, 16, and rollout.gpus too"
    ]


def test_a_prompt_has_to_hold_its_image(on_gpus: OnGpus) -> None:
    def row(width: int, height: int) -> tuple[Verdict, str, str]:
        config = on_gpus("rollout.max_tokens=512", "rollout.max_model_len=1536")
        case = case_of(config, [])
        ref = ImageRef("/data/eye.png", "ab", width_px=width, height_px=height)
        (one,) = prompts(replace(case, needs=replace(case.needs, images=(ref,))))
        return one.verdict, one.found, one.remedy

    # 840 x 560 px are 30 x 20 tokens. Of 3000 x 2000 px the processor makes 1,226 x 817, hence 43 x 29 tokens.
    assert row(840, 560)[:2] == (Verdict.OK, "images of up to 600 tokens in prompts of up to 1024")
    verdict, found, remedy = row(3000, 2000)
    assert (verdict, found[:42]) == (Verdict.FAIL, "/data/eye.png becomes 1247 tokens, but a p")
    assert f"max_pixels={768 * 784}" in remedy


def test_adapters_need_room_in_shared_memory(on_gpus: OnGpus) -> None:
    config = on_gpus("policy.lora_rank=24", "rollout.workers=2")
    # 3 versions for each of 2 engines and 2 on their way, of 24 x 1,870,848 numbers of 2 bytes.
    each = 2 * 24 * 1_870_848
    for free, verdict in ((8 * each, Verdict.OK), (8 * each - 1, Verdict.FAIL), (-1, Verdict.WARN)):
        (row,) = adapters(case_of(config, [machine(config, node(GPU=3.0), shared_memory=free)]))
        assert row.verdict is verdict
    assert (
        "3 versions of rank 24 (vLLM keeps places of rank 32)"
        in next(iter(adapters(case_of(config, [machine(config, node(GPU=3.0))])))).found
    )


def test_checkpoints_need_room_on_the_disk(on_gpus: OnGpus) -> None:
    config = on_gpus("policy.lora_rank=8", "loop.steps=100", "loop.checkpoint_every=10")
    needed = 11 * 12 * 8 * 1_870_848
    case = case_of(config, [])
    place = str(case.needs.run_dir)
    for free, verdict in ((needed, Verdict.OK), (needed - 1, Verdict.FAIL), (-1, Verdict.WARN)):
        (row,) = disk(case_of(config, [machine(config, node(GPU=2.0), disks={place: free})]))
        assert row.verdict is verdict


@pytest.mark.parametrize(("share", "verdict"), [(0.85, Verdict.OK), (0.124, Verdict.WARN), (0.10, Verdict.FAIL)])
def test_an_engine_is_judged_by_what_it_leaves_for_sequences(share: float, verdict: Verdict, on_gpus: OnGpus) -> None:
    config = on_gpus(f"rollout.gpu_memory_utilization={share}", "rollout.max_tokens=2048", "rollout.max_model_len=4096")
    (row,) = engine_memory(case_of(config, [machine(config, node(GPU=2.0))]))
    assert row.verdict is verdict, row.found


def test_a_learner_is_judged_by_its_share_and_the_remedy_works(on_gpus: OnGpus) -> None:
    long = ["rollout.max_tokens=2048", "rollout.max_model_len=4096"]  # groups of 18,432 tokens
    for settings, verdict in (([], Verdict.FAIL), (["learner.checkpointing=true"], Verdict.OK)):
        config = on_gpus(*long, *settings)
        (row,) = learner_memory(case_of(config, [machine(config, node(GPU=2.0))]))
        assert row.verdict is verdict, row.found
    assert "GiB of 79.6 GiB" in row.found


def test_gpus_that_do_not_tell_their_memory_are_a_warning_with_the_reason(on_gpus: OnGpus) -> None:
    config = on_gpus()
    case = case_of(config, [machine(config, node(GPU=2.0), gpus="nvidia-smi does not answer: not found")])
    rows = [*engine_memory(case), *learner_memory(case)]
    assert [row.verdict for row in rows] == [Verdict.WARN, Verdict.WARN]
    assert rows[0].found == "memory of its GPUs is not known: nvidia-smi does not answer: not found"


def test_main_memory_is_added_up_for_the_actors_that_a_machine_would_get() -> None:
    config = load(None, ["rollout.workers=3"])
    for total, free, verdict in ((64, 60, Verdict.OK), (64, 4, Verdict.WARN), (6, 6, Verdict.FAIL)):
        place = machine(config, node(), memory={"total": total * GIB, "free": free * GIB})
        (row,) = main_memory(case_of(config, [place]))
        assert (row.verdict, "3 rollout" in row.found) == (verdict, True)
