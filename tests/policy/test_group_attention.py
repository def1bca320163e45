"""Attention over flat groups gives what each sequence gives alone, and so do its gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fundus_ray.policy.group_attention import AttentionPlan, grouped_attention, plan_attention

HEADS, KEY_HEADS, SIZE = 4, 2, 8


def plan_of(groups: list[tuple[int, list[int]]]) -> AttentionPlan:
    """Groups of (prompt tokens, completions' tokens), one after the other."""
    prompt_at, starts, lengths, owner, at = [], [], [], [], 0
    for number, (prompt, completions) in enumerate(groups):
        prompt_at.append(at)
        at += prompt
        for length in completions:
            starts.append(at)
            lengths.append(length)
            owner.append(number)
            at += length
    return plan_attention(
        prompt_at=np.array(prompt_at),
        prompt_lens=np.array([prompt for prompt, _ in groups]),
        starts=np.array(starts),
        lengths=np.array(lengths),
        groups=np.array(owner),
        device=torch.device("cpu"),
    )


def by_mask(query: Tensor, key: Tensor, value: Tensor, groups: list[tuple[int, list[int]]]) -> Tensor:
    """Softmax over one mask of all tokens, in plain products."""
    group = [g for g, (prompt, own) in enumerate(groups) for _ in range(prompt + sum(own))]
    segment = [s for prompt, own in groups for s, n in enumerate([prompt, *own]) for _ in range(n)]
    g, s = torch.tensor(group), torch.tensor(segment)
    allowed = (g[:, None] == g) & ((s[:, None] == s) | (s == 0)) & torch.ones(len(g), len(g)).tril().bool()
    k, v = (x.repeat_interleave(HEADS // KEY_HEADS, 1) for x in (key, value))
    scores = torch.einsum("qad,kad->aqk", query, k) * SIZE**-0.5
    return torch.einsum("aqk,kad->qad", scores.masked_fill(~allowed, -torch.inf).softmax(-1), v)


@pytest.mark.parametrize(
    "groups",
    [
        [(3, [2, 5, 1]), (3, [4, 4])],
        [(7, [2, 300, 1]), (3, [4, 190]), (120, [1])],  # unlike prompts, and lengths too unlike for one call
        [(1, [1])],
        [(4, [0, 3]), (2, [0])],  # a completion of no tokens
    ],
)
def test_every_token_sees_its_prompt_and_itself_and_nothing_else(groups: list[tuple[int, list[int]]]) -> None:
    plan = plan_of(groups)
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(plan.tokens, heads, SIZE, generator=generator, requires_grad=True)
        for heads in (HEADS, KEY_HEADS, KEY_HEADS)
    )
    weight = torch.randn(plan.tokens, HEADS, SIZE, generator=generator)
    out = grouped_attention(query, key, value, plan, scale=SIZE**-0.5)
    expected = by_mask(query, key, value, groups)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
    inputs = [query, key, value]
    grads = torch.autograd.grad((out * weight).sum(), inputs)
    for grad, wanted in zip(grads, torch.autograd.grad((expected * weight).sum(), inputs), strict=True):
        torch.testing.assert_close(grad, wanted, atol=2e-5, rtol=0)


def test_prompt_gradients_of_many_completions_are_rounded_once() -> None:
    # Queries of 0 look at all their keys alike: a completion of one token gives half its weight to the prompt of one.
    # Its two query heads' gradients 2 and 2^-7 make 1 + 2^-8, which is 1 in bfloat16; 128 of these and the prompt's own
    # 0.5 make 129, which is exact, and with a rounding on the way 128.
    plan = plan_of([(1, [1] * 128)])
    query = torch.zeros(plan.tokens, HEADS, SIZE, dtype=torch.bfloat16)
    key, value = (torch.ones(plan.tokens, KEY_HEADS, SIZE, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    weight = torch.tensor([2.0, 2.0**-7]).repeat(HEADS // 2).view(1, HEADS, 1).repeat(plan.tokens, 1, SIZE)
    weight[0] = 0.25
    out = grouped_attention(query, key, value, plan, scale=1.0)
    (grad,) = torch.autograd.grad((out * weight).sum(), value)
    assert grad.dtype == torch.bfloat16
    assert grad[0].unique().tolist() == [129.0]
    assert grad[1:].unique().tolist() == [1.0]


def test_a_long_tail_is_cut_into_calls_of_like_length() -> None:
    plan = plan_of([(100, [500, 20, 30, 25, 480, 22, 28, 31])])
    assert [tuple(call.at.shape) for call in plan.completions] == [(2, 500), (6, 31)]
    assert all(call.mask is None for call in plan.completions)  # one prompt length: causal from the lower right
