"""Attention over flat tokens of whole groups: a prompt to itself, each completion to its prompt and to itself.

In: queries, keys, values of S tokens that lie group after group, prompt | completion 1 | ... | completion G, without
padding. Out: as many attention outputs. Registered with transformers under the names in `ATTENTION`, which a network's
language model is given; without a plan, on ordinary padded rows, it is the library's own attention.

Sequences of like length share a call of PyTorch's scaled_dot_product_attention, so padding exists inside a call only. A
completion's keys are its prompt's and its own, hence its mask is causal from the lower right: no mask over a whole
group is made, and flash and memory-efficient kernels apply.

Shapes: S tokens of all groups, N completions, G groups, B sequences of a call, C queries of each, P prompt keys, A
heads, Q query heads to a key head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import eager_attention_forward

ATTENTION = {"cpu": "fundus_ray_cpu", "cuda": "fundus_ray_cuda"}  # by the kind of device; they differ without a plan
WASTE = 0.25  # scores of padding that a call may compute, as a share of the real ones ...
WASTE_SCORES = 1 << 15  # ... or this many, for which no further call is worth its overhead

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PromptCall:
    """Prompts of like length, each causal. Index S stands for padding."""

    at: Tensor  # [B, C] flat positions
    groups: Tensor  # [B]


@dataclass(frozen=True, slots=True)
class CompletionCall:
    """Completions of like length. Index S stands for padding."""

    at: Tensor  # [B, C] flat positions
    groups: Tensor  # [B]
    prompt_len: int  # P: longest prompt of the call
    mask: Tensor | None  # [B, 1, C, P + C] bool where prompts of unlike length meet, else causal from the lower right


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """How the sequences of one pass share calls."""

    tokens: int  # S
    prompts: tuple[PromptCall, ...]
    completions: tuple[CompletionCall, ...]
    prompt_at: Tensor  # [G, longest prompt] flat positions, S for padding


def plan_attention(
    *, prompt_at: Ints, prompt_lens: Ints, starts: Ints, lengths: Ints, groups: Ints, device: torch.device
) -> AttentionPlan:
    """prompt_at, prompt_lens [G]: where each prompt begins and its tokens; starts, lengths, groups [N]: of completions.
    All in flat tokens. Completions of no tokens are left out."""
    tokens = int(prompt_lens.sum() + lengths.sum())

    def flat(begin: Ints, length: Ints, width: int) -> Tensor:
        column = np.arange(width)
        at = np.where(column < length[:, None], begin[:, None] + column, tokens)
        return torch.from_numpy(at).to(device)

    prompts = [
        PromptCall(
            flat(prompt_at[own], prompt_lens[own], int(prompt_lens[own].max())), torch.from_numpy(own).to(device)
        )
        for own in _share_calls(prompt_lens, np.zeros_like(prompt_lens))
    ]
    completions = []
    for own in _share_calls(lengths, prompt_lens[groups]):
        prompt_len, width = int(prompt_lens[groups[own]].max()), int(lengths[own].max())
        completions.append(
            CompletionCall(
                at=flat(starts[own], lengths[own], width),
                groups=torch.from_numpy(groups[own]).to(device),
                prompt_len=prompt_len,
                mask=_mask_of(prompt_lens[groups[own]], width, device),
            )
        )
    return AttentionPlan(
        tokens=tokens,
        prompts=tuple(prompts),
        completions=tuple(completions),
        prompt_at=flat(prompt_at, prompt_lens, int(prompt_lens.max())),
    )


def _share_calls(lengths: Ints, extra_keys: Ints) -> list[Ints]:
    """Sequences by length, the longest first, cut where a call's padding would cost too much. Lists of indices."""
    order = np.lexsort((-extra_keys, -lengths))
    order = order[lengths[order] > 0]
    calls: list[list[int]] = []
    real = width = keys = 0
    for i in order.tolist():
        own = int(lengths[i]) * int(lengths[i] + extra_keys[i])
        if calls:
            grown = max(keys, int(extra_keys[i]))
            padded = (len(calls[-1]) + 1) * width * (width + grown)
            if padded - real - own <= max(WASTE * (real + own), WASTE_SCORES):
                calls[-1].append(i)
                real, keys = real + own, grown
                continue
        calls.append([i])
        real, width, keys = own, int(lengths[i]), int(extra_keys[i])
    return [np.array(call, dtype=np.int64) for call in calls]


def _mask_of(prompt_lens: Ints, width: int, device: torch.device) -> Tensor | None:
    longest = int(prompt_lens.max())
    if (prompt_lens == longest).all():
        return None
    column = torch.arange(longest + width, device=device)
    in_prompt = column < torch.from_numpy(prompt_lens).to(device)[:, None]  # [B, P + C]
    own = (column >= longest) & (column - longest <= torch.arange(width, device=device)[:, None])  # [C, P + C]
    return (in_prompt[:, None] | own).unsqueeze(1)


def grouped_attention(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, *, scale: float) -> Tensor:
    """[S, A, D] from queries [S, A, D], keys and values [S, A / Q, D]."""
    repeats = query.shape[1] // key.shape[1]
    parts = iter(_Gather.apply(query, key, value, plan, repeats))
    outs = []
    for _ in plan.prompts:
        q, k, v = (next(parts).transpose(1, 2) for _ in range(3))
        outs.append(scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale).transpose(1, 2))
    for call in plan.completions:
        q, k, v = (next(parts).transpose(1, 2) for _ in range(3))
        mask = causal_lower_right(q.shape[2], k.shape[2]) if call.mask is None else call.mask
        outs.append(scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).transpose(1, 2))
    return _Scatter.apply(plan, *outs)


class _Gather(torch.autograd.Function):
    """Flat tokens -> each call's queries [B, C, A, D] and keys and values [B, P + C, A, D], prompts first.

    By hand because autograd would add up, row by row, gradients that are copies but for the prompts' keys and values.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, repeats: int) -> Any:
        ctx.plan, ctx.repeats = plan, repeats
        q, k, v = (torch.cat([x, x.new_zeros((1, *x.shape[1:]))]) for x in (query, key, value))
        out = []
        for at in (call.at for call in plan.prompts):
            out += [q[at], _repeat(k[at], repeats), _repeat(v[at], repeats)]
        for call in plan.completions:
            with_prompt = torch.cat([plan.prompt_at[call.groups, : call.prompt_len], call.at], dim=1)
            out += [q[call.at], _repeat(k[with_prompt], repeats), _repeat(v[with_prompt], repeats)]
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        plan, repeats, calls = ctx.plan, ctx.repeats, len(ctx.plan.prompts)
        prompts, completions = grads[: 3 * calls], grads[3 * calls :]
        q = _flat(plan, [*prompts[::3], *completions[::3]])
        keys_and_values = []
        for part in (1, 2):
            of_prompts = [_unrepeat(g, repeats) for g in prompts[part::3]]
            of_completions = [_unrepeat(g, repeats) for g in completions[part::3]]
            own = [g[:, call.prompt_len :] for g, call in zip(of_completions, plan.completions, strict=True)]
            flat = _flat(plan, [*of_prompts, *own])
            seen = flat.new_zeros((*plan.prompt_at.shape, *flat.shape[1:]))  # by completions
            for g, call in zip(of_completions, plan.completions, strict=True):
                seen[:, : call.prompt_len].index_add_(0, call.groups, g[:, : call.prompt_len])
            real = plan.prompt_at < plan.tokens
            flat[plan.prompt_at[real]] += seen[real]
            keys_and_values.append(flat.to(grads[part].dtype))
        return q, *keys_and_values, None, None


class _Scatter(torch.autograd.Function):
    """Each call's outputs [B, C, A, D] -> flat tokens [S, A, D]."""

    @staticmethod
    def forward(ctx: Any, plan: AttentionPlan, *outs: Tensor) -> Tensor:
        ctx.plan = plan
        return _flat(plan, outs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        padded = torch.cat([grad, grad.new_zeros((1, *grad.shape[1:]))])
        return None, *(padded[call.at] for call in (*ctx.plan.prompts, *ctx.plan.completions))


def _flat(plan: AttentionPlan, parts: Sequence[Tensor]) -> Tensor:
    """[S, ...] of one [B, C, ...] a call."""
    flat = parts[0].new_empty((plan.tokens + 1, *parts[0].shape[2:]))  # the last row takes the padding
    places = [*(call.at for call in plan.prompts), *(call.at for call in plan.completions)]
    for at, part in zip(places, parts, strict=True):
        flat[at] = part
    return flat[: plan.tokens]


def _repeat(x: Tensor, repeats: int) -> Tensor:
    """[B, L, A / Q, D] -> [B, L, A, D]."""
    return x if repeats == 1 else x.unsqueeze(3).expand(-1, -1, -1, repeats, -1).flatten(2, 3)


def _unrepeat(x: Tensor, repeats: int) -> Tensor:
    # In float32: sums over a group's completions follow, in which bfloat16 would lose what each of them adds.
    return x.float() if repeats == 1 else x.unflatten(2, (-1, repeats)).sum(3, dtype=torch.float32)


def _registered(plain: Callable[..., Any]) -> Callable[..., Any]:
    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> Any:
        plan = kwargs.pop("plan", None)
        if plan is None:
            return plain(module, query, key, value, attention_mask, **kwargs)
        # Under autocast the rotary embedding leaves queries and keys in float32.
        q, k, v = (x[0].transpose(0, 1).to(value.dtype) for x in (query, key, value))
        return grouped_attention(q, k, v, plan, scale=kwargs["scaling"]).unsqueeze(0), None

    return attend


# Eager is the faster one for the warm start's short padded rows on a CPU.
AttentionInterface.register(ATTENTION["cpu"], _registered(eager_attention_forward))
AttentionInterface.register(ATTENTION["cuda"], _registered(sdpa_attention_forward))
AttentionMaskInterface.register(ATTENTION["cpu"], eager_mask)
AttentionMaskInterface.register(ATTENTION["cuda"], sdpa_mask)
