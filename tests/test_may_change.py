"""Which settings a run may go on with changed."""

from __future__ import annotations

from fundus_ray.config import Config, load
from fundus_ray.config.may_change import MAY_CHANGE, changed, settings_of
from fundus_ray.job_folder import PATHS, STAY_PATHS

EXAMPLES = ("run.seed", "data.order", "rollout.temperature", "learner.kl", "loop.groups_per_step", "reward.accuracy")


def test_every_setting_that_may_change_exists() -> None:
    keys = set(settings_of(Config()))
    assert [key for key in MAY_CHANGE if key not in keys | {known.split(".")[0] for known in keys}] == []


def test_what_decides_what_is_learned_is_compared_and_the_rest_is_not() -> None:
    before = dict.fromkeys(settings_of(Config()), "then")
    now = dict.fromkeys(settings_of(Config()), "now")
    found = changed(before, now)
    assert set(EXAMPLES) <= set(found)
    assert found["learner.kl"] == ("then", "now")
    assert not {key for key in found if key in MAY_CHANGE or key.startswith(("ray.", "evaluate."))}


def test_a_setting_that_was_not_known_then_had_its_default() -> None:
    now = settings_of(load(None, ["learner.kl=0.5"]))
    before = {key: value for key, value in now.items() if key not in ("learner.kl", "learner.grad_clip")}
    assert changed(before, now) == {"learner.kl": (0.0, 0.5)}


def test_a_setting_that_is_not_known_any_more_is_shown() -> None:
    now = settings_of(Config())
    assert changed({**now, "learner.old": 3}, now) == {"learner.old": (3, None)}


def test_of_all_paths_only_those_whose_content_is_not_hashed_must_stay() -> None:
    before = settings_of(Config())
    paths = dict.fromkeys((*PATHS, *STAY_PATHS), "/moved")
    assert set(changed(before, {**before, **paths})) == {"reward.checker_model"}
