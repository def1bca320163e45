from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from vllm.lora.request import LoRARequest

from fundus_ray.policy.adapter_prefetch import AdapterPrefetch


class Manager:
    """Loads a file's text, and notes in which thread."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.may_read = threading.Event()

    def _load_adapter(self, request: LoRARequest) -> str:
        self.threads.append(threading.current_thread().name)
        assert self.may_read.wait(timeout=10)
        return Path(request.lora_path).read_text()


def worker_of(manager: Manager) -> Any:
    worker = AdapterPrefetch()
    worker.model_runner = SimpleNamespace(lora_manager=manager)
    return worker


def until_read(worker: AdapterPrefetch, lora_id: int) -> None:
    worker._adapters_read[lora_id].exception(timeout=10)
    assert worker.adapter_is_read(lora_id)


def test_an_adapter_is_read_by_another_thread_and_taken_once(tmp_path: Path) -> None:
    manager = Manager()
    worker, file = worker_of(manager), tmp_path / "adapter"
    file.write_text("first")
    worker.prefetch_adapter("v1", 1, str(file))
    assert not worker.adapter_is_read(1)
    manager.may_read.set()
    until_read(worker, 1)
    file.write_text("second")
    request = LoRARequest("v1", 1, str(file))
    assert manager._load_adapter(request) == "first"  # vLLM's own call gets what was read before
    assert manager._load_adapter(request) == "second"  # a later one reads anew, as vLLM does
    here = threading.current_thread().name
    assert [name == here for name in manager.threads] == [False, True]


def test_what_was_not_read_ahead_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    manager = Manager()
    manager.may_read.set()
    worker = worker_of(manager)
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    worker.prefetch_adapter("a", 1, str(tmp_path / "a"))
    assert manager._load_adapter(LoRARequest("b", 2, str(tmp_path / "b"))) == "b"
    until_read(worker, 1)
    assert manager._load_adapter(LoRARequest("a", 1, str(tmp_path / "a"))) == "a"


def test_an_error_of_reading_is_vllms_to_raise(tmp_path: Path) -> None:
    manager = Manager()
    manager.may_read.set()
    worker = worker_of(manager)
    worker.prefetch_adapter("gone", 3, str(tmp_path / "gone"))
    until_read(worker, 3)
    with pytest.raises(FileNotFoundError, match="gone"):
        manager._load_adapter(LoRARequest("gone", 3, str(tmp_path / "gone")))
