"""The tables of names and the configuration know the same names."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fundus_ray.config import Config, LearnerConfig, documented_fields, load
from fundus_ray.learner.algorithm import ALGORITHMS
from fundus_ray.learner.correction import CORRECTIONS
from fundus_ray.learner.kl import KL_ESTIMATORS
from fundus_ray.learner.loss import LossSettings
from fundus_ray.learner.surrogate import Clip


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("learner.algorithm", ALGORITHMS),
        ("learner.correction", CORRECTIONS),
        ("learner.kl_estimator", KL_ESTIMATORS),
    ],
)
def test_table_has_a_row_for_every_choice_of_the_configuration(key: str, table: Mapping[str, object]) -> None:
    choices = {k: meta["choices"] for k, meta, _ in documented_fields(Config())}[key]
    assert set(choices) == set(table)


def test_defaults_are_the_algorithm_s_and_the_correction_s_own() -> None:
    settings = LossSettings.of(LearnerConfig())
    assert settings.algorithm is ALGORITHMS["dapo"]
    assert settings.clip == Clip(0.2, 0.28)
    assert settings.correction is CORRECTIONS["tis"]
    assert (settings.correction_high, settings.kl) == (2.0, 0.0)


@pytest.mark.parametrize(
    ("setting", "clip", "bounds"),
    [
        ("learner.clip_low=0.01", Clip(0.01, 4e-4), (0.5, 5.0)),
        ("learner.clip_high=0.01", Clip(3e-4, 0.01), (0.5, 5.0)),
        ("learner.correction_low=0.2", Clip(3e-4, 4e-4), (0.2, 5.0)),
        ("learner.correction_high=9", Clip(3e-4, 4e-4), (0.5, 9.0)),
    ],
)
def test_a_given_bound_replaces_its_own_one_alone(setting: str, clip: Clip, bounds: tuple[float, float]) -> None:
    named = ["learner.algorithm=gspo", "learner.correction=icepop", "learner.updates_per_batch=2"]
    settings = LossSettings.of(load(None, [*named, setting]).learner)
    assert settings.clip == clip
    assert (settings.correction_low, settings.correction_high) == bounds


@pytest.mark.parametrize("name", sorted(CORRECTIONS))
def test_the_own_bounds_of_a_correction_hold_weight_one(name: str) -> None:
    assert CORRECTIONS[name].low <= 1 <= CORRECTIONS[name].high
