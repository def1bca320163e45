"""One rank of the learner as a Ray actor: it loads the policy once it is told to start.

In: the configuration, and which rank this is. Out: the methods of `LearnerWorker`, as learner_ranks.py calls them.
"""

from __future__ import annotations

from collections.abc import Sequence

import ray
from torch.distributed import TCPStore

from fundus_ray.config import Config
from fundus_ray.errors import ProcessDiedError
from fundus_ray.learner.ranks import Ranks, come_to, listen
from fundus_ray.learner.worker import LearnerWorker
from fundus_ray.obs.log_file import redirect_output
from fundus_ray.types import ImageRef, PolicyVersion, PublishedAdapter, StepResult, TrainBatch


class LearnerRank:
    """Cheap to make, so that what goes wrong in loading is an answer of `start` and not an actor that never was."""

    def __init__(self, config: Config, model_path: str, log_path: str, rank: int) -> None:
        redirect_output(log_path)
        self._config = config
        self._model_path = model_path
        self._rank = rank
        # Whoever waits inside a collective is ended by the driver first; this is for a driver that is gone itself.
        self._limit_s = max(config.loop.stall_s, config.ray.start_timeout_s)
        self._store: TCPStore | None = None
        self._loaded: LearnerWorker | None = None

    def address(self) -> str:
        """Where the cluster's other machines reach this one."""
        return str(ray.util.get_node_ip_address())

    def listen(self, host: str) -> int:
        """Rank 0: let the others meet at a free port of this address, which is returned."""
        self._store = listen(host, ranks=self._config.learner.ranks, limit_s=self._limit_s)
        return self._store.port

    def start(self, meeting: tuple[str, int, str] | None) -> None:
        """Load the policy. meeting: rank 0's address and port, and this rank's own address; None = it is alone."""
        ranks = self._join(*meeting) if meeting else None
        self._loaded = LearnerWorker(self._config, self._model_path, "", ranks=ranks)

    def unreadable(self, images: Sequence[ImageRef]) -> dict[int, str]:
        """`LearnerWorker.unreadable`."""
        return self._worker.unreadable(images)

    def update(self, batch: TrainBatch) -> StepResult:
        """`LearnerWorker.update`."""
        return self._worker.update(batch)

    def publish(self) -> tuple[PolicyVersion, PublishedAdapter] | tuple[None, None]:
        """`LearnerWorker.publish`, from rank 0."""
        if self._rank:
            self._worker.accompany()
            return None, None
        return self._worker.publish()

    def onload(self) -> None:
        """`LearnerWorker.onload`."""
        self._worker.onload()

    def offload(self) -> None:
        """`LearnerWorker.offload`."""
        self._worker.offload()

    def save(self, folder: str) -> None:
        """`LearnerWorker.save`, by rank 0."""
        if self._rank:
            self._worker.accompany()
        else:
            self._worker.save(folder)

    def load(self, folder: str) -> None:
        """`LearnerWorker.load`."""
        self._worker.load(folder)

    def _join(self, host: str, port: int, own_address: str) -> Ranks:
        count = self._config.learner.ranks
        return Ranks.join(
            self._store or come_to((host, port), ranks=count, limit_s=self._limit_s),
            rank=self._rank,
            count=count,
            device="cuda" if self._config.learner.gpus else "cpu",
            own_address=own_address,
            limit_s=self._limit_s,
        )

    @property
    def _worker(self) -> LearnerWorker:
        if self._loaded is None:
            raise ProcessDiedError("the learner has not been started")
        return self._loaded
