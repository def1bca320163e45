"""What the ranks of a learner do together, over torch.distributed: NCCL between GPUs, Gloo between CPUs.

In: an address where rank 0 listens. Out: `Ranks`, whose methods every rank calls in the same order. A single rank needs
no process group, and its methods change nothing.

Each rank holds the whole adapter and its optimizer. What travels in an update are the adapter's gradients, in one
buffer, some twenty numbers for the metrics, and a checksum a tensor, by which all ranks know that they agree.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta

import torch
from torch import Tensor, distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from fundus_ray.errors import RanksDivergedError

SIOCGIFADDR = 0x8915  # ioctl(2) on Linux: the IPv4 address of a network interface
WEIGHTS = 1021  # places of a checksum that differ; keeps the sum of 2**21 words below 2**63


def listen(host: str, *, ranks: int, limit_s: float) -> distributed.TCPStore:
    """Rank 0's meeting place on a free port of this address, and of no other; it lives as long as the store is held.
    limit_s: longest wait for a rank [s]."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.create_server((host, 0), family=family, backlog=ranks)
    return distributed.TCPStore(
        host,
        server.getsockname()[1],
        ranks,
        is_master=True,
        timeout=timedelta(seconds=limit_s),
        wait_for_workers=False,
        master_listen_fd=server.detach(),
    )


def come_to(address: tuple[str, int], *, ranks: int, limit_s: float) -> distributed.TCPStore:
    """The same place for every other rank."""
    return distributed.TCPStore(*address, ranks, is_master=False, timeout=timedelta(seconds=limit_s))


class Ranks:
    """One rank among `count`. All methods but `join` are collective."""

    def __init__(self, rank: int = 0, count: int = 1, *, device: str = "cpu") -> None:
        """By itself; a process group is `join`'s affair."""
        self.rank = rank
        self.count = count
        self._device = torch.device(device)

    @classmethod
    def join(
        cls, store: distributed.Store, *, rank: int, count: int, device: str, own_address: str, limit_s: float
    ) -> Ranks:
        """A process group of all ranks that hold this store. own_address: what the others reach this machine at;
        limit_s: longest wait for the others in anything that follows [s]."""
        if name := interface_of(own_address):  # else Gloo takes what the host's name leads to, often the wrong network
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        distributed.init_process_group(
            "nccl" if device == "cuda" else "gloo",
            store=store,
            rank=rank,
            world_size=count,
            timeout=timedelta(seconds=limit_s),
        )
        return cls(rank, count, device=device)

    def leave(self) -> None:
        """End the process group."""
        if self.count > 1:
            distributed.destroy_process_group()

    def mesh(self) -> DeviceMesh:
        """All ranks in a row, as FSDP takes them."""
        return init_device_mesh(self._device.type, (self.count,))

    def add_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replace each gradient by its sum over the ranks; none counts as zero. The same bits on every rank."""
        if self.count == 1:
            return
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([g.flatten() for g in own])
        distributed.all_reduce(flat)
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def gather(self, numbers: Sequence[float]) -> list[list[float]]:
        """Every rank's numbers, of which each has as many, in the order of the ranks."""
        if self.count == 1:
            return [list(numbers)]
        return self._gathered(torch.tensor(numbers, dtype=torch.float64)).tolist()

    def check_same(self, tensors: Mapping[str, Tensor], *, when: str) -> None:
        """Whether these float32 tensors are the same on every rank, bit for bit. Raises RanksDivergedError, on every
        rank, naming those that differ from most, and the first tensor."""
        if self.count == 1:
            return
        found = self._gathered(torch.stack([checksum(t) for t in tensors.values()])).tolist()
        (usual, _), *others = Counter(map(tuple, found)).most_common()
        if not others:
            return
        odd = [rank for rank, sums in enumerate(found) if tuple(sums) != usual]
        name = next(n for n, own, common in zip(tensors, found[odd[0]], usual, strict=True) if own != common)
        raise RanksDivergedError(
            f"{when} the adapter of learner rank {', '.join(map(str, odd))} differs from that of the others, first "
            f"in {name}: ranks that run other versions or kinds of hardware, or do not share the run folder, cannot "
            "train together"
        )

    def _gathered(self, own: Tensor) -> Tensor:
        """[ranks, ...] on the CPU."""
        here = own.to(self._device)
        out = [torch.empty_like(here) for _ in range(self.count)]
        distributed.all_gather(out, here)
        return torch.stack(out).cpu()


def checksum(tensor: Tensor) -> Tensor:
    """[] int64 over a float32 tensor's bits and their places; integers, so no order of summing changes it."""
    bits = tensor.detach().contiguous().view(torch.int32).flatten().long()
    return (bits * (torch.arange(len(bits), device=bits.device) % WEIGHTS + 1)).sum()


def interface_of(address: str) -> str | None:
    """The network interface of this machine that has this IPv4 address; None where that cannot be told."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        for _, name in socket.if_nameindex():
            try:
                found = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:  # it has no IPv4 address
                continue
            if socket.inet_ntoa(found[20:24]) == address:
                return name
    return None
