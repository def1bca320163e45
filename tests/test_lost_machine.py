"""The learner on a machine of its own, of a real Ray cluster, that is lost."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from fundus_ray.cluster import spawn
from fundus_ray.learner_ranks import LearnerRanks
from fundus_ray.places import Ask
from fundus_ray.types import PolicyVersion

# isort: split
import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

BYTES = 2_000_000  # more than what Ray sends along with an answer


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """This process's machine alone."""
    with pytest.MonkeyPatch.context() as patch:
        # Another cluster's address, which `ray.address=auto` reads, is not this one's to overwrite.
        patch.setattr("ray._private.utils.write_ray_address", lambda *_, **__: None)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        try:
            ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


async def test_a_version_is_there_for_an_engine_that_comes_back_after_the_learners_machine_was_lost(
    cluster: Cluster,
) -> None:
    class Rank:  # in here, as Ray then carries it to a process that need not import this file
        def publish(self) -> tuple[PolicyVersion, bytes]:
            return PolicyVersion(step=3, sha256="of-3"), bytes(BYTES)

    @ray.remote
    def take(payload: bytes) -> int:
        return len(payload)

    machine = cluster.add_node(num_cpus=1)
    place = NodeAffinitySchedulingStrategy(machine.node_id, soft=False)
    learner = LearnerRanks(lambda: [spawn(Ask("learner", 1.0, 0.0), Rank, threads=1, place=place)], limit_s=60.0)

    published = await learner.publish()
    cluster.remove_node(machine)

    assert published.version.step == 3
    assert ray.get(take.remote(published.payload), timeout=60.0) == BYTES
