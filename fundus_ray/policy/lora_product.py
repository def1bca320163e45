"""The adapter's product as one step, for the learner: y = x W^T + b + s (x A^T) B^T.

In: a policy with its adapter. Out: the same, whose adapted layers make no intermediate of the output's size. PEFT
computes the adapter's term, its scaled copy and the sum as tensors of their own, and as many gradients. Layers whose
adapter is off compute as PEFT does.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor
from torch.nn.functional import linear

from fundus_ray.policy.load import PolicyModel

ADAPTER = "default"


def fuse_products(policy: PolicyModel) -> None:
    """For every adapted layer of `policy` (after `with_adapter`), in place."""
    for module in policy.model.modules():
        if isinstance(module, Linear):
            module.forward = MethodType(_forward, module)


def _forward(self: Linear, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if self.disable_adapters:
        return Linear.forward(self, x, *args, **kwargs)
    down, up, base = self.lora_A[ADAPTER].weight, self.lora_B[ADAPTER].weight, self.base_layer
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else base.weight.dtype
    with torch.autocast(kind, enabled=False):
        return _LoraProduct.apply(x, base.weight, base.bias, down, up, self.scaling[ADAPTER], dtype)


class _LoraProduct(torch.autograd.Function):
    """x [..., I], W [O, I], b [O] or None, A [r, I], B [O, r]; W and b are frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scale: float,
        dtype: torch.dtype,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(dtype)
        low = linear(rows, down.to(dtype)).mul_(scale)  # [rows, r]
        y = linear(rows, weight.to(dtype), None if bias is None else bias.to(dtype))
        y.addmm_(low, up.to(dtype).T)
        # The weight itself, which is there anyway or is gathered again, and not its copy in another dtype.
        ctx.save_for_backward(rows, low, weight, down, up)
        ctx.settings = x.shape, x.dtype, scale
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        rows, low, weight, down, up = ctx.saved_tensors
        shape, x_dtype, scale = ctx.settings
        g = grad.reshape(-1, grad.shape[-1])
        of_low = (g @ up.to(g.dtype)).mul_(scale)
        of_down, of_up = (of_low.T @ rows).to(down.dtype), (g.T @ low).to(up.dtype)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (g @ weight.to(g.dtype)).addmm_(of_low, down.to(g.dtype)).view(shape).to(x_dtype)
        return of_x, None, None, of_down, of_up, None, None
