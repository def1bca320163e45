"""Halves by patient, over several sets."""

from __future__ import annotations

from fundus_ray.data.patients import Patient, split_patients

OLD: list[Patient] = [("top", str(i)) for i in range(4000)]
NEW: list[Patient] = [("ddr", str(i)) for i in range(1000)]


def test_about_the_asked_share_is_held_out() -> None:
    halves = split_patients(OLD, eval_fraction=0.2, seed=0)
    held_out = sum(half == "eval" for half in halves.values())
    assert 700 < held_out < 900  # 800 +- 4 standard deviations of 25
    assert set(halves.values()) == {"train", "eval"}


def test_a_set_that_is_added_moves_nobody() -> None:
    before = split_patients(OLD, eval_fraction=0.2, seed=0)
    after = split_patients(OLD + NEW, eval_fraction=0.2, seed=0)
    assert {patient: after[patient] for patient in OLD} == before


def test_a_seed_and_a_source_of_the_same_number_are_draws_of_their_own() -> None:
    one, other = (split_patients(OLD, eval_fraction=0.5, seed=seed) for seed in (0, 1))
    assert 1700 < sum(one[patient] != other[patient] for patient in OLD) < 2300
    both = split_patients([("a", str(i)) for i in range(4000)] + OLD, eval_fraction=0.5, seed=0)
    assert 1700 < sum(both["a", str(i)] != both["top", str(i)] for i in range(4000)) < 2300


def test_patients_known_to_be_one_share_a_half_and_a_new_set_takes_the_half_of_the_old() -> None:
    same = [(("ddr", str(i)), ("top", str(i))) for i in range(1000)]
    before = split_patients(OLD, eval_fraction=0.5, seed=0)
    after = split_patients(OLD + NEW, eval_fraction=0.5, seed=0, same=same)
    assert {patient: after[patient] for patient in OLD} == before
    assert all(after["ddr", str(i)] == before["top", str(i)] for i in range(1000))


def test_a_chain_of_pairs_is_one_patient_in_any_order() -> None:
    people = [("s", str(i)) for i in range(200)]
    links = [(people[i], people[i + 1]) for i in range(199)]
    expected = split_patients(people, eval_fraction=0.5, seed=3)[people[0]]
    for order in (links, links[::-1]):
        assert set(split_patients(people, eval_fraction=0.5, seed=3, same=order).values()) == {expected}
