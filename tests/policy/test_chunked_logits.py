"""Chunked log-probabilities equal the plain ones, and never hold the logits of all tokens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fundus_ray.policy.chunked_logits import chosen_logprobs, chunk_tokens

PeakBytes = Callable[[Callable[[], object]], int]
TOKENS, HIDDEN, VOCABULARY = 37, 16, 101


def inputs(tokens: int = TOKENS, vocabulary: int = VOCABULARY) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(tokens, HIDDEN, generator=generator),
        torch.randn(vocabulary, HIDDEN, generator=generator),
        torch.randint(0, vocabulary, (tokens,), generator=generator),
        torch.randn(tokens, generator=generator),
    )


@pytest.mark.parametrize("chunk_tokens", [1, 5, TOKENS, 1000])
def test_values_and_both_gradients_are_those_of_log_softmax(chunk_tokens: int) -> None:
    hidden, weight, ids, scale = inputs()
    hidden.requires_grad_()
    weight.requires_grad_()
    found, entropy = chosen_logprobs(hidden, weight, ids, temperature=0.7, chunk_bytes=4 * VOCABULARY * chunk_tokens)
    log_p = torch.log_softmax(hidden @ weight.T / 0.7, -1)
    torch.testing.assert_close(found, log_p[torch.arange(TOKENS), ids], atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(entropy, -(log_p.exp() * log_p).sum(-1).detach(), atol=1e-5, rtol=1e-6)
    assert not entropy.requires_grad
    wanted = torch.autograd.grad((log_p[torch.arange(TOKENS), ids] * scale).sum(), [hidden, weight])
    grads = torch.autograd.grad((found * scale).sum(), [hidden, weight])
    for grad, value in zip(grads, wanted, strict=True):
        torch.testing.assert_close(grad, value, atol=2e-5, rtol=1e-5)


def test_under_autocast_products_are_bfloat16_and_the_softmax_is_not() -> None:
    hidden, weight, ids, _ = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = chosen_logprobs(hidden, weight, ids, temperature=1.0)
    logits = (hidden.bfloat16() @ weight.bfloat16().T).float()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.log_softmax(logits, -1)[torch.arange(TOKENS), ids])


def test_a_confident_token_keeps_its_gradient_in_bfloat16() -> None:
    # W_y - sum_v p_v W_v is a difference of nearly equal vectors where p_y is near 1.
    generator = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(VOCABULARY, 128, generator=generator), dim=1)
    weight, ids = unit.bfloat16().float(), torch.arange(8)
    hidden = (
        (10 * weight[ids]).bfloat16().float().requires_grad_()
    )  # logit 10 for its own token, about 0 for the others
    log_p = torch.log_softmax(hidden @ weight.T, -1)[ids, ids]
    torch.testing.assert_close(log_p.exp(), torch.full((8,), 0.995), atol=4e-3, rtol=0)
    (wanted,) = torch.autograd.grad(log_p.sum(), hidden)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = chosen_logprobs(hidden, weight, ids, temperature=1.0)
    (grad,) = torch.autograd.grad(found.sum(), hidden)
    error = (grad - wanted).norm(dim=1) / wanted.norm(dim=1)
    assert float(error.max()) < 0.1  # what is left is the rounding of the logits themselves


def test_a_chunk_is_what_the_cache_holds_but_no_few_rows_of_a_large_vocabulary() -> None:
    assert chunk_tokens("cpu", vocabulary=512) == 1024  # 2 MiB of float32
    assert chunk_tokens("cpu", vocabulary=151_936) == 64
    assert chunk_tokens("cuda", vocabulary=151_936) == 441  # 256 MiB


def test_memory_is_that_of_a_chunk_whatever_the_number_of_tokens(peak_bytes: PeakBytes) -> None:
    hidden, weight, ids, _ = inputs(tokens=4096, vocabulary=2048)
    hidden.requires_grad_()
    logits_bytes, chunk_bytes = 4096 * 2048 * 4, 128 * 2048 * 4

    def chunked() -> None:
        chosen_logprobs(hidden, weight, ids, temperature=1.0, chunk_bytes=chunk_bytes)[0].sum().backward()

    def plain() -> None:
        torch.log_softmax(hidden @ weight.T, -1).gather(1, ids[:, None]).sum().backward()

    # A chunk's logits, their scaled copy, log-probabilities and probabilities, and what has K x H numbers.
    assert peak_bytes(chunked) < 5 * chunk_bytes + 4 * hidden.nbytes
    assert peak_bytes(plain) >= 2 * logits_bytes
