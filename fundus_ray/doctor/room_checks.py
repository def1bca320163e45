"""Checks by arithmetic: do the actors fit the machines, and the network their memory; adapters, disks, prompts.

In: `Case`. Out: findings. Estimates are good to about a tenth, so between SURE and LOST of what is there a person is
asked to look, and nothing is refused.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from fundus_ray.doctor import estimate
from fundus_ray.doctor.ask_nodes import Machine
from fundus_ray.doctor.case import Case, role_of
from fundus_ray.doctor.estimate import gib
from fundus_ray.doctor.findings import EVERYWHERE, Finding, Verdict, fail, warn
from fundus_ray.doctor.needs import image_tokens
from fundus_ray.doctor.shapes import indivisible
from fundus_ray.errors import ConfigError
from fundus_ray.places import check_placement, fits

SURE, LOST = 0.95, 1.1  # of the memory that is there
TEXT_TOKENS = 128  # of a prompt, at the least, beside its image
SMALL_WORKER = estimate.GIB // 2  # a reward actor without a model
HOST_OF_GPU = 3 * estimate.GIB  # main memory of a process that computes on a GPU
LESS_LEARNER = "learner.checkpointing=true, lower learner.micro_batch_tokens, rollout.group_size or rollout.max_tokens"


def placement(case: Case) -> Iterator[Finding]:
    """As the run would be placed on the cluster: at all, and at this moment."""
    nodes, config = [machine.node for machine in case.machines], case.config
    try:
        check_placement(case.groups, nodes=nodes)
    except ConfigError as err:
        found, _, remedy = str(err).partition("; ")
        if config.ray.autoscale:
            yield warn("placement", EVERYWHERE, found, "ray.autoscale=true: the run waits for machines that may come")
        else:
            yield fail("placement", EVERYWHERE, found, remedy or "lower what the actors ask for")
        return
    verdicts = fits(case.groups, nodes)
    needed = [bundle.name for group in case.groups if group.required for bundle in group.bundles]
    waiting = [verdict for verdict in verdicts if verdict.node is None and verdict.bundle in needed]
    if waiting:
        found = f"{len(waiting)} of {len(needed)} have no place at this moment, the first: {waiting[0].why}"
        remedy = f"the run waits for ray.start_timeout_s={config.ray.start_timeout_s:g} s; end what else runs there"
        yield warn("placement", EVERYWHERE, f"{waiting[0].bundle}: {found}", remedy)
        return
    used = Counter(verdict.node for verdict in verdicts if verdict.node is not None)
    spare = sum(verdict.node is None for verdict in verdicts)
    later = f"; {spare} more join when there is room" if spare else ""
    machines = f"{len(used)} machines" if len(used) > 1 else "one machine"
    yield Finding("placement", EVERYWHERE, f"{used.total()} places on {machines}{later}")


def tensor_parallel(case: Case) -> Iterator[Finding]:
    """What an engine's GPUs must divide."""
    ways = case.config.rollout.tensor_parallel
    odd = list(indivisible(case.needs.shape, ways))
    if odd:
        found = f"rollout.tensor_parallel={ways} does not divide the model's {', '.join(odd)}"
        fine = [n for n in range(1, case.needs.shape.heads + 1) if not list(indivisible(case.needs.shape, n))]
        yield fail("engine", EVERYWHERE, found, f"set it to one of {', '.join(map(str, fine))}, and rollout.gpus too")


def prompts(case: Case) -> Iterator[Finding]:
    """Whether an image leaves room in its prompt."""
    needs, longest = case.needs, estimate.longest_prompt(case.config)
    if not needs.images:
        return
    tokens, ref = max((image_tokens(ref, needs), ref.path) for ref in needs.images)
    if tokens + TEXT_TOKENS > longest:
        pixels = 784 * max(1, longest - 2 * TEXT_TOKENS)
        found = f"{ref} becomes {tokens} tokens, but a prompt has {longest} (max_model_len - max_tokens)"
        remedy = f"max_pixels={pixels} in the policy's preprocessor_config.json, or rollout.max_model_len higher"
        yield fail("prompts", EVERYWHERE, found, remedy)
    else:
        yield Finding("prompts", EVERYWHERE, f"images of up to {tokens} tokens in prompts of up to {longest}")


def adapters(case: Case) -> Iterator[Finding]:
    """Rank and number of adapters as vLLM takes them, and room for their files in each machine's shared memory, through
    which they reach engines."""
    config = case.config
    each = case.needs.shape.adapter_parameters(config.policy.lora_rank) * estimate.BYTES[config.policy.dtype]
    rank = f"rank {config.policy.lora_rank}"
    if config.engine_lora_rank != config.policy.lora_rank:
        rank += f" (vLLM keeps places of rank {config.engine_lora_rank})"
    engines = case.placed()
    for machine in case.hosts("rollout"):
        here = max(1, sum(role_of(name) == "rollout" for name in engines[machine.name]))
        needed, free = here * config.live_adapters * each + 2 * each, machine.answer["shared_memory"]
        found = (
            f"{config.live_adapters} versions of {rank}, {gib(each)} each; /dev/shm: {gib(needed)} of {gib(free)} free"
        )
        if free < 0:
            yield warn("adapters", machine.name, "no /dev/shm: adapters go through a disk", "mount one (--shm-size)")
        elif needed > free:
            remedy = "make /dev/shm larger (a container's --shm-size), or lower policy.lora_rank or loop.async_ratio"
            yield fail("adapters", machine.name, found, remedy)
        else:
            yield Finding("adapters", machine.name, found)


def disk(case: Case) -> Iterator[Finding]:
    """Room for checkpoints, and for the base weights that a warm start writes."""
    config, shape = case.config, case.needs.shape
    each = 12 * shape.adapter_parameters(config.policy.lora_rank)  # adapter and AdamW's two states, float32
    kept = kept_checkpoints(case)
    weights = 2 * shape.parameters * estimate.BYTES[config.policy.dtype] if config.sft.steps else 0
    needed, place = kept * each + weights, str(case.needs.run_dir)
    for machine in case.hosts("learner"):
        free = machine.answer["disks"][place]
        found = (
            f"{kept} checkpoints of {gib(each)}{' and base weights' if weights else ''}: {gib(needed)} of {gib(free)}"
        )
        if free < 0:
            yield warn("disk", machine.name, f"{place}: free room cannot be told", f"the run needs {gib(needed)} there")
        elif free < needed:
            remedy = "free some, set run.dir elsewhere, or loop.checkpoint_every higher"
            yield fail("disk", machine.name, f"{place}: {found} free", remedy)
        else:
            yield Finding("disk", machine.name, f"{place}: {found} free")


def kept_checkpoints(case: Case) -> int:
    """How many lie on the disk at once: a new one is written before the oldest goes."""
    loop, keep = case.config.loop, case.config.run.keep_checkpoints
    written = 1 + (loop.steps // loop.checkpoint_every if loop.checkpoint_every else 0)
    return min(written, keep + 1) if keep else written


def engine_memory(case: Case) -> Iterator[Finding]:
    """On each GPU that an engine may get, of its share: all but the KV cache, and what that leaves for sequences."""
    config, shape = case.config, case.needs.shape
    if not config.rollout.gpus:
        return
    ranks = config.rollout.tensor_parallel
    needed = estimate.engine(shape, config, max_pixels=case.needs.pixels[1], ranks=ranks)
    token = estimate.kv_token_bytes(shape, config, ranks=ranks)
    for machine in case.hosts("rollout"):
        size = smallest_gpu(machine)
        if size is None:
            yield _unknown("engine", machine)
            continue
        share = config.rollout.gpu_memory_utilization
        left = share * size - needed.total
        tokens = int(max(0.0, left) // token)
        found = (
            f"{gib(needed.total)} beside the KV cache, of {share:g} x {gib(size)}: {tokens} tokens, "
            f"{tokens / config.rollout.max_model_len:.1f} longest sequences of {config.rollout.max_seqs}"
        )
        less = "raise rollout.gpu_memory_utilization or rollout.tensor_parallel, or lower rollout.max_model_len"
        if left < -(LOST - 1) * share * size:
            yield fail("engine", machine.name, found, less)
        elif tokens < max(config.rollout.max_model_len, estimate.group_tokens(config)):
            yield warn("engine", machine.name, found, f"not one whole group fits: {less}")
        else:
            yield Finding("engine", machine.name, found)


def learner_memory(case: Case) -> Iterator[Finding]:
    """On each GPU that a rank of the learner may get, of its share."""
    config = case.config
    if not config.learner.gpus:
        return
    needed = estimate.learner(case.needs.shape, config)
    share = 1.0 if config.ray.colocate else min(1.0, config.learner.gpus)
    for machine in case.hosts("learner"):
        size = smallest_gpu(machine)
        if size is None:
            yield _unknown("learner", machine)
            continue
        of = gib(size) if share == 1 else f"{share:g} x {gib(size)}"
        found = f"{gib(needed.total)} of {of}, in passes of {estimate.pass_tokens(config)} tokens"
        yield _judged(
            "learner", machine.name, found, needed.total / (share * size), f"set {LESS_LEARNER}, or learner.shard"
        )


def main_memory(case: Case) -> Iterator[Finding]:
    """Of each machine, for the actors that it would get."""
    parts = {role: host_bytes(case, role) for role in ("rollout", "learner", "reward")}
    placed = case.placed()
    for machine in case.answered:
        counts = Counter(role_of(name) for name in placed[machine.name])
        if not counts:
            continue
        needed = sum(parts[role] * count for role, count in counts.items())
        total, free = machine.answer["memory"]["total"], machine.answer["memory"]["free"]
        words = ", ".join(f"{count} {role} {gib(parts[role])}" for role, count in counts.items())
        found = f"{gib(needed)} of {gib(total)}, {gib(free)} free: {words}"
        remedy = "lower rollout.workers or reward.workers, take more machines, or lower learner.image_cache_mb"
        verdict = _judged("memory", machine.name, found, needed / total, remedy)
        if verdict.verdict is Verdict.OK and needed > free:
            verdict = warn("memory", machine.name, found, "end what else runs there")
        yield verdict


def host_bytes(case: Case, role: str) -> int:
    """Main memory of one actor."""
    config, shape = case.config, case.needs.shape
    if role == "rollout":
        adapter = shape.adapter_parameters(config.policy.lora_rank) * estimate.BYTES[config.policy.dtype]
        if config.rollout.gpus:
            asleep = shape.parameters * estimate.BYTES[config.policy.dtype] if config.ray.colocate else 0
            return HOST_OF_GPU + config.live_adapters * adapter + asleep
        return estimate.engine(shape, config, max_pixels=case.needs.pixels[1]).total + estimate.CPU_KV_BYTES
    if role == "learner":
        if config.learner.gpus:  # weights are read there before they go to the GPU
            weights = shape.parameters * estimate.BYTES[config.policy.dtype]
            return HOST_OF_GPU + weights + (config.learner.image_cache_mb << 20)
        return estimate.learner(shape, config).total
    return SMALL_WORKER if config.reward.checker == "record" else 2 * estimate.GIB


def smallest_gpu(machine: Machine) -> int | None:
    """[bytes]; None where the machine does not tell."""
    gpus = machine.answer["gpus"]
    return min(gpu["total"] for gpu in gpus) if gpus and not isinstance(gpus, str) else None


def _judged(check: str, where: str, found: str, share: float, remedy: str) -> Finding:
    if share > LOST or not math.isfinite(share):
        return fail(check, where, found, remedy)
    return warn(check, where, found, f"it may not fit: {remedy}") if share > SURE else Finding(check, where, found)


def _unknown(check: str, machine: Machine) -> Finding:
    answer = machine.answer["gpus"]
    why = answer if isinstance(answer, str) else "nvidia-smi lists no GPU"
    return warn(
        check,
        machine.name,
        f"memory of its GPUs is not known: {why}",
        "compare with the estimate that `fundus-ray doctor` prints",
    )
