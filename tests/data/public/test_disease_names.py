"""The readers' names of diseases and findings are those of the knowledge base, which has records by them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from fundus_ray.data.public import (
    adam,
    fives,
    g1020,
    jsiec,
    mmc_amd,
    oct2017,
    octdl,
    octid,
    odir,
    palm,
    papila,
    retouch,
    rfmid,
    top,
)
from fundus_ray.knowledge.vocabulary import load_vocabulary

OWN_WORDS = {"suspected proliferative diabetic retinopathy"}  # no record is of a suspicion


def flat(groups: Iterable[tuple[str, ...]]) -> set[str]:
    return {name for names in groups for name in names}


DISEASES = {
    "adam": set(adam.AMD),
    "fives": flat(fives.DISEASES.values()),
    "g1020": set(g1020.GLAUCOMA),
    "jsiec": flat(jsiec.CLASSES.values()),
    "mmc_amd": flat(mmc_amd.DISEASES.values()),
    "oct2017": flat(oct2017.CLASSES.values()),
    "octdl": flat(octdl.DISEASES.values()) | set(octdl.INTERFACE_KINDS.values()),
    "octid": flat(octid.DISEASES.values()),
    "odir": flat(odir.DISEASES.values()),
    "palm": set(palm.MYOPIA),
    "papila": flat(papila.DIAGNOSES.values()),
    "rfmid": set(rfmid.DISEASES.values()),
    "top": set(top.DISEASES.values()),
}


@pytest.mark.parametrize("name", DISEASES)
def test_diseases_go_by_the_records_own_labels(name: str) -> None:
    assert DISEASES[name] - OWN_WORDS <= load_vocabulary().labels.keys()


def test_findings_are_of_the_vocabulary() -> None:
    used = {*adam.LESIONS.values(), *palm.LESIONS.values(), *retouch.FLUIDS}
    assert used <= load_vocabulary().findings.keys()
