"""The public data sets that can be imported, by name.

A new set is one module in data/public/ that ends in a `PublicSet`, and its line here.
"""

from __future__ import annotations

from typing import Protocol

from fundus_ray.data.by_name import by_name
from fundus_ray.data.labelled import PublicSet, Space
from fundus_ray.data.public import (
    adam,
    airogs,
    brset,
    ddr,
    deepdrid,
    fives,
    g1020,
    idrid,
    jsiec,
    kaggle_dr,
    messidor2,
    mmc_amd,
    oct2017,
    octdl,
    octid,
    odir_5k,
    oia_odir,
    origa,
    palm,
    papila,
    refuge,
    retinal_lesions,
    retouch,
    rfmid,
    top,
)
from fundus_ray.data.rendered.kinds import KINDS
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
        odir_5k.SET,
        oia_odir.SET,
        rfmid.SET,
        jsiec.SET,
        fives.SET,
        refuge.SET,
        origa.SET,
        g1020.SET,
        airogs.SET,
        papila.SET,
        adam.SET,
        palm.SET,
        top.SET,
        oct2017.SET,
        octdl.SET,
        octid.SET,
        mmc_amd.SET,
        retouch.SET,
    )
}


class Origin(Protocol):
    """What must be known of the source of a labelled image to ask about it and to pass it on."""

    @property
    def licence(self) -> str: ...

    @property
    def space(self) -> Space: ...


ORIGINS: dict[str, Origin] = {**SETS, **{kind.source: kind for kind in KINDS.values()}}


def origin_of(source: str) -> Origin:
    """Where labelled images of this source come from. Raises DataError with all that are known."""
    if source not in ORIGINS:
        raise DataError(f"images of {source!r} are of no known source; known are {', '.join(ORIGINS)}")
    return ORIGINS[source]


def public_set(name: str) -> PublicSet:
    """The set of this name. Raises DataError with the nearest name, or all of them."""
    return by_name(SETS, name, what="public data set")
