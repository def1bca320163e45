"""A quicker LoRA for vLLM on CPUs: the same numbers, without a copy of the adapter for every token.

vLLM's own CPU path (vllm/lora/ops/torch_ops) gathers the adapter matrices of each token's slot: a decode step of 128
sequences copies every matrix 128 times before it multiplies, in a dozen operations a layer whose calls cost more than
their arithmetic. Here a step whose tokens all have one slot is two products with that slot's matrices. A step with
several multiplies all S slots at once, and what another slot than the token's own would add is set to zero where it is
only r numbers wide:

    [T, in] x [in, S r] -> [T, S r], all but the own r zero, x [S r, out] -> [T, out]

Adding zeros is exact, and S = ceil(async_ratio) + 2 is small. But the last product needs all slots' B in one matrix;
putting them there is a copy in each layer of each step: where it is more than LARGE bytes it costs more than the calls
that are saved, and the tokens of each slot are multiplied apart. vLLM calls `install` in every process of an engine, by
its plug-in mechanism (entry point `vllm.general_plugins` in pyproject.toml), and makes the class by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from vllm.lora.punica_wrapper import punica_cpu

LARGE = 1 << 20  # bytes of B of all slots; well above a small policy's, well below those of an adapter of 10 MB


class WholeSlots(punica_cpu.PunicaWrapperCPU):  # type: ignore[misc]  # vLLM is not typed here
    """vLLM's wrapper with its own product for linear layers. T tokens, S slots, r the adapters' padded rank."""

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """Called before every forward pass; `token_lora_indices` [T] then says each token's slot, -1 = none."""
        super().update_metadata(*args, **kwargs)
        self._slots_here: list[int] = torch.unique(self.token_lora_indices).tolist()
        self._masks: dict[tuple[int, int, torch.dtype], Tensor] = {}
        self._rows: list[tuple[int, Tensor]] = []

    def add_lora_linear(
        self,
        y: Tensor,
        x: Tensor,
        lora_a_stacked: Sequence[Tensor],
        lora_b_stacked: Sequence[Tensor],
        scale: float,
        output_slices: Sequence[int],
        **_: Any,
    ) -> None:
        """y[t, slice i] += scale x B_i[slot of t] A_i[slot of t] x[t], for each slice i of the output.

        y [T, sum of widths] and x [T, in], or with a leading 1; A_i [S, 1, r, in], B_i [S, 1, width, r].
        """
        if self._slots_here == [-1]:
            return
        tokens, out, start = x.view(-1, x.shape[-1]), y.view(-1, y.shape[-1]), 0
        for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
            own = out[:, start : start + width]
            if len(self._slots_here) > 1 and b.nbytes > LARGE:
                for slot, rows in self._rows_by_slot():
                    own.index_add_(0, rows, tokens[rows] @ a[slot, 0].t() @ b[slot, 0].t(), alpha=scale)
            else:
                down, up = self._factors(tokens, a, b)
                own.addmm_(down, up, alpha=scale)
            start += width

    def _rows_by_slot(self) -> list[tuple[int, Tensor]]:
        """The tokens of each slot that has some."""
        if not self._rows:
            here = [slot for slot in self._slots_here if slot >= 0]
            self._rows = [(slot, (self.token_lora_indices == slot).nonzero()[:, 0]) for slot in here]
        return self._rows

    def _factors(self, x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """What is multiplied last: ([T, r], [r, width]) for one slot, ([T, S r], [S r, width]) for several."""
        if len(self._slots_here) == 1:
            (slot,) = self._slots_here
            return x @ a[slot, 0].t(), b[slot, 0].t()
        count, _, rank, width = a.shape
        down = (x @ a.view(count * rank, width).t()).mul_(self._mask(count, rank, x.dtype))
        return down, b.squeeze(1).transpose(1, 2).reshape(count * rank, b.shape[2])

    def _mask(self, count: int, rank: int, dtype: torch.dtype) -> Tensor:
        """[T, S r]: 1 in the columns of a token's own slot."""
        key = (count, rank, dtype)
        if key not in self._masks:
            own = self.token_lora_indices.unsqueeze(1) == torch.arange(count)
            self._masks[key] = own.repeat_interleave(rank, dim=1).to(dtype)
        return self._masks[key]


def install() -> None:
    """Put the class in the place of vLLM's, where vLLM looks it up by its name. May be called again."""
    punica_cpu.PunicaWrapperCPU = WholeSlots
