"""The fused adapter product computes what PEFT does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fundus_ray.policy.load import PolicyModel, adapter_off, load_policy, with_adapter
from fundus_ray.policy.logprobs import completion_logprobs
from fundus_ray.policy.lora_product import fuse_products


@pytest.fixture
def policy(tiny_policy: Path) -> PolicyModel:
    policy = with_adapter(load_policy(tiny_policy), rank=4, alpha=8, seed=0)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    return policy


def scored(policy: PolicyModel) -> tuple[Tensor, dict[str, Tensor]]:
    ids = torch.arange(20, 44).view(2, 12)
    lens = torch.tensor([4, 4]), torch.tensor([12, 9])
    logprobs = completion_logprobs(policy, ids, prompt_lens=lens[0], seq_lens=lens[1], features=None).logprobs
    policy.model.zero_grad(set_to_none=True)
    logprobs.sum().backward()
    return logprobs.detach(), {n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None}


def test_values_and_gradients_are_pefts(policy: PolicyModel) -> None:
    expected, wanted = scored(policy)
    fuse_products(policy)
    found, grads = scored(policy)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert grads.keys() == wanted.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(grad, wanted[name], atol=2e-5, rtol=1e-4, msg=name)


def test_without_the_adapter_it_is_the_base(policy: PolicyModel, tiny_policy: Path) -> None:
    fuse_products(policy)
    base = load_policy(tiny_policy)
    ids, lens = torch.arange(20, 32).view(1, 12), (torch.tensor([4]), torch.tensor([12]))
    with torch.no_grad(), adapter_off(policy):
        off = completion_logprobs(policy, ids, prompt_lens=lens[0], seq_lens=lens[1], features=None).logprobs
        plain = completion_logprobs(base, ids, prompt_lens=lens[0], seq_lens=lens[1], features=None).logprobs
    assert torch.equal(off, plain)


def test_under_autocast_it_is_as_near_to_float32_as_peft_is(policy: PolicyModel) -> None:
    exact, _ = scored(policy)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        by_peft = (scored(policy)[0] - exact).abs().max()
    fuse_products(policy)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, grads = scored(policy)
    assert 0 < float((found - exact).abs().max()) < 2 * float(by_peft)
    assert all(grad.dtype == torch.float32 for grad in grads.values())
