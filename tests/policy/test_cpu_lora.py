from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fundus_ray.policy.cpu_lora import expand, expand_slice, install, shrink

SLOTS, RANK, IN, OUT = 3, 4, 10, 12


def made(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X = made(7, IN, seed=0)
A = made(SLOTS, 1, RANK, IN, seed=1)
B = made(SLOTS, 1, OUT, RANK, seed=2)
OF_TOKEN = torch.tensor([0, 2, 1, 1, -1, 0, 2])


def delta(token: int) -> Tensor:
    """B A x of one token, by its own slot's matrices alone."""
    slot = int(OF_TOKEN[token])
    return torch.zeros(OUT, dtype=torch.float64) if slot < 0 else B[slot, 0] @ (A[slot, 0] @ X[token])


def shrunk(scaling: float = 1.0) -> Tensor:
    h = torch.zeros(len(X), RANK, dtype=torch.float64)
    shrink(X, A, h, OF_TOKEN, scaling)
    return h


def test_each_token_gets_the_product_of_its_own_slots_matrices() -> None:
    y = made(len(X), OUT, seed=3)
    before = y.clone()
    expand(shrunk(2.0), B, y, OF_TOKEN)
    for token in range(len(X)):
        torch.testing.assert_close(y[token] - before[token], 2.0 * delta(token), atol=1e-12, rtol=0)


def test_a_token_without_an_adapter_is_left_as_it_is() -> None:
    y = made(len(X), OUT, seed=3)
    before = y[4].clone()
    expand(shrunk(), B, y, OF_TOKEN)
    assert OF_TOKEN[4] == -1
    assert torch.equal(y[4], before)


def test_a_slice_of_the_output_is_written_and_nothing_beside_it() -> None:
    y = torch.zeros(len(X), OUT + 5, dtype=torch.float64)
    expand_slice(shrunk(), B, y, OF_TOKEN, 3, OUT)
    assert not y[:, :3].any()
    assert not y[:, 3 + OUT :].any()
    torch.testing.assert_close(y[1, 3 : 3 + OUT], delta(1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("add", [True, False])
def test_without_add_inputs_the_output_is_replaced(add: bool) -> None:
    y = torch.ones(len(X), OUT, dtype=torch.float64)
    expand(shrunk(), B, y, OF_TOKEN, add)
    torch.testing.assert_close(y[0], delta(0) + float(add), atol=1e-12, rtol=0)


def test_of_an_output_that_is_narrower_than_the_adapter_only_its_own_width_is_written() -> None:
    y = torch.zeros(len(X), OUT - 2, dtype=torch.float64)
    expand(shrunk(), B, y, OF_TOKEN)
    torch.testing.assert_close(y[3], delta(3)[: OUT - 2], atol=1e-12, rtol=0)


def test_once_installed_vllms_own_calls_come_here_and_give_what_they_gave() -> None:
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    names = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice")
    theirs = {name: getattr(lora_ops, name) for name in names}
    starts, lengths, slots = torch.tensor([0, 3]), torch.tensor([3, 4]), torch.tensor([2, 0])

    def product() -> Tensor:
        h, y = torch.zeros(len(X), RANK, dtype=torch.float64), torch.zeros(len(X), OUT, dtype=torch.float64)
        lora_ops.sgmv_shrink(X, A, h, starts, lengths, slots, 2, 4, 7, 1.5)
        lora_ops.sgmv_expand_slice(h, B, y, starts, lengths, slots, 2, 4, 7, 0, OUT, True)
        return y

    before = product()
    try:
        install()
        install()
        assert punica_cpu.bgmv_shrink is lora_ops.bgmv_shrink is shrink
        after = product()
    finally:
        for module in (lora_ops, punica_cpu):
            for name, function in theirs.items():
                setattr(module, name, function)
    torch.testing.assert_close(after, before, atol=1e-12, rtol=0)
    torch.testing.assert_close(after[0], 1.5 * B[2, 0] @ (A[2, 0] @ X[0]), atol=1e-12, rtol=0)
