"""Rules on what the actors ask of the cluster: GPUs, their shares, how many of each kind."""

from __future__ import annotations

from fundus_ray.config.schema import Config
from fundus_ray.errors import ConfigError


def check_asks(c: Config) -> None:
    """Raises ConfigError where an actor asks for what it cannot use, or no cluster can give."""
    for key, needed, there in (
        ("rollout", c.rollout.min_workers, c.rollout.workers),
        ("reward", c.reward.min_workers, c.reward.workers),
    ):
        if needed > there:
            raise ConfigError(
                f"{key}.min_workers={needed} must be <= {key}.workers={there}, or 0 for all of them; lower it"
            )
    _check_tensor_parallel(c)
    for key, gpus in (("learner.gpus", c.learner.gpus), ("reward.gpus", c.reward.gpus)):
        if gpus > 1 and gpus != int(gpus):
            raise ConfigError(f"{key}={gpus:g} must be <= 1 or a whole number: Ray divides single GPUs only")
    if c.ray.colocate:
        _check_colocation(c)
    else:
        _check_shared_gpus(c)


def _check_tensor_parallel(c: Config) -> None:
    gpus, ways = c.rollout.gpus, c.rollout.tensor_parallel
    if ways > 1 and not gpus:
        raise ConfigError(
            f"rollout.tensor_parallel={ways} with rollout.gpus=0: an engine on a CPU is not split here; set "
            f"rollout.gpus={ways}, or rollout.tensor_parallel=1"
        )
    if (ways > 1 or gpus > 1) and gpus != ways:
        raise ConfigError(
            f"rollout.gpus={gpus:g} must be rollout.tensor_parallel={ways}: an engine uses as many GPUs as it is split "
            f"over, no more; set one to the other"
        )


def _check_shared_gpus(c: Config) -> None:
    share = c.rollout.gpu_memory_utilization
    shared = [("rollout.gpus", c.rollout.gpus)]
    if c.reward.checker == "judge":
        shared.append(("reward.gpus", c.reward.gpus))
    for key, gpus in shared:
        if 0 < gpus < 1 and share > gpus:
            raise ConfigError(
                f"rollout.gpu_memory_utilization={share:g} must be <= {key}={gpus:g}: of a GPU that several actors "
                f"share, an engine may not take more than its part; set it to {gpus:g} or less"
            )


def _check_colocation(c: Config) -> None:
    rollout, learner = c.rollout, c.learner
    if not rollout.gpus or not learner.gpus:
        raise ConfigError(
            f"ray.colocate=true needs a GPU, but rollout.gpus={rollout.gpus:g} and learner.gpus={learner.gpus:g}: "
            "vLLM can put an engine to sleep on a GPU only; set both to 0.5, or ray.colocate=false"
        )
    if rollout.gpus + learner.gpus > 1:
        raise ConfigError(
            f"ray.colocate=true shares one GPU, but rollout.gpus={rollout.gpus:g} + learner.gpus={learner.gpus:g} is "
            "more than 1; set both to 0.5"
        )
    if learner.ranks > 1:
        raise ConfigError(
            f"ray.colocate=true is for one engine and one learner, but learner.ranks={learner.ranks}; set it to 1"
        )
    if rollout.workers > 1:
        raise ConfigError(
            f"ray.colocate=true is for one engine and one learner, but rollout.workers={rollout.workers}; set it to 1"
        )
    if c.loop.async_ratio:
        raise ConfigError(
            f"loop.async_ratio={c.loop.async_ratio:g} must be 0 with ray.colocate=true: the engine sleeps while the "
            "learner works, so nothing runs ahead"
        )
