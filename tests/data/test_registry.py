"""The registry says of each set what a user must know, in words that the rest of the project knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_ray.data import public as public_readers
from fundus_ray.data.public import brset, ddr, idrid, retinal_lesions
from fundus_ray.data.questions import wording
from fundus_ray.data.registry import SETS, public_set
from fundus_ray.errors import DataError
from fundus_ray.knowledge.vocabulary import load_vocabulary


def test_every_set_says_where_it_comes_from() -> None:
    for name, public in SETS.items():
        assert name == public.name
        assert public.url.startswith("https://")
        assert all((public.title, public.licence, public.citation))


def test_every_reader_is_in_the_registry() -> None:
    folder = Path(public_readers.__path__[0])
    modules = {file.stem for file in folder.glob("*.py") if "PublicSet(" in file.read_text()}
    assert modules == {public.read.__module__.rpartition(".")[2] for public in SETS.values()}


def test_a_set_that_labels_another_s_images_again_names_it() -> None:
    named = {name: public.same_people_as for name, public in SETS.items() if public.same_people_as}
    assert named == {"retinal_lesions": "eyepacs", "odir_5k": "oia_odir"}
    assert set(named.values()) <= set(SETS)


def test_findings_and_diseases_are_those_of_the_vocabulary() -> None:
    vocabulary = load_vocabulary()
    findings = [*idrid.LESIONS, *ddr.LESIONS, *retinal_lesions.LESIONS, *brset.FINDINGS.values()]
    assert [name for name in findings if vocabulary.finding_id(name) != name] == []
    own = {"scar", "vascular occlusion", "myopic fundus", "other"}  # of BRSET, without a record
    assert {name for name in brset.DIAGNOSES.values() if vocabulary.label(name) != name} == own


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean idrid"):
        public_set("IDRID2")
    with pytest.raises(DataError, match="known are eyepacs"):
        public_set("x")


def test_what_a_set_tells_apart_is_in_the_vocabulary() -> None:
    vocabulary = load_vocabulary()
    own = {"scar", "vascular occlusion", "myopic fundus", "suspected proliferative diabetic retinopathy"}  # no record
    for public in SETS.values():
        told = public.space
        assert {name for name in (*told.conditions, *told.alone) if vocabulary.label(name) != name} <= own
        assert [name for name in told.lesions if vocabulary.finding_id(name) != name] == []
        assert set(told.kinds.values()) <= set(told.conditions)
        assert not set(told.kinds) & set(told.conditions)


def test_every_lesion_of_the_benchmark_is_marked_by_a_set() -> None:
    assert set(wording.LESIONS) <= {lesion for public in SETS.values() for lesion in public.space.lesions}
