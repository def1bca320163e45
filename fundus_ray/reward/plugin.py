"""A user's own reward: `reward.plugin=module:function`, the part "custom" of the score.

    def my_reward(rollout: Rollout, sample: Sample, reading: Reading, evidence: Sequence[Evidence]) -> float: ...

or `async def` with the same arguments. `reading` is what the chain says (reasoning/reading.py), `evidence` the passages
found for it; the value is a number in [0, 1], no bool. Types may be left out; those that are written are checked at the
start. The module is one that Python finds on every machine: installed, in PYTHONPATH, or in the folder where the run
was started.

Where past rollouts are scored again, `sample.image.path` is "", as they name images by hash, unless their run had
run.image_paths=true.
"""

from __future__ import annotations

import asyncio
import builtins
import importlib
import inspect
import math
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, cast, get_origin

from fundus_ray.errors import ConfigError, FundusRayError
from fundus_ray.reasoning.steps import Reading
from fundus_ray.types import Evidence, Rollout, Sample

NO_PATH = (
    "sample.image.path is empty here, as these rollouts name images by their hash; a function that reads it can score "
    "past rollouts of runs with run.image_paths=true only"
)
Args = tuple[Rollout, Sample, Reading, Sequence[Evidence]]
RewardFunction = Callable[[Rollout, Sample, Reading, Sequence[Evidence]], float | Awaitable[float]]

_ARGUMENTS = {"rollout": Rollout, "sample": Sample, "reading": Reading, "evidence": tuple}  # what each is at a call
_SIGNATURE = "(rollout: Rollout, sample: Sample, reading: Reading, evidence: Sequence[Evidence]) -> float"


class PluginValueError(FundusRayError):
    """The function gave what is no reward: a mistake in it, which ends the run."""

    exit_code = 2


class PluginFailedError(FundusRayError):
    """The function raised: our fault, so the group is unscorable, never zero."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """The function, with its setting for error messages."""

    setting: str
    function: RewardFunction

    async def values(self, calls: Sequence[Args]) -> list[float]:
        """One value a rollout of a group. A plain function runs in a thread, one rollout after the other (but several
        groups may be scored at once, each in its thread); an async one for all rollouts at once.

        Raises PluginFailedError where it raises, PluginValueError where a value is not a finite number in [0, 1].
        """
        if inspect.iscoroutinefunction(self.function):
            found = await self._all_awaited(calls)
        else:
            found = await asyncio.to_thread(lambda: [self._called(args) for args in calls])
        return [self._checked(value, args) for value, args in zip(found, calls, strict=True)]

    async def _all_awaited(self, calls: Sequence[Args]) -> list[object]:
        tasks = [asyncio.create_task(self._awaited(args)) for args in calls]
        try:
            return [await task for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _called(self, args: Args) -> object:
        try:
            return self.function(*args)
        except Exception as err:
            raise self._failed(err, args) from err

    async def _awaited(self, args: Args) -> object:
        try:
            return await cast(Awaitable[float], self.function(*args))
        except Exception as err:
            raise self._failed(err, args) from err

    def _failed(self, err: Exception, args: Args) -> PluginFailedError:
        where = f"sample {args[1].id}, rollout with seed {args[0].seed}"
        text = " ".join(str(err).split())[:200]
        lost = "" if args[1].image.path else f"; {NO_PATH}"
        return PluginFailedError(f"reward.plugin={self.setting} raised {type(err).__name__} on {where}: {text}{lost}")

    def _checked(self, value: object, args: Args) -> float:
        number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
        if not 0 <= number <= 1:
            raise PluginValueError(
                f"reward.plugin={self.setting} gave {value!r} on sample {args[1].id}, rollout with seed "
                f"{args[0].seed}; a reward is a finite number in [0, 1]"
            )
        return number


def load_plugin(setting: str) -> Plugin:
    """The function that `module:function` names. Raises ConfigError where there is none, or it takes other arguments
    or says that it returns something else."""
    module_name, _, name = setting.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # an installed command does not look there by itself
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as err:
        missing = "is not there" if err.name and module_name.startswith(err.name) else f"needs {err.name}"
        raise ConfigError(
            f"reward.plugin={setting}: module {module_name} {missing}; install it, add its folder to PYTHONPATH, or "
            "start in that folder"
        ) from None
    except Exception as err:
        raise ConfigError(
            f"reward.plugin={setting}: importing {module_name} raised {type(err).__name__}: "
            f"{' '.join(str(err).split())[:200]}"
        ) from err
    function = getattr(module, name, None)
    if not callable(function) or inspect.isclass(function):
        what = "there is no such function" if function is None else f"it is a {type(function).__name__}, not a function"
        what = "it is a class, not a function" if inspect.isclass(function) else what
        raise ConfigError(f"reward.plugin={setting}: {what} in {module.__file__}")
    wrong = _wrong_with(function)
    if wrong:
        raise ConfigError(f"reward.plugin={setting}: {wrong}; it must be {name}{_SIGNATURE}")
    return Plugin(setting, cast(RewardFunction, function))


def _wrong_with(function: Callable[..., Any]) -> str:
    """Why it cannot be a reward, by its signature; "" where it can."""
    if inspect.iscoroutinefunction(type(function).__call__):
        return "it is an object with an async __call__, not an async function"
    try:
        signature = _signature(function)
        bound = signature.bind(*_ARGUMENTS).arguments
    except (TypeError, ValueError) as err:
        return f"the function cannot be called with four arguments ({err})"
    for name, argument in bound.items():
        if name in _ARGUMENTS and name != argument:
            return f"the function takes {name} in the place of {argument if isinstance(argument, str) else argument[0]}"
        written = _class_of(signature.parameters[name].annotation)
        if isinstance(argument, str) and written and not issubclass(_ARGUMENTS[argument], written):
            return f"the function says that {name} is {written.__name__}"
    returned = _class_of(signature.return_annotation)
    if returned and (returned is bool or not issubclass(returned, Real)):
        return f"the function says that it returns {returned.__name__}"
    return ""


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """With its annotations as objects, or as texts where one of them names what is imported for type checkers alone."""
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, AttributeError, SyntaxError, TypeError):
        return inspect.signature(function)


def _class_of(annotation: object) -> type | None:
    """The class that an annotation names; None where there is none, or it names no single class."""
    if isinstance(annotation, str):
        annotation = getattr(builtins, annotation, None)
    elif annotation is None:
        annotation = type(None)
    annotation = get_origin(annotation) or annotation
    anything = annotation in (inspect.Signature.empty, Any) or getattr(annotation, "_is_protocol", False)
    return annotation if isinstance(annotation, type) and not anything else None
