"""A quicker LoRA for vLLM on CPUs: the same numbers, without a copy of the adapter for every token.

vLLM's PyTorch kernels (vllm/lora/ops/torch_ops) gather the adapter matrices of each token's slot: a decode step of 128
sequences copies every matrix 128 times before it multiplies. Here all S slots are multiplied at once, and what another
slot than the token's own would add is set to zero where it is only r numbers wide:

    shrink:  [T, in] x [in, S r] -> [T, S r], the own r kept
    expand:  [T, S r], all but the own r zero, x [S r, out] -> [T, out]

Adding zeros is exact, and S = ceil(async_ratio) + 2 is small. vLLM calls `install` in every process of an engine, by
its plug-in mechanism (entry point `vllm.general_plugins` in pyproject.toml).
"""

from __future__ import annotations

import torch
from torch import Tensor


def install() -> None:
    """Put these functions in the place of vLLM's, where its CPU path looks them up. May be called again."""
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    for module in (lora_ops, punica_cpu):
        module.bgmv_shrink = shrink
        module.bgmv_expand = expand
        module.bgmv_expand_slice = expand_slice


def shrink(inputs: Tensor, lora_a: Tensor, output: Tensor, slots: Tensor, scaling: float = 1.0) -> None:
    """output[t, :r] = scaling x A[slots[t]] inputs[t].

    inputs [T, in], lora_a [S, 1, r, in] or [S, r, in], output [T, >= r], slots [T] in 0..S-1; for a token without an
    adapter (-1) the output is of no meaning, and `expand` does not use it.
    """
    a = _matrices(lora_a, dtype=output.dtype)
    count, rank, width = a.shape
    every = (inputs.to(output.dtype) @ a.reshape(count * rank, width).t()).view(-1, count, rank)
    own = every[torch.arange(len(every), device=every.device), slots]
    output[:, :rank] = own if scaling == 1.0 else own * scaling


def expand(inputs: Tensor, lora_b: Tensor, output: Tensor, slots: Tensor, add_inputs: bool = True) -> None:
    """output[t] += B[slots[t]] inputs[t], or = where add_inputs is false; nothing is added for a slot of -1.

    inputs [T, r], lora_b [S, 1, out, r] or [S, out, r], output [T, out']: adapter and network may be padded to
    different widths, so the narrower one counts.
    """
    width = min(lora_b.shape[-2], output.shape[1])
    expand_slice(inputs, lora_b[..., :width, :], output, slots, 0, width, add_inputs)


def expand_slice(
    inputs: Tensor,
    lora_b: Tensor,
    output: Tensor,
    slots: Tensor,
    slice_offset: int,
    slice_size: int,
    add_inputs: bool = True,
) -> None:
    """As `expand`, into output[:, slice_offset : slice_offset + slice_size]."""
    b = _matrices(lora_b, dtype=output.dtype)
    count, width, rank = b.shape
    own = slots.unsqueeze(1) == torch.arange(count, device=slots.device)  # [T, S]
    placed = torch.where(own.unsqueeze(2), inputs.to(output.dtype).unsqueeze(1), 0.0).view(-1, count * rank)
    target = output[:, slice_offset : slice_offset + slice_size]
    every = b.transpose(1, 2).reshape(count * rank, width)
    if add_inputs:
        target.addmm_(placed, every)
    else:
        torch.mm(placed, every, out=target)


def _matrices(stacked: Tensor, *, dtype: torch.dtype) -> Tensor:
    """[S, rows, columns] of [S, 1, rows, columns]."""
    return (stacked.squeeze(1) if stacked.dim() == 4 else stacked).to(dtype)
