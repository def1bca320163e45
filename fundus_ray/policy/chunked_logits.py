"""Log-probabilities of chosen tokens without ever holding the logits of all of them.

In: last hidden states, the output embedding, the chosen tokens. Out: their log-probabilities, with gradients, and the
entropies, without. Shapes: K tokens, H hidden size, V vocabulary; at 7B sizes K x V float32 logits of 4,096 tokens are
2.5 GB, and their softmax and gradient as much again.

The gradient of log p_y = z_y - log sum exp z with z = W h / temperature is

    d log p_y / d h = (W_y - sum_v p_v W_v) / temperature

which is one vector of H numbers a token, whatever the loss makes of log p_y. So it is made in the forward pass, while
a chunk's p is at hand, and the backward pass only scales it: no logits are kept and none are computed twice. (Our own;
Liger and Cut Cross-Entropy do the like for a loss that is known beforehand.) The output embedding's own gradient, which
only supervised training needs, takes a second pass over the chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

CHUNK_BYTES = {"cpu": 2 << 20, "cuda": 256 << 20}  # float32 logits held at once; on a CPU what its cache holds
MIN_CHUNK_TOKENS = 64  # a product of fewer rows waits for the output embedding to be read


def chosen_logprobs(
    hidden: Tensor, weight: Tensor, token_ids: Tensor, *, temperature: float, chunk_bytes: int | None = None
) -> tuple[Tensor, Tensor]:
    """(log-probabilities, entropies in nats) [K] float32 of token_ids [K] under softmax(hidden W^T / temperature).

    hidden [K, H], weight [V, H]. Products are in autocast's dtype where it is on, else in hidden's; the softmax is in
    float32. `chunk_bytes`: float32 logits held at once, None = those of `chunk_tokens`.
    """
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    vocabulary = weight.shape[0]
    chunk = (
        chunk_tokens(kind, vocabulary=vocabulary) if chunk_bytes is None else max(1, chunk_bytes // (4 * vocabulary))
    )
    with torch.autocast(kind, enabled=False):
        logprobs, entropy = _ChosenLogprobs.apply(hidden, weight, token_ids, temperature, chunk, dtype)
    return logprobs, entropy


def chunk_tokens(kind: str, *, vocabulary: int) -> int:
    """Tokens whose logits are held at once on a "cpu" or "cuda" device."""
    return max(MIN_CHUNK_TOKENS, CHUNK_BYTES[kind] // (4 * vocabulary))


class _ChosenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, token_ids: Tensor, temperature: float, chunk: int, dtype: torch.dtype
    ) -> Any:
        logprobs = torch.empty(token_ids.shape, dtype=torch.float32, device=hidden.device)
        entropy = torch.empty_like(logprobs)
        slope = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        cast = weight.to(dtype)
        for rows, h, y in _chunks(hidden, token_ids, chunk):
            log_p = _log_softmax(h.to(dtype), cast, temperature)
            logprobs[rows] = log_p.gather(1, y.unsqueeze(1)).squeeze(1)
            p = log_p.exp()
            entropy[rows] = -torch.linalg.vecdot(p, log_p)
            if slope is not None:
                # Of a likely token p_y - 1 nearly cancels: it is made before anything is rounded.
                p.scatter_add_(1, y.unsqueeze(1), p.new_full((len(y), 1), -1.0))
                slope[rows] = (p.to(dtype) @ cast).div_(-temperature)
        ctx.settings = temperature, chunk, dtype
        ctx.save_for_backward(slope, *((hidden, weight, token_ids) if ctx.needs_input_grad[1] else ()))
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> Any:
        slope, *rest = ctx.saved_tensors
        of_hidden = None if slope is None else slope * grad.unsqueeze(1).to(slope.dtype)
        of_weight = _weight_gradient(grad, *rest, *ctx.settings) if rest else None
        return of_hidden, of_weight, None, None, None, None


def _weight_gradient(
    grad: Tensor, hidden: Tensor, weight: Tensor, token_ids: Tensor, temperature: float, chunk: int, dtype: torch.dtype
) -> Tensor:
    """[V, H]: sum_k g_k (onehot(y_k) - p_k) h_k / temperature."""
    total = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
    cast = weight.to(dtype)
    for rows, h, y in _chunks(hidden, token_ids, chunk):
        h = h.to(dtype)
        g = grad[rows].unsqueeze(1) / temperature
        of_logits = _log_softmax(h, cast, temperature).exp_().mul_(-g)
        of_logits.scatter_add_(1, y.unsqueeze(1), g)
        total += of_logits.to(dtype).T @ h
    return total.to(weight.dtype)


def _log_softmax(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    return torch.log_softmax(linear(hidden, weight).float() / temperature, dim=-1)


def _chunks(hidden: Tensor, token_ids: Tensor, size: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    for start in range(0, len(token_ids), size):
        rows = slice(start, start + size)
        yield rows, hidden[rows], token_ids[rows]
