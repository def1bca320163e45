"""The public data sets that can be imported, by name.

A new set is one module in data/public/ that ends in a `PublicSet`, and its line here.
"""

from __future__ import annotations

import difflib

from fundus_ray.data.labelled import PublicSet
from fundus_ray.data.public import brset, ddr, deepdrid, idrid, kaggle_dr, messidor2, retinal_lesions
from fundus_ray.errors import DataError

SETS: dict[str, PublicSet] = {
    public.name: public
    for public in (
        kaggle_dr.EYEPACS,
        kaggle_dr.APTOS,
        idrid.SET,
        messidor2.SET,
        ddr.SET,
        *deepdrid.SETS,
        retinal_lesions.SET,
        brset.SET,
    )
}


def public_set(name: str) -> PublicSet:
    """The set of this name. Raises DataError with the nearest name, or all of them."""
    if name in SETS:
        return SETS[name]
    near = difflib.get_close_matches(name.lower(), SETS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(SETS)}"
    raise DataError(f"no public data set is called {name!r}; {hint}")
