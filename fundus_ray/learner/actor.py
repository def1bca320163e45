"""One rank of the learner as a Ray actor: it loads the policy once it is told to start.

In: the configuration, and which rank this is. Out: the methods of `LearnerWorker`, as learner_ranks.py calls them.
"""

from __future__ import annotations

from collections.abc import Sequence

from fundus_ray.config import Config
from fundus_ray.errors import ProcessDiedError
from fundus_ray.learner.worker import LearnerWorker
from fundus_ray.obs.log_file import redirect_output
from fundus_ray.types import ImageRef, PolicyVersion, PublishedAdapter, StepResult, TrainBatch


class LearnerRank:
    """Cheap to make, so that what goes wrong in loading is an answer of `start` and not an actor that never was."""

    def __init__(self, config: Config, model_path: str, log_path: str) -> None:
        redirect_output(log_path)
        self._config = config
        self._model_path = model_path
        self._loaded: LearnerWorker | None = None

    def start(self) -> None:
        """Load the policy."""
        self._loaded = LearnerWorker(self._config, self._model_path, "")

    def unreadable(self, images: Sequence[ImageRef]) -> dict[int, str]:
        """`LearnerWorker.unreadable`."""
        return self._worker.unreadable(images)

    def update(self, batch: TrainBatch) -> StepResult:
        """`LearnerWorker.update`."""
        return self._worker.update(batch)

    def publish(self) -> tuple[PolicyVersion, PublishedAdapter]:
        """`LearnerWorker.publish`."""
        return self._worker.publish()

    def onload(self) -> None:
        """`LearnerWorker.onload`."""
        self._worker.onload()

    def offload(self) -> None:
        """`LearnerWorker.offload`."""
        self._worker.offload()

    def save(self, folder: str) -> None:
        """`LearnerWorker.save`."""
        self._worker.save(folder)

    def load(self, folder: str) -> None:
        """`LearnerWorker.load`."""
        self._worker.load(folder)

    @property
    def _worker(self) -> LearnerWorker:
        if self._loaded is None:
            raise ProcessDiedError("the learner has not been started")
        return self._loaded
