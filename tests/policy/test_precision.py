"""bfloat16 autocast only where it is more than emulated."""

from __future__ import annotations

import logging

import pytest
import torch

from fundus_ray.policy import precision


@pytest.mark.parametrize(("supported", "used"), [(True, True), (False, False)])
def test_a_cpu_without_bfloat16_computes_in_float32_and_says_so_once(
    supported: bool, used: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "_cpu_computes_bf16", lambda: supported)
    precision._say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        got = [precision.autocast_bf16(torch.device("cpu"), wished=True, key="sft.bf16") for _ in range(2)]
    assert got == [used, used]
    assert [record.getMessage().partition("=")[0] for record in caplog.records] == ["sft.bf16"] * (not supported)


def test_what_is_not_wished_is_not_done_and_a_gpu_is_not_asked() -> None:
    assert not precision.autocast_bf16(torch.device("cpu"), wished=False, key="sft.bf16")
    assert precision.autocast_bf16(torch.device("cuda"), wished=True, key="sft.bf16")
