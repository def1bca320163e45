"""Which groups of a mini-batch each rank of the learner works on. NumPy only.

In: a batch that every rank has, and the number of ranks. Out: this rank's passes. Every rank computes the same, so
nothing is agreed on by messages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fundus_ray.learner.batch import group_tokens, micro_batches, pass_of_group, select_rows
from fundus_ray.types import TrainBatch


@dataclass(frozen=True, slots=True)
class Share:
    """What a rank does of a mini-batch."""

    passes: list[tuple[NDArray[np.int64], TrainBatch]]  # as `micro_batches`, rows numbered in the mini-batch
    missing: int  # passes that another rank makes more
    balance: float  # mean over the ranks of their packed tokens / most of a rank


def share_of(batch: TrainBatch, *, rank: int, ranks: int, tokens: int) -> Share:
    """Rank `rank`'s micro-batches of at most `tokens` packed tokens, in the batch's order; there may be none."""
    size = group_tokens(batch)
    groups = even_groups(size, parts=ranks)
    counts = [int(pass_of_group(size[own], tokens=tokens)[-1]) + 1 if own.size else 0 for own in groups]
    loads = [int(size[own].sum()) for own in groups]
    rows = np.flatnonzero(np.isin(batch.image_index, groups[rank]))
    micro = micro_batches(select_rows(batch, rows), tokens=tokens) if rows.size else []
    return Share(
        passes=[(rows[own], part) for own, part in micro],
        missing=max(counts) - counts[rank],
        balance=sum(loads) / (ranks * max(loads)),
    )


def even_groups(size: NDArray[np.int64], *, parts: int) -> list[NDArray[np.int64]]:
    """Groups of these sizes [G] in `parts` parts of like size, each in ascending order: the largest group goes first,
    and each to the part that has least so far.

    The largest part has at most 4/3 - 1/(3 parts) of what the best possible division gives it (Graham, SIAM J. Appl.
    Math. 17, 1969), and the difference between two parts is at most the largest group.
    """
    part_of_group, held = np.zeros(len(size), dtype=np.int64), np.zeros(parts, dtype=np.int64)
    for group in np.argsort(-size, kind="stable").tolist():
        part = int(held.argmin())
        part_of_group[group] = part
        held[part] += size[group]
    return [np.flatnonzero(part_of_group == part) for part in range(parts)]
