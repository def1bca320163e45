"""Adapters are read by a thread while the engine goes on writing, and handed to it between two of its steps.

vLLM's `add_lora` reads the adapter's files in the loop that makes the tokens, so no request gets a token meanwhile.
vLLM adds this class to its workers (engine argument `worker_extension_cls`), so that an engine can be asked to read
first (`prefetch_adapter`), says when it has (`adapter_is_read`), and finds in `add_lora` what was read.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from vllm.lora.request import LoRARequest

WORKER_EXTENSION = f"{__name__}.AdapterPrefetch"


class AdapterPrefetch:
    """Methods of a vLLM worker, called by `collective_rpc` with plain values."""

    model_runner: Any  # the worker's
    _adapters_read: dict[int, Future[Any]]
    _adapter_reader: ThreadPoolExecutor
    _read_adapter: Callable[[LoRARequest], Any]  # vLLM's

    def prefetch_adapter(self, name: str, lora_id: int, path: str) -> None:
        """Begin to read the adapter's files."""
        manager = self.model_runner.lora_manager
        if not hasattr(self, "_adapters_read"):  # vLLM makes the worker, and knows no constructor of an extension
            self._adapters_read = {}
            self._adapter_reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="adapter")
            self._read_adapter = manager._load_adapter
            manager._load_adapter = self._take_adapter
        request = LoRARequest(name, lora_id, path)
        self._adapters_read[lora_id] = self._adapter_reader.submit(self._read_adapter, request)

    def adapter_is_read(self, lora_id: int) -> bool:
        """Whether it has been, or reading has failed, which `add_lora` then says."""
        return self._adapters_read[lora_id].done()

    def _take_adapter(self, request: LoRARequest) -> Any:
        """In vLLM's place: what was read, else read now."""
        future = self._adapters_read.pop(request.lora_int_id, None)
        return self._read_adapter(request) if future is None else future.result()
