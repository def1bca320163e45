"""A policy whose frozen layers are divided among the learner's ranks (FSDP2), for networks larger than a GPU.

In: a policy with its adapter, its weights in main memory. Out: the same on its device, each rank with its part of every
decoder layer. A layer is gathered where its forward and its backward pass need it, and freed after each.

Whole on every rank stay the adapter, which is small, is trained and is sent; the vision tower, since ranks see other
images and encode them at other times; embedding, head and last norm, which are used outside of any layer. Without the
adapter that is 1.8 of 8.3 billion parameters at 7B, and 3.2 of 73 at 72B.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from fundus_ray.policy.load import PolicyModel


def shard_layers(policy: PolicyModel, mesh: DeviceMesh, *, device: str) -> PolicyModel:
    """Layer by layer, so that the device never holds more than one whole layer beside the parts.

    From now on every pass through the network is collective: all ranks make as many, in the same order.
    """
    core = policy.network.model.language_model
    of_layers = {p for layer in core.layers for p in layer.parameters() if not p.requires_grad}
    whole = set(policy.model.parameters()) - of_layers
    for layer in core.layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    fully_shard(core, mesh=mesh, ignored_params=whole)  # so that the layers know each other and gather ahead of use
    policy.model.to(device)
    return replace(policy, device=torch.device(device))
