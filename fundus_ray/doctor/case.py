"""Everything that the checks look at.

In: needs, the machines' answers, where actors would go. Out: `Case`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fundus_ray.config import Config
from fundus_ray.doctor.ask_nodes import Machine
from fundus_ray.doctor.needs import Needs
from fundus_ray.places import Group, Node, fits

ROLES = ("rollout", "learner", "reward")


@dataclass(frozen=True, slots=True)
class Case:
    """`own`: versions in this process; `groups`: what is asked of the cluster."""

    needs: Needs
    groups: Sequence[Group]
    machines: Sequence[Machine]
    own: Mapping[str, str]

    @property
    def config(self) -> Config:
        """The run's."""
        return self.needs.config

    @property
    def answered(self) -> list[Machine]:
        """Those that did."""
        return [machine for machine in self.machines if not machine.problem]

    def hosts(self, *roles: str) -> list[Machine]:
        """Machines that answered and are large enough, were they empty, for an actor of one of these roles."""
        wants = [
            bundle.wants
            for group in self.groups
            for bundle in group.bundles
            if any(ask.name.startswith(roles) for ask in bundle.asks)
        ]
        return [m for m in self.answered if any(holds(m.node, one) for one in wants)]

    def placed(self) -> dict[str, list[str]]:
        """Machine -> the actors that it would get, were the cluster empty."""
        empty = [Node(m.node.name, m.node.total, m.node.total) for m in self.machines]
        found: dict[str, list[str]] = {machine.name: [] for machine in self.machines}
        bundles = [bundle for group in self.groups for bundle in group.bundles]
        for bundle, verdict in zip(bundles, fits(self.groups, empty), strict=True):
            if verdict.node is not None:
                found[verdict.node] += [ask.name for ask in bundle.asks]
        return found


def holds(node: Node, wants: Mapping[str, float]) -> bool:
    """Whether the machine has so much in all."""
    return all(node.total.get(resource, 0.0) >= amount for resource, amount in wants.items())


def role_of(actor: str) -> str:
    """Of an actor's name."""
    return actor.partition("-")[0]
