"""Settings around the updates: where the run writes, held-out evaluation, the cluster."""

from __future__ import annotations

from dataclasses import dataclass

from fundus_ray.config.option import option


@dataclass
class RunConfig:
    """Where the run writes, and its seed."""

    dir: str = option("runs", "folder that holds the run folders, the cache and the link `latest`")
    name: str = option("run", "the run folder is DIR/NAME-DATE-TIME")
    record: bool = option(
        False, "keep what every update was made from (recorded/), so that `train --replay` can learn from it again"
    )
    image_paths: bool = option(
        False, "name images' paths and patients in rollouts and evaluations; else images by their hash, patients not"
    )
    keep_checkpoints: int = option(0, "newest checkpoints to keep, here and in run.checkpoints; 0 = all", low=0)
    checkpoints: str = option(
        "", "address (s3://..., file:///...) that each checkpoint is also copied to; empty = the run folder alone"
    )
    seed: int = option(0, "seed of everything random: data, policy, prompt order, sampling", low=0, high=2**22)


@dataclass
class EvaluateConfig:
    """Held-out evaluation before and after RL."""

    samples: int = option(512, "held-out samples to use; 0 = no evaluation", low=0)
    before: bool = option(True, "also before RL; leave it out where another run has evaluated the same policy")
    checkpoints: bool = option(
        False, "at the end also every checkpoint (loop.checkpoint_every): how accuracy grew, at no cost to training"
    )
    photo: bool = option(True, "at the end also read scikit-image's CC0 photograph and print the chain")


@dataclass
class RayConfig:
    """The cluster."""

    address: str = option("local", "`local` starts a private Ray; `auto` or HOST:PORT joins a running cluster")
    start_timeout_s: float = option(
        300.0,
        "longest wait for places in the cluster, and then longest start of all actors, model loading included",
        above=0.0,
    )
    autoscale: bool = option(
        False, "the cluster adds machines on demand: what it has no room for as it is is waited for, not refused"
    )
    colocate: bool = option(
        False, "engine and learner take turns on one GPU: while one of them works, the other's memory is given up"
    )
    cores: str = option(
        "", "cores that Ray, this process and workers without own ones run on, as 0 or 0,2-5; empty = all"
    )
