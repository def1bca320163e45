"""A smaller knowledge base, drawn from the whole one: what less knowledge is worth can be measured.

In: passages or records, `knowledge.share` and `knowledge.share_seed`. Out: that share of them. The draw is by a hash of
each one's own name, so that with the same seed a smaller share lies within a larger one, and adding a document does not
draw the others anew.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

from fundus_ray.knowledge.records import Records


def drawn(names: Iterable[str], *, share: float, seed: int) -> set[str]:
    """ceil(share x N) of the N different names, 0 < share <= 1; so at least one where there is any."""
    every = sorted(set(names), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    return set(every[: math.ceil(share * len(every))])


def share_of_records(records: Records, *, share: float, seed: int) -> Records:
    """The records of a share of the labels, each label in all its modalities. The vocabulary stays whole: a label
    without a record can still be named and answered."""
    labels = drawn((label for label, _ in records.by_key), share=share, seed=seed)
    kept = {key: record for key, record in records.by_key.items() if key[0] in labels}
    return Records(by_key=kept, vocabulary=records.vocabulary)
