"""Whether bfloat16 autocast is worth having on a device.

In: a device and the wish. Out: what to do. On a CPU without AVX512 PyTorch computes the vision tower's patch embedding
in bfloat16 some 60 times slower than in float32, and linear layers twice.
"""

from __future__ import annotations

import functools
import logging

import torch

log = logging.getLogger(__name__)


def autocast_bf16(device: torch.device, *, wished: bool, key: str) -> bool:
    """`wished`, unless the device only emulates bfloat16, which is said once, with the setting `key`."""
    if wished and device.type == "cpu" and not _cpu_computes_bf16():
        _say_once(key)
        return False
    return wished


def _cpu_computes_bf16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@functools.cache
def _say_once(key: str) -> None:
    log.warning("%s=true: this CPU has no bfloat16 arithmetic and would only emulate it, slowly: float32 is used", key)
