"""Where a run may go on, and where not."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_ray.errors import ConfigError
from fundus_ray.obs.sinks import RunFolder
from fundus_ray.resume import check_same_order, check_same_store


@pytest.mark.parametrize("now", ["b" * 64, ""])
def test_a_run_does_not_go_on_over_another_store(tmp_path: Path, now: str) -> None:
    folder = RunFolder.create(tmp_path, name="run")
    check_same_store(folder, "a" * 64)
    check_same_store(folder, "a" * 64)
    with pytest.raises(ConfigError, match=r"it learned from a store with content aaaaaaaaaaaa, but data\.path holds"):
        check_same_store(folder, now)
    folder.close()


def test_a_run_does_not_go_on_in_another_order_of_prompts(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, name="run")
    check_same_order(folder, "balanced")
    check_same_order(folder, "balanced")
    with pytest.raises(ConfigError, match=r"its prompts come by data\.order=balanced, not shuffled; leave it"):
        check_same_order(folder, "shuffled")
    folder.close()
