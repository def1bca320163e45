"""Who is trained on and who is held out, over several data sets.

In: patients as (source, patient id), pairs of them known to be one person (or to share an image), a share and a seed.
Out: "train" or "eval" for each. A patient's half depends on nothing but the seed and the patient, so a set that is
added moves nobody of the sets before it, unless it shows two of them to be one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

Patient = tuple[str, str]  # (source, patient id)


def split_patients(
    patients: Sequence[Patient], *, eval_fraction: float, seed: int, same: Iterable[tuple[Patient, Patient]] = ()
) -> dict[Patient, str]:
    """Each patient's half. About `eval_fraction` of them are held out, each by a draw of its own.

    same: pairs to be kept in one half, as their images are copies; all take the half of the one that comes first in
    `patients`. Append the patients of a new set to keep the halves of the old ones.
    """
    rank = {patient: at for at, patient in enumerate(dict.fromkeys(patients))}
    head = {patient: patient for patient in rank}

    def first(patient: Patient) -> Patient:
        while head[patient] != patient:
            head[patient] = head[head[patient]]
            patient = head[patient]
        return patient

    for one, other in same:
        low, high = sorted((first(one), first(other)), key=rank.__getitem__)
        head[high] = low
    return {patient: _half(first(patient), eval_fraction=eval_fraction, seed=seed) for patient in rank}


def _half(patient: Patient, *, eval_fraction: float, seed: int) -> str:
    digest = hashlib.blake2b("\0".join((str(seed), *patient)).encode(), digest_size=8).digest()
    return "eval" if int.from_bytes(digest, "big") < eval_fraction * 2**64 else "train"
