"""A user's own reward: what is refused at the start, and what becomes of its mistakes."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fundus_ray.errors import ConfigError
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.reward.plugin import Args, PluginFailedError, PluginValueError, load_plugin
from fundus_ray.types import ImageRef, Modality, PolicyVersion, Rollout, Sample

SAMPLE = Sample(
    id="s1",
    image=ImageRef("x.png", "0", 112, 112),
    modality=Modality.CFP,
    question="Which?",
    options=("normal", "glaucoma"),
    answer=("normal",),
    task="diagnosis",
    source="test",
    split="train",
    patient_id="p",
)
MODULE = """
    import asyncio
    import threading
    from collections.abc import Iterable, Sequence
    from fractions import Fraction
    from typing import Any

    import numpy as np

    from fundus_ray.reasoning.reading import Reading
    from fundus_ray.types import Evidence, Rollout, Sample

    threads = []

    def few_findings(rollout: Rollout, sample: Sample, reading: Reading, evidence: Sequence[Evidence]) -> float:
        threads.append(threading.current_thread())
        return 1 / (1 + len(reading.findings))

    async def slow(rollout: Rollout, sample: Sample, reading: Reading, evidence: Sequence[Evidence]) -> float:
        await asyncio.sleep(0)
        return float(sample.answer == ("normal",))

    def untyped(rollout, sample, reading, evidence):
        return 1

    def of_other_names(r, s, *rest):
        return np.float32(0.5)

    def half_typed(rollout: Any, sample: object, reading, evidence: Iterable[Evidence]) -> np.floating:
        return np.float64(0.25)

    def for_type_checkers(rollout: "Rollout", sample: "OnlyForTypeCheckers", reading, evidence) -> "float":
        return Fraction(1, 8)

    def of_the_image(rollout, sample, reading, evidence):
        return len(open(sample.image.path, "rb").read()) > 0

    class Callable:
        def __init__(self, value: float = 0.5) -> None:
            self.value = value

        def __call__(self, rollout: Rollout, sample: Sample, reading: Reading, evidence: Sequence[Evidence]) -> float:
            return self.value

    class AsyncCallable:
        async def __call__(self, rollout, sample, reading, evidence) -> float:
            return 0.5

    class FourFields:
        def __init__(self, rollout, sample, reading, evidence) -> None:
            pass

    an_object, async_object = Callable(), AsyncCallable()

    def swapped(sample, rollout, reading, evidence):
        return 0.5

    def swapped_and_typed(rollout: Rollout, sample: Sample, evidence: Sequence[Evidence], reading: Reading) -> float:
        return 0.5

    def types_swapped(a: Sample, b: Rollout, c: Reading, d: Sequence[Evidence]) -> float:
        return 0.5

    def an_int(rollout: int, sample: Sample, reading: Reading, evidence: Sequence[Evidence]) -> float:
        return 0.5

    def a_text_in_quotes(rollout, sample: "OnlyForTypeCheckers", reading: "str", evidence) -> float:
        return 0.5

    def a_dict(rollout, sample, reading, evidence: dict[str, Evidence]) -> float:
        return 0.5

    def says_bool(rollout, sample, reading, evidence) -> bool:
        return True

    def says_nothing(rollout, sample, reading, evidence) -> None:
        return None

    def a_bool(rollout, sample, reading, evidence):
        return True

    def too_high(rollout, sample, reading, evidence) -> float:
        return 1.5

    def not_finite(rollout, sample, reading, evidence) -> float:
        return float("nan")

    def infinite(rollout, sample, reading, evidence) -> float:
        return float("inf")

    def negative(rollout, sample, reading, evidence) -> float:
        return -0.001

    def text(rollout, sample, reading, evidence):
        return "0.5"

    def broken(rollout, sample, reading, evidence) -> float:
        raise KeyError("no such finding")

    async def broken_later(rollout, sample, reading, evidence) -> float:
        await asyncio.sleep(0)
        raise KeyError("no such finding")

    def three(rollout, sample, reading) -> float:
        return 0.0

    def keyword_only(rollout, sample, *, reading, evidence) -> float:
        return 0.0

    def says_text(rollout, sample, reading, evidence) -> str:
        return "0"

    NUMBER = 3
"""


@pytest.fixture(autouse=True)
def module_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "my_rewards.py").write_text(textwrap.dedent(MODULE))
    (tmp_path / "my_broken.py").write_text("import no_such_package\n")
    (tmp_path / "my_error.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in ("my_rewards", "my_broken", "my_error"):
        sys.modules.pop(name, None)


def call(findings: str = "drusen", *, seed: int = 7) -> Args:
    text = f"<think>Findings: {findings}. Conclusion: normal.</think><answer>A</answer>"
    rollout = Rollout((1,), (-1.0,), text, "stop", seed=seed, policy=PolicyVersion(0, "0"))
    return rollout, SAMPLE, read_chain(text, load_vocabulary()), ()


async def test_a_plain_function_runs_in_a_thread() -> None:
    plugin = load_plugin("my_rewards:few_findings")
    assert await plugin.values([call("none"), call("drusen"), call("drusen, hard exudates")]) == [1.0, 0.5, 1 / 3]
    (used,) = set(sys.modules["my_rewards"].threads)
    assert used is not threading.current_thread()


async def test_an_async_function_is_awaited() -> None:
    wrong = dataclasses.replace(SAMPLE, answer=("glaucoma",))
    rollout, _, reading, evidence = call()
    assert await load_plugin("my_rewards:slow").values([call(), (rollout, wrong, reading, evidence)]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("untyped", 1.0), ("of_other_names", 0.5), ("half_typed", 0.25), ("for_type_checkers", 0.125), ("an_object", 0.5)],
)
async def test_a_function_with_few_types_other_names_or_other_numbers_is_taken(name: str, value: float) -> None:
    assert await load_plugin(f"my_rewards:{name}").values([call()]) == [value]


@pytest.mark.parametrize(
    ("name", "gave"),
    [
        ("too_high", "1.5"),
        ("negative", "-0.001"),
        ("not_finite", "nan"),
        ("infinite", "inf"),
        ("text", "'0.5'"),
        ("a_bool", "True"),
    ],
)
async def test_what_is_no_reward_is_named_with_the_function_sample_and_rollout(name: str, gave: str) -> None:
    with pytest.raises(PluginValueError) as caught:
        await load_plugin(f"my_rewards:{name}").values([call()])
    assert str(caught.value) == (
        f"reward.plugin=my_rewards:{name} gave {gave} on sample s1, rollout with seed 7; a reward is a finite number "
        "in [0, 1]"
    )


async def test_a_function_that_reads_an_image_of_which_only_the_hash_is_known_is_told_so() -> None:
    sample = dataclasses.replace(SAMPLE, image=ImageRef("", "0", 112, 112))
    plugin = load_plugin("my_rewards:of_the_image")
    with pytest.raises(
        PluginFailedError, match=r"FileNotFoundError .*; sample\.image\.path is empty here, .*image_paths"
    ):
        await plugin.values([(call()[0], sample, *call()[2:])])
    with pytest.raises(PluginFailedError, match=r"No such file or directory: 'x\.png'$"):
        await plugin.values([call()])


@pytest.mark.parametrize("name", ["broken", "broken_later"])
async def test_what_it_raises_is_named_with_the_function_sample_and_rollout(name: str) -> None:
    with pytest.raises(PluginFailedError) as caught:
        await load_plugin(f"my_rewards:{name}").values([call(seed=1), call(seed=2)])
    assert str(caught.value).startswith(
        f"reward.plugin=my_rewards:{name} raised KeyError on sample s1, rollout with seed 1: "
    )
    assert len(asyncio.all_tasks()) == 1  # nothing is left behind


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("my_rewards:nothing", "there is no such function in "),
        ("my_rewards:NUMBER", "it is a int, not a function in "),
        ("no_such_module:f", "module no_such_module is not there; install it, add its folder to PYTHONPATH"),
        ("no_such.module:f", "module no_such.module is not there"),
        ("my_broken:f", "module my_broken needs no_such_package"),
        ("my_error:f", "importing my_error raised ZeroDivisionError: division by zero"),
        ("my_rewards:three", "cannot be called with four arguments (too many positional arguments)"),
        ("my_rewards:keyword_only", "cannot be called with four arguments"),
        ("my_rewards:FourFields", "it is a class, not a function in "),
        ("my_rewards:async_object", "it is an object with an async __call__, not an async function; it must be "),
        (
            "my_rewards:swapped",
            "the function takes sample in the place of rollout; it must be swapped(rollout: Rollout,",
        ),
        ("my_rewards:swapped_and_typed", "the function takes evidence in the place of reading"),
        ("my_rewards:types_swapped", "the function says that a is Sample"),
        ("my_rewards:an_int", "the function says that rollout is int"),
        ("my_rewards:a_text_in_quotes", "the function says that reading is str"),
        ("my_rewards:a_dict", "the function says that evidence is dict"),
        ("my_rewards:says_bool", "the function says that it returns bool"),
        ("my_rewards:says_nothing", "the function says that it returns NoneType"),
        ("my_rewards:says_text", "the function says that it returns str; it must be says_text(rollout: Rollout,"),
    ],
)
def test_a_function_that_cannot_work_is_refused_at_the_start(setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_plugin(setting)
    message = str(caught.value)
    assert message.startswith(f"reward.plugin={setting}: ")
    assert said in message
    assert "\n" not in message
