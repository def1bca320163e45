"""A user's own reward: `reward.plugin=module:function`, the part "custom" of the score.

    def my_reward(rollout: Rollout, sample: Sample, reading: Reading, evidence: Sequence[Evidence]) -> float: ...

or `async def` with the same arguments. `reading` is what the chain says (reasoning/reading.py), `evidence` the passages
found for it; the value is in [0, 1]. The module is one that Python finds on every machine: installed, in PYTHONPATH, or
in the folder where the run was started.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import math
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fundus_ray.errors import ConfigError, FundusRayError
from fundus_ray.reasoning.steps import Reading
from fundus_ray.types import Evidence, Rollout, Sample

Args = tuple[Rollout, Sample, Reading, Sequence[Evidence]]
RewardFunction = Callable[[Rollout, Sample, Reading, Sequence[Evidence]], float | Awaitable[float]]

_ARGUMENTS = ("rollout", "sample", "reading", "evidence")
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
        return PluginFailedError(f"reward.plugin={self.setting} raised {type(err).__name__} on {where}: {text}")

    def _checked(self, value: object, args: Args) -> float:
        number = float(value) if isinstance(value, (int, float)) else math.nan
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
    if not callable(function):
        what = "there is no such function" if function is None else f"it is a {type(function).__name__}, not a function"
        raise ConfigError(f"reward.plugin={setting}: {what} in {module.__file__}")
    _check_signature(function, setting)
    return Plugin(setting, cast(RewardFunction, function))


def _check_signature(function: Callable[..., Any], setting: str) -> None:
    def wrong(why: str) -> ConfigError:
        return ConfigError(f"reward.plugin={setting}: {why}; it must be {setting.partition(':')[2]}{_SIGNATURE}")

    try:
        signature = inspect.signature(function)
        signature.bind(*_ARGUMENTS)
    except (TypeError, ValueError) as err:
        raise wrong(f"the function cannot be called with four arguments ({err})") from None
    given = inspect.get_annotations(cast(Any, function)).get("return", float)
    if given not in (float, int, "float", "int"):
        raise wrong(f"the function says that it returns {getattr(given, '__name__', given)}")
