"""What the actors ask for, in groups that are placed as a whole, and where a cluster would have them.

In: the configuration; the machines and what they have. Out: `Group`s in the order in which they are reserved, a
`Verdict` for each place, a ConfigError with the numbers where what is needed does not fit. Pure, no Ray.

Engines come first, since small actors would break up the machines that large ones need; then the learner; then the
reward actors; last of all what a run can start without (rollout.min_workers, reward.min_workers), each in a group of
its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fundus_ray.config import Config
from fundus_ray.errors import ConfigError

ROUNDING = 1e-6  # fractions of a GPU are added up
SHOWN = 3  # machines that a line names
GIB = 2**30
UNITS = {"CPU": "CPU", "GPU": "GPU", "memory": "GiB of memory"}


@dataclass(frozen=True, slots=True)
class Ask:
    """What one actor needs; `memory` in bytes, 0 = not counted."""

    name: str
    cpus: float
    gpus: float
    memory: float = 0.0


@dataclass(frozen=True, slots=True)
class Bundle:
    """What has to be on one machine: one actor, or several that share a GPU."""

    asks: tuple[Ask, ...]

    @property
    def name(self) -> str:
        """As in reports."""
        return " + ".join(ask.name for ask in self.asks)

    @property
    def wants(self) -> dict[str, float]:
        """Ray's name of a resource -> how much, without what is not asked for."""
        sums = {
            "CPU": math.fsum(ask.cpus for ask in self.asks),
            "GPU": math.fsum(ask.gpus for ask in self.asks),
            "memory": math.fsum(ask.memory for ask in self.asks),
        }
        return {resource: amount for resource, amount in sums.items() if amount > 0}


@dataclass(frozen=True, slots=True)
class Group:
    """Bundles that get their places all at once or not at all.

    role: section of the configuration that says how many there are; strategy: Ray's, SPREAD over the machines or PACK
    on few; required: the run cannot start without it.
    """

    role: str
    strategy: str
    bundles: tuple[Bundle, ...]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster: Ray's name of a resource -> what it has, and what of that is free."""

    name: str
    total: Mapping[str, float]
    free: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a bundle would go: the machine's name, or None and why not."""

    bundle: str
    role: str
    wants: Mapping[str, float]
    node: str | None
    why: str = ""


def groups_of(config: Config) -> list[Group]:
    """In the order in which they are reserved."""
    rollout, reward, learner = config.rollout, config.reward, learner_group(config)
    engines = [Ask(f"rollout-{i}", rollout.cpus, rollout.gpus) for i in range(rollout.workers)]
    scorers = [Ask(f"reward-{i}", reward.cpus, reward.gpus) for i in range(reward.workers)]
    # What asks for nothing is given no place that it could come with later: all of it starts with the run.
    first = config.engines_needed if rollout.cpus or rollout.gpus else rollout.workers
    also = config.scorers_needed if reward.cpus or reward.gpus else reward.workers
    if config.ray.colocate:
        required = [Group("rollout", "PACK", (Bundle((*engines, *asks_of([learner]))),))]
    else:
        required = [Group("rollout", "SPREAD", _each(engines[:first])), learner]
    return [
        *required,
        Group("reward", "SPREAD", _each(scorers[:also])),
        *(Group("rollout", "SPREAD", (bundle,), required=False) for bundle in _each(engines[first:])),
        *(Group("reward", "SPREAD", (bundle,), required=False) for bundle in _each(scorers[also:])),
    ]


def learner_group(config: Config) -> Group:
    """All its ranks, which talk to each other in every update."""
    learner = config.learner
    return Group("learner", "PACK", _each([Ask(n, learner.cpus, learner.gpus) for n in rank_names(learner.ranks)]))


def rank_names(ranks: int) -> list[str]:
    """The learner's actors, as in errors and logs."""
    return ["learner"] if ranks == 1 else [f"learner-{rank}" for rank in range(ranks)]


def engines_alone(role: str, config: Config) -> list[Group]:
    """`rollout.workers` engines named after what they do, and nothing else."""
    rollout = config.rollout
    asks = [Ask(f"{role}-{i}", rollout.cpus, rollout.gpus) for i in range(rollout.workers)]
    return [Group("rollout", "SPREAD", _each(asks))]


def asks_of(groups: Sequence[Group], role: str = "") -> list[Ask]:
    """All actors, or those whose name begins with `role`, in order."""
    return [ask for g in groups for bundle in g.bundles for ask in bundle.asks if ask.name.startswith(role)]


def fits(groups: Sequence[Group], nodes: Sequence[Node]) -> list[Verdict]:
    """One verdict a bundle, in order: where it would go if the groups were reserved one after the other on what is
    free. As Ray does it: SPREAD takes the machine with the fewest of the group, PACK that with the most; a fraction of
    a GPU lies on one GPU."""
    rooms = [_Room(node) for node in nodes]
    verdicts = []
    for group in groups:
        taken: Counter[int] = Counter()  # by machine, of which several may have one name
        for bundle in group.bundles:
            wants = bundle.wants
            able = [room for room in rooms if room.holds(wants)]
            if not able:
                why = f"no machine has {amounts(wants)} free: {_rooms(rooms, wants)}"
                verdicts.append(Verdict(bundle.name, group.role, wants, None, why))
                continue
            sign = 1 if group.strategy == "SPREAD" else -1
            room = min(able, key=lambda room: (sign * taken[id(room)], room.left(wants)))
            room.take(wants)
            taken[id(room)] += 1
            verdicts.append(Verdict(bundle.name, group.role, wants, room.name))
    return verdicts


def check_placement(groups: Sequence[Group], *, nodes: Sequence[Node]) -> None:
    """Whether what the run needs fits the cluster while nobody else uses it. Raises ConfigError with the numbers."""
    needed = [group for group in groups if group.required]
    empty = [Node(node.name, node.total, node.total) for node in nodes]
    lost = next((verdict for verdict in fits(needed, empty) if verdict.node is None), None)
    if lost is None:
        return
    bundles = [bundle for group in needed for bundle in group.bundles]
    for resource in lost.wants:
        parts = [(bundle.name, bundle.wants[resource]) for bundle in bundles if resource in bundle.wants]
        there = [node.total.get(resource, 0.0) for node in nodes]
        words = " + ".join(f"{name} {_number(resource, amount)}" for name, amount in parts)
        asked_for, has = math.fsum(amount for _, amount in parts), math.fsum(there)
        if asked_for > has + ROUNDING:
            raise ConfigError(
                f"the actors ask for {amounts({resource: asked_for})} ({words}) but the cluster has "
                f"{_number(resource, has)}; lower {_keys(bundles, [resource], counts=True)}"
            )
        if lost.wants[resource] > max(there, default=0.0) + ROUNDING:
            raise ConfigError(
                f"{lost.bundle} asks for {amounts({resource: lost.wants[resource]})} ({words}) but the largest machine "
                f"of the cluster has {_number(resource, max(there, default=0.0))}; lower "
                f"{_keys([b for b in bundles if b.name == lost.bundle], [resource], counts=False)}"
            )
    own = [bundle for bundle in bundles if bundle.name == lost.bundle]
    raise ConfigError(
        f"{lost.bundle} finds no place beside the actors before it: {lost.why}; lower "
        f"{_keys(own, list(lost.wants), counts=True)}"
    )


def amounts(wants: Mapping[str, float]) -> str:
    """As `2 CPUs and 1 GPU`."""
    words = []
    for resource, amount in wants.items():
        unit = UNITS.get(resource, resource)
        plural = "s" if unit in ("CPU", "GPU") and amount != 1 else ""
        words.append(f"{_number(resource, amount)} {unit}{plural}")
    return " and ".join(words) or "nothing"


class _Room:
    """What is free on one machine; GPUs one by one."""

    def __init__(self, node: Node) -> None:
        self.name = node.name
        self._total = node.total
        self._free = {resource: amount for resource, amount in node.free.items() if resource != "GPU"}
        whole = math.floor(node.free.get("GPU", 0.0) + ROUNDING)
        rest = node.free.get("GPU", 0.0) - whole
        self._gpus = [1.0] * whole + ([rest] if rest > ROUNDING else [])

    def holds(self, wants: Mapping[str, float]) -> bool:
        others = (self._free.get(r, 0.0) + ROUNDING >= amount for r, amount in wants.items() if r != "GPU")
        return all(others) and self._gpu_indices(wants.get("GPU", 0.0)) is not None

    def take(self, wants: Mapping[str, float]) -> None:
        for resource, amount in wants.items():
            if resource != "GPU":
                self._free[resource] -= amount
        gpus = wants.get("GPU", 0.0)
        for index in self._gpu_indices(gpus) or ():
            self._gpus[index] -= min(1.0, gpus)

    def left(self, wants: Mapping[str, float]) -> tuple[float, float]:
        """(GPUs, CPUs) that would be left: the tightest machine first keeps the others whole."""
        return sum(self._gpus) - wants.get("GPU", 0.0), self._free.get("CPU", 0.0) - wants.get("CPU", 0.0)

    def words(self, wants: Mapping[str, float]) -> str:
        free = {**self._free, "GPU": math.fsum(self._gpus)}
        parts = [f"{_number(r, free.get(r, 0.0))} of {amounts({r: self._total.get(r, 0.0)})}" for r in wants]
        return f"{self.name} has {' and '.join(parts)}"

    def _gpu_indices(self, amount: float) -> list[int] | None:
        """The GPUs that would be taken; None where there are not enough."""
        if amount <= ROUNDING:
            return []
        if amount >= 1:
            whole = [i for i, free in enumerate(self._gpus) if free >= 1 - ROUNDING]
            return whole[: round(amount)] if len(whole) >= amount - ROUNDING else None
        able = [i for i, free in enumerate(self._gpus) if free >= amount - ROUNDING]
        return [min(able, key=lambda i: self._gpus[i])] if able else None


def _rooms(rooms: Sequence[_Room], wants: Mapping[str, float]) -> str:
    """Those with the most left, the scarcest resource first."""
    if not rooms:
        return "there is none"
    order = sorted(rooms, key=lambda room: room.left(wants), reverse=True)
    more = f", and {len(rooms) - SHOWN} more" if len(rooms) > SHOWN else ""
    return ", ".join(room.words(wants) for room in order[:SHOWN]) + more


def _keys(bundles: Sequence[Bundle], resources: Sequence[str], *, counts: bool) -> str:
    """The settings by which these bundles ask for the resources, those of how many actors there are first, where
    `counts` wants them."""
    how_many: dict[str, None] = {}  # in order, each once
    each: dict[str, None] = {}
    for ask in (ask for bundle in bundles for ask in bundle.asks):
        asked_for = [resource for resource in resources if Bundle((ask,)).wants.get(resource)]
        role, _, number = ask.name.partition("-")
        section = role if role in ("learner", "reward") else "rollout"  # engines alone have names of their own
        if asked_for and section != "learner":
            how_many[f"{section}.workers"] = None
        elif asked_for and number:
            how_many["learner.ranks"] = None
        each |= {
            f"{section}.{key}": None for key, resource in (("cpus", "CPU"), ("gpus", "GPU")) if resource in asked_for
        }
    keys = [*(how_many if counts or not each else ()), *each]
    return " or ".join(filter(None, (", ".join(keys[:-1]), keys[-1])))


def _each(asks: Sequence[Ask]) -> tuple[Bundle, ...]:
    return tuple(Bundle((ask,)) for ask in asks)


def _number(resource: str, amount: float) -> str:
    return f"{amount / GIB:.1f}" if resource == "memory" else f"{round(amount, 4):g}"
