"""The configuration tree: what it refuses, and in which words."""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path

import pytest

from fundus_ray.config import Config, allowed, check, documented_fields, load, to_yaml
from fundus_ray.errors import ConfigError, ImagesError


def refusal(*overrides: str, recipe: Path | None = None) -> str:
    """The message of the ConfigError that these settings raise."""
    with pytest.raises(ConfigError) as caught:
        load(recipe, overrides)
    message = str(caught.value)
    assert "\n" not in message, "one line"
    return message


def test_defaults_are_allowed() -> None:
    assert load() == Config()


def test_command_line_wins_over_recipe_and_recipe_over_defaults(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("loop: {steps: 7, groups_per_step: 5}\n")
    config = load(recipe, ["loop.steps=9"])
    assert (config.loop.steps, config.loop.groups_per_step, config.loop.checkpoint_every) == (9, 5, 10)


def test_empty_recipe_gives_the_defaults(tmp_path: Path) -> None:
    recipe = tmp_path / "empty.yaml"
    recipe.write_text("")
    assert load(recipe) == Config()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("loop.async_ratio=-1", ">= 0 and <= 64"),
        ("loop.async_ratio=65", ">= 0 and <= 64"),
        ("loop.async_ratio=nan", ">= 0 and <= 64"),
        ("loop.stall_s=0", "> 0"),
        ("loop.stall_s=inf", "> 0"),
        ("rollout.group_size=1", ">= 2"),
        ("rollout.temperature=0", ">= 0.01 and <= 10"),
        ("rollout.temperature=0.005", ">= 0.01 and <= 10"),
        ("policy.lora_rank=513", ">= 1 and <= 512"),
        ("policy.dtype=float16", "one of float32, bfloat16"),
        ("data.source=folder", "one of phantoms, photo, jsonl, store"),
        ("data.eval_fraction=0", "> 0 and <= 0.9"),
        ("reward.accuracy=-0.1", ">= 0"),
        ("learner.algorithm=ppo", "one of grpo, dr_grpo, rloo, reinforce_pp, dapo, gspo, cispo"),
        ("learner.correction=seq_tis", "one of none, tis, icepop, geometric, decoupled"),
        ("learner.correction_low=1.5", ">= 0 and <= 1"),
        ("learner.kl=-1", ">= 0"),
        ("learner.kl_estimator=k4", "one of k1, k2, k3"),
        ("run.seed=-1", ">= 0 and <= 4.1943e+06"),
    ],
)
def test_value_out_of_range_is_named_with_its_range_and_meaning(setting: str, said: str) -> None:
    key, _, value = setting.partition("=")
    message = refusal(setting)
    assert message.startswith(f"{key}={value}")
    assert f"must be {said} (" in message
    meaning = {k: meta["doc"] for k, meta, _ in documented_fields(Config())}[key]
    assert f"({meaning})" in message


@pytest.mark.parametrize(
    ("setting", "nearest"),
    [
        ("loop.async_rat=1", "loop.async_ratio"),
        ("lop.steps=1", "loop.steps"),
        ("rollout.tempreature=1", "rollout.temperature"),
        ("policy.rank=8", "policy.lora_rank"),
    ],
)
def test_unknown_key_is_named_with_the_nearest_one(setting: str, nearest: str) -> None:
    assert refusal(setting) == f"command line: unknown key {setting.partition('=')[0]}; did you mean {nearest}?"


def test_key_unlike_any_other_points_to_the_list() -> None:
    assert "unknown key zzz; `fundus-ray config` lists every key" in refusal("zzz=1")


def test_section_in_place_of_a_key_is_named_with_one_of_its_keys() -> None:
    assert "loop is a section: set one of its keys, e.g. loop.steps" in refusal("loop=3")


@pytest.mark.parametrize(
    "setting", ["loop.steps=many", "loop.steps=1.5", "sft.bf16=perhaps", "loop.async_ratio=[1]", "loop.steps=null"]
)
def test_value_of_another_type_is_named(setting: str) -> None:
    message = refusal(setting)
    key, _, value = setting.partition("=")
    assert key in message
    assert value.strip("[]") in message or "None" in message
    assert "`fundus-ray config` lists types and ranges" in message


@pytest.mark.parametrize("setting", ["loop.steps", "=3", "loop.async_ratio 0"])
def test_override_without_key_or_value_is_quoted(setting: str) -> None:
    assert refusal(setting) == f"override {setting!r} is not of the form section.key=value"


def test_recipe_that_does_not_exist_is_named(tmp_path: Path) -> None:
    recipe = tmp_path / "none.yaml"
    assert refusal(recipe=recipe) == f"config file {recipe} does not exist; shipped recipes are in configs/"


@pytest.mark.parametrize("text", ["loop: {steps: 3", "loop:\n  steps: 3\n steps: 4\n", "\tloop: 3", "loop: [1, 2\n"])
def test_recipe_that_is_not_yaml_is_named(tmp_path: Path, text: str) -> None:
    recipe = tmp_path / "typo.yaml"
    recipe.write_text(text)
    message = refusal(recipe=recipe)
    assert message.startswith(f"config file {recipe} cannot be read: ")
    assert "line " in message


def test_recipe_that_is_a_list_is_told_the_form(tmp_path: Path) -> None:
    recipe = tmp_path / "list.yaml"
    recipe.write_text("- loop\n- steps\n")
    assert "must hold `section: {key: value}`" in refusal(recipe=recipe)


def test_recipe_that_is_a_folder_is_named(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(recipe=tmp_path)


def test_mistake_in_a_recipe_names_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("loop: {stepz: 3}\n")
    assert refusal(recipe=recipe) == f"{recipe}: unknown key loop.stepz; did you mean loop.steps?"
    recipe.write_text("loop: {steps: three}\n")
    assert refusal(recipe=recipe).startswith(f"{recipe}: loop.steps: ")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data.image_px=100"], "data.image_px=100 is not a multiple of 28; nearest is 112"),
        (["data.source=jsonl", "sft.vision_warmup_steps=0"], "jsonl and store need a path"),
        (["data.path=x.jsonl"], "data.path='x.jsonl' does not go with data.source=phantoms"),
        (["data.source=photo", "policy.path=some_vlm"], "but policy.path=some_vlm has one; set it to 0"),
        (["policy.path=/does/not/exist"], "policy.path=/does/not/exist is not a checkpoint folder (no config.json)"),
        (["sft.steps=0"], "sft.steps=0 with policy.path=tiny"),
        (["traces.reader=/no/model"], "traces.reader=/no/model is not a checkpoint folder (no config.json)"),
        (["policy.path=reader"], "policy.path=reader, but traces.reader is empty"),
        (["policy.path=reader", "traces.reader=tiny", "sft.steps=0"], "must be warmed up; set sft.steps > 0"),
        (["rollout.hang_s=300"], "rollout.hang_s=300 must be < loop.stall_s=300"),
        (["reward.hold_s=240"], "reward.hold_s=240 + reward.timeout_s=60 must be < loop.stall_s=300"),
        (
            ["learner.correction=none"],
            "set learner.correction=tis or loop.async_ratio=0, or, to study just that, learner",
        ),
        (["learner.correction_high=0.5"], "learner.correction_high=0.5 must be >= 1, or 0 for the correction's own"),
        (["learner.overlong_tokens=64"], "learner.overlong_tokens=64 must be < rollout.max_tokens=64"),
        (["learner.updates_per_batch=33"], "learner.updates_per_batch=33 must be <= loop.groups_per_step=32"),
        (
            ["learner.ranks=5", "learner.updates_per_batch=7"],
            "learner.ranks=5 x learner.updates_per_batch=7 must be <= loop.groups_per_step=32: each rank needs a group",
        ),
        (["learner.ranks=2", "learner.gpus=0.5"], "learner.gpus=0.5 with learner.ranks=2 must be 0 or 1: each rank"),
        (["rollout.max_loras=2"], "rollout.max_loras=2 is too small: loop.async_ratio=1 needs 3 ("),
        (["rollout.max_loras=3", "loop.async_ratio=1.1"], "set rollout.max_loras=4, or 0 for what is needed"),
        (["rollout.max_tokens=512"], "rollout.max_tokens=512 must be < rollout.max_model_len=512"),
        (
            ["reward.accuracy=0", "reward.format=0", "reward.consistency=0", "reward.grounding=0"],
            "every reward weight is 0",
        ),
        (["reward.plugin=my_rewards"], "reward.plugin=my_rewards must be module:function"),
        (["reward.plugin=my-rewards:f"], "reward.plugin=my-rewards:f must be module:function"),
        (["reward.checker=nli"], "reward.checker=nli needs a model, but reward.checker_model='' is not its folder"),
        (["reward.checker=judge", "reward.checker_model=/none"], "reward.checker_model='/none' is not its folder"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_with_a_remedy(settings: list[str], said: str) -> None:
    assert said in refusal(*settings)


@pytest.mark.parametrize(
    "settings",
    [
        ["learner.correction=none", "loop.async_ratio=0"],
        ["learner.correction=none", "learner.allow_uncorrected=true"],
        ["learner.correction=geometric", "learner.correction_low=1", "learner.correction_high=1"],
        ["learner.overlong_tokens=63"],
        ["data.source=photo", "sft.vision_warmup_steps=0"],
        ["sft.steps=0", "loop.steps=0"],
        ["learner.updates_per_batch=32"],
        ["learner.ranks=4", "learner.updates_per_batch=8", "learner.gpus=1", "learner.shard=true"],
        ["learner.gpus=0.5"],
        ["rollout.max_loras=3"],
        ["rollout.max_loras=66", "loop.async_ratio=64"],
        ["rollout.max_tokens=495"],
        ["reward.accuracy=0"],
        ["reward.plugin=my.rewards:f"],
        ["reward.accuracy=0", "reward.format=0", "reward.consistency=0", "reward.grounding=0", "reward.plugin=m:f"],
        ["reward.accuracy=0", "reward.format=0", "reward.consistency=0", "reward.grounding=0", "reward.knowledge=1"],
        ["policy.lora_rank=512", "data.image_px=1120", "rollout.max_model_len=1665"],
    ],
)
def test_settings_just_inside_the_rules_are_taken(settings: list[str]) -> None:
    load(None, settings)


def test_other_data_may_start_from_a_reader_which_needs_no_vision_warm_up(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    load(None, ["data.source=photo", "policy.path=reader", f"traces.reader={tmp_path}"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["loop.steps=0", "sft.steps=0", "sft.batch_size=4"], "sft.batch_size has no effect with sft.steps=0"),
        (
            ["loop.async_ratio=0", "learner.correction=none", "learner.correction_high=3"],
            "learner.correction_high has no effect with learner.correction=none",
        ),
        (
            ["learner.correction_low=0.5"],
            "learner.correction_low has no effect with learner.correction=tis or decoupled",
        ),
        (["learner.allow_uncorrected=true"], "has no effect with a learner.correction other than none"),
        (
            ["loop.async_ratio=0", "learner.correction=none", "learner.allow_uncorrected=true"],
            "learner.allow_uncorrected has no effect with loop.async_ratio=0, where no rollout is stale",
        ),
        (["policy.dtype=bfloat16", "learner.bf16=true"], "learner.bf16 has no effect with policy.dtype=bfloat16"),
        (["learner.shard=true"], "learner.shard has no effect with learner.ranks=1, which has nobody to share with"),
        (["learner.kl_estimator=k2"], "learner.kl_estimator has no effect with learner.kl=0"),
        (
            ["learner.updates_per_batch=2", "learner.algorithm=rloo", "learner.clip_high=0.3"],
            "learner.clip_high has no effect with learner.algorithm=rloo",
        ),
        (["learner.clip_low=0.1"], "learner.clip_low has no effect with learner.updates_per_batch=1"),
        (["data.eval_fraction=0.1"], "data.eval_fraction has no effect with rendered data; set data.eval_samples"),
        (["rollout.gpu_memory_utilization=0.5"], "has no effect with rollout.gpus=0"),
        (["reward.custom=1"], "reward.custom has no effect with reward.plugin empty"),
        (["reward.plugin=m:f", "reward.custom=0"], "reward.plugin has no effect with reward.custom=0"),
        (["loop.async_ratio=0", "loop.window=4"], "loop.window has no effect with loop.async_ratio=0"),
        (
            ["evaluate.samples=0", "evaluate.checkpoints=true"],
            "evaluate.checkpoints has no effect with evaluate.samples=0",
        ),
        (
            ["loop.checkpoint_every=0", "evaluate.checkpoints=true"],
            "evaluate.checkpoints has no effect with loop.checkpoint_every=0",
        ),
        (["reward.gpus=1"], "reward.gpus has no effect with reward.checker=record, which runs no model"),
        (["reward.consistency=0", "reward.gate_consistency=true"], "has no effect with reward.consistency=0"),
    ],
)
def test_an_override_without_effect_is_refused(settings: list[str], said: str) -> None:
    assert said in refusal(*settings)
    load(overrides=settings[:-1])


def test_what_a_recipe_says_may_be_idled_by_an_override(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("sft: {batch_size: 4}\nloop: {steps: 0}\n")
    assert load(recipe, ["sft.steps=0"]).sft.batch_size == 4


def test_checkpoint_folder_is_recognised_by_its_config_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert load(None, [f"policy.path={tmp_path}", "sft.steps=0"]).policy.path == str(tmp_path)


@pytest.mark.parametrize(
    ("ratio", "groups", "capacity", "lag", "adapters"),
    [
        (0, 32, 32, 0, 2),
        (1, 32, 64, 1, 3),
        (0.5, 32, 48, 1, 3),
        (0.1, 32, 36, 1, 3),
        (2.5, 4, 14, 3, 5),
        (64, 1, 65, 64, 66),
    ],
)
def test_bounds_that_follow_from_the_async_ratio(
    ratio: float, groups: int, capacity: int, lag: int, adapters: int
) -> None:
    config = load(None, [f"loop.async_ratio={ratio}", f"loop.groups_per_step={groups}"])
    assert (config.buffer_capacity, config.max_lag, config.live_adapters) == (capacity, lag, adapters)


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [([], 1e-3), (["policy.dtype=bfloat16"], 0.2), (["policy.dtype=bfloat16", "policy.probe_tolerance=0.05"], 0.05)],
)
def test_the_probe_may_differ_by_what_the_arithmetic_rounds(settings: list[str], tolerance: float) -> None:
    assert load(None, settings).probe_tolerance == tolerance


def test_a_group_may_wait_in_its_engine_for_as_many_steps_as_it_may_lag() -> None:
    config = load(None, ["loop.async_ratio=2.5", "loop.groups_per_step=400", "loop.stall_s=600"])
    assert config.group_limit_s == 600 * 4
    assert config.calls_under_way == 1400 + 16  # all prompts of the buffer at one worker, and calls that are no prompts
    assert load(None, ["rollout.max_seqs=300", "rollout.workers=2"]).calls_under_way == 616


def test_engines_hold_as_many_versions_as_were_asked_for() -> None:
    assert load(None, ["rollout.max_loras=7"]).live_adapters == 7


@pytest.mark.parametrize(("rank", "engine"), [(1, 1), (2, 8), (8, 8), (16, 16), (17, 32), (257, 320), (512, 512)])
def test_engine_rank_is_the_smallest_that_vllm_takes(rank: int, engine: int) -> None:
    assert load(None, [f"policy.lora_rank={rank}"]).engine_lora_rank == engine


def test_every_field_and_section_is_documented() -> None:
    for key, meta, value in documented_fields(Config()):
        assert meta["doc"], key
        assert isinstance(value, bool | str) or allowed(meta), f"{key}: a number needs a range"
    assert all(type(getattr(Config(), section.name)).__doc__ for section in fields(Config))


def test_resolved_tree_loads_back(tmp_path: Path) -> None:
    config = load(None, ["run.name='odd: name # here'", "loop.async_ratio=0.25", "learner.learning_rate=3e-7"])
    recipe = tmp_path / "resolved.yaml"
    recipe.write_text(to_yaml(config))
    assert load(recipe) == config


def test_check_sees_values_set_in_code() -> None:
    config = Config()
    config.rollout.group_size = 1
    with pytest.raises(ConfigError, match=r"^rollout\.group_size=1 "):
        check(config)


@pytest.mark.parametrize("secret", ["hunter2", "hun@ter2", "hun/ter2"])
@pytest.mark.parametrize("key", ["run.checkpoints", "data.path"])
def test_a_password_in_an_address_is_refused_and_not_said(key: str, secret: str) -> None:
    said = refusal(f"{key}=ftp://me:{secret}@host:21/runs")
    assert said.startswith(f"{key} holds a user or password in its address")
    assert secret not in said


def test_an_address_with_a_port_and_an_at_sign_further_on_holds_no_password() -> None:
    load(None, ["run.checkpoints=s3://store:9000/runs@home"])


def test_refusal_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(ConfigError("loop.steps=-1 is not allowed")))
    assert (type(copy), str(copy), copy.exit_code) == (ConfigError, "loop.steps=-1 is not allowed", 2)


def test_an_error_about_images_keeps_their_places_through_pickling() -> None:
    copy = pickle.loads(pickle.dumps(ImagesError({1: "a.png is gone", 3: "b.png has changed"})))
    assert copy.reasons == {1: "a.png is gone", 3: "b.png has changed"}
    assert str(copy) == "a.png is gone; b.png has changed"


def test_without_a_setting_an_engine_hangs_after_a_fifth_of_what_ends_the_run() -> None:
    assert load(None, ["loop.stall_s=1000"]).hang_s == 200.0
    assert load(None, ["loop.stall_s=1000", "rollout.hang_s=30"]).hang_s == 30.0
