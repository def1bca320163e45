"""The real vLLM engine against HF + PEFT: same log-probabilities, several versions at once, deliveries proven."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import torch

from fundus_ray.config import load
from fundus_ray.data.images import read_pixels
from fundus_ray.errors import DeliveryError, SampleError
from fundus_ray.policy import generate as generate_module
from fundus_ray.policy.adapter import publish
from fundus_ray.policy.generate import Engine
from fundus_ray.policy.load import PolicyModel, load_policy, with_adapter
from fundus_ray.policy.logprobs import completion_logprobs, encode_images
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.types import PolicyVersion, Prompt, Pulse, RolloutGroup, Sample, Sampling

TEMPERATURE = 0.7  # not 1, so that an engine that ignores it would be found out


def perturb(policy: PolicyModel, seed: int) -> None:
    """Move the adapter away from zero, by enough to change what is sampled."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in policy.model.named_parameters():
        if "lora_" in name:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)


async def wait_until_only(engine: Engine, version: PolicyVersion) -> None:
    """Until vLLM and the memory folder hold this version alone."""
    adapter = engine._requests[version]

    async def poll() -> None:
        while set(await engine._llm.list_loras()) != {adapter.lora_int_id} or [
            str(path) for path in engine._folder.iterdir() if path.is_dir()
        ] != [adapter.lora_path]:
            await asyncio.sleep(0.01)

    await asyncio.wait_for(poll(), timeout=20)


async def watched(work: Coroutine[Any, Any, RolloutGroup], engine: Engine) -> tuple[RolloutGroup, list[Pulse]]:
    """What the work gives, and the engine's signs of life meanwhile."""
    task, pulses = asyncio.create_task(work), []
    while not task.done():
        pulses.append(await engine.pulse())
    return await task, pulses


def learner_logprobs(policy: PolicyModel, group: RolloutGroup) -> list[torch.Tensor]:
    """HF + PEFT's log-probabilities of the group's completions, one row at a time, without padding."""
    features = encode_images(policy, [read_pixels(group.prompt.sample.image)])
    rows = []
    for rollout in group.rollouts:
        ids = torch.tensor([[*group.prompt_token_ids, *rollout.token_ids]])
        start = torch.tensor([len(group.prompt_token_ids)])
        with torch.no_grad():
            out = completion_logprobs(
                policy,
                ids,
                prompt_lens=start,
                seq_lens=torch.tensor([ids.shape[1]]),
                features=features,
                temperature=TEMPERATURE,
            )
        rows.append(out.logprobs[0, start:])
    return rows


def largest_gap(policy: PolicyModel, group: RolloutGroup) -> float:
    return max(
        float((torch.tensor(r.logprobs) - mine).abs().max())
        for r, mine in zip(group.rollouts, learner_logprobs(policy, group), strict=True)
    )


async def test_two_live_versions_agree_with_the_learner_and_are_told_apart(
    tiny_policy: Path, samples: tuple[Sample, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(None, ["rollout.max_tokens=24", "loop.async_ratio=1", "policy.lora_rank=8"])
    policy = with_adapter(load_policy(tiny_policy), rank=8, alpha=16, seed=0)
    sampling = Sampling(n=3, temperature=TEMPERATURE, max_tokens=24)
    prompts = [build_prompt(s, group_id=i, seed=100 * i) for i, s in enumerate(samples[:3])]
    engine = Engine.start(config, model_path=str(tiny_policy), worker="rollout-0")

    async def generate(prompt: Prompt, version: PolicyVersion) -> RolloutGroup:
        pixels = read_pixels(prompt.sample.image)
        return await engine.generate(prompt, pixels=pixels, sampling=sampling, version=version)

    try:
        perturb(policy, 1)
        first = publish(policy, step=0)
        proof = await engine.deliver(first)
        assert proof.listed
        assert proof.sha256 == first.version.sha256
        assert proof.probe_error < 1e-4
        await engine.serve(first.version)
        old = [asyncio.create_task(generate(p, first.version)) for p in prompts]
        old_groups_gap = None
        await asyncio.sleep(0)
        old_state = {k: v.clone() for k, v in policy.model.state_dict().items() if "lora_" in k}
        perturb(policy, 2)
        second = publish(policy, step=1)
        assert second.version.sha256 != first.version.sha256
        assert max(abs(a - b) for a, b in zip(first.probe_logprobs, second.probe_logprobs, strict=True)) > 1e-2
        proof = await engine.deliver(second)
        assert proof.probe_error < 1e-4
        assert proof.probe_shift is not None
        assert proof.probe_shift > 1e-2
        assert engine.served == first.version  # it arrived; new prompts are told of it by `serve`
        await engine.serve(second.version)
        new = [generate(p, second.version) for p in prompts]
        new_groups = await asyncio.gather(*new)
        old_groups = await asyncio.gather(*old)
        assert engine.held_versions == (1,)  # the old one went with its last request
        await wait_until_only(engine, second.version)

        assert max(largest_gap(policy, g) for g in new_groups) < 1e-4
        assert max(largest_gap(policy, g) for g in old_groups) > 1e-2  # the wrong version is found out
        policy.model.load_state_dict(old_state, strict=False)
        old_groups_gap = max(largest_gap(policy, g) for g in old_groups)
        assert old_groups_gap < 1e-4

        again, pulses = await watched(generate(prompts[0], second.version), engine)
        assert any(pulse.working for pulse in pulses)
        assert len({pulse.moved for pulse in pulses}) > 1  # tokens are drawn
        assert not (await engine.pulse()).working
        assert [r.token_ids for r in again.rollouts] == [r.token_ids for r in new_groups[0].rollouts]  # seeded

        with pytest.raises(SampleError, match=f"^sample {samples[0].id}: vLLM refuses its prompt: .*maximum"):
            await generate(dataclasses.replace(prompts[0], user="drusen " * 2000), second.version)

        with pytest.raises(DeliveryError, match="asked for policy version 7 but holds 1"):
            await engine.generate(
                prompts[0],
                pixels=read_pixels(prompts[0].sample.image),
                sampling=sampling,
                version=PolicyVersion(step=7, sha256="x"),
            )

        for step in (2, 3):  # three places, and version 1 is still the one for new prompts
            await engine.deliver(publish(policy, step=step))
        with pytest.raises(DeliveryError, match="rollout-0: no place for policy version 4; all 3 are in use"):
            await engine.deliver(publish(policy, step=4))
        await engine.serve(publish(policy, step=3).version)
        assert engine.held_versions == (3,)

        monkeypatch.setattr(generate_module, "READ_AHEAD_BYTES", 0)  # from here on as large adapters are
        # Under load: each version arrives while prompts of the two before it are being written, as far as they last.
        waves: list[list[asyncio.Task[RolloutGroup]]] = []
        for step in range(4, 10):
            policy.model.load_state_dict(old_state, strict=False)  # one move each: rounding grows with the weights
            perturb(policy, step)
            adapter = publish(policy, step=step)
            assert (await engine.deliver(adapter)).probe_error < 1e-4
            await engine.serve(adapter.version)
            waves.append([asyncio.create_task(generate(p, adapter.version)) for p in prompts])
            await asyncio.sleep(0)
            if len(waves) > 2:
                await asyncio.gather(*waves[-3])
        await asyncio.gather(*waves[-2], *waves[-1])
        written = [[task.result() for task in wave] for wave in waves]
        assert [{g.policy.step for g in wave} for wave in written] == [{step} for step in range(4, 10)]
        assert max(largest_gap(policy, g) for g in written[-1]) < 1e-4
        assert engine.held_versions == (9,)
        await wait_until_only(engine, adapter.version)

        policy.model.load_state_dict(old_state, strict=False)  # as after a learner was restored:
        perturb(policy, 10)  # the step that the engine holds, made anew with other weights
        again_9 = publish(policy, step=9)
        assert (await engine.deliver(again_9)).probe_error < 1e-4
        await engine.serve(again_9.version)
        group = await generate(prompts[0], again_9.version)
        assert largest_gap(policy, group) < 1e-4  # nothing that was cached under the first one was used
        await wait_until_only(engine, again_9.version)
        held_id = engine._requests[again_9.version].lora_int_id
        assert (await engine.deliver(again_9)).listed  # once more, as after a restart of the learner alone
        assert engine._requests[again_9.version].lora_int_id == held_id
    finally:
        await engine.close()
    with pytest.raises(DeliveryError, match="rollout-0: closed, so it takes no policy version 10"):
        await engine.deliver(publish(policy, step=10))
