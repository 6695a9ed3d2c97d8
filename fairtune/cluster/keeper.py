"""A process on each node that the tasks there have in common: what they share ends with it.

It is an actor of the driver's: Ray ends it with its node, and with the driver, however that ends.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fairtune.cluster import nodes
from fairtune.preload import owner

NAME = "fairtune-keeper-"
ANSWER_SECONDS = 10.0


@ray.remote(num_cpus=0, max_restarts=0)
class Keeper:
    """The process."""

    def look(self, asked: nodes.Asked) -> nodes.Seen:
        """Return what the node is."""
        return nodes.look(asked)

    def process(self) -> str:
        """Return which process this is; '' where the system does not tell."""
        return str(owner.find(os.getpid()) or "") if owner.can_watch() else ""


@dataclass
class Keepers:
    """The keepers of a driver. Each ends when nobody holds it any more."""

    of_node: dict[str, Any] = field(default_factory=dict)

    def begin(self, node: str) -> Any:
        """Return a node's keeper, begun if it has none."""
        if node not in self.of_node:
            affinity = NodeAffinitySchedulingStrategy(node, soft=False)
            options = {"name": f"{NAME}{node}", "scheduling_strategy": affinity}
            self.of_node[node] = Keeper.options(**options).remote()  # type: ignore[attr-defined]
        return self.of_node[node]

    def look(self, ids: Sequence[str], asked: nodes.Asked, *, seconds: float) -> list[nodes.Seen]:
        """Return what each node says of itself.

        Raises:
            RayError: one does not answer in time.
        """
        answers = [self.begin(node).look.remote(asked) for node in ids]
        found: list[nodes.Seen] = ray.get(answers, timeout=seconds)
        return found


def on(node: str) -> str | None:
    """Return which process is the keeper on a task's node; None where there is none."""
    with suppress(ValueError, RayError):
        keeper: Any = ray.get_actor(f"{NAME}{node}")
        found: Any = ray.get(keeper.process.remote(), timeout=ANSWER_SECONDS)
        return found if owner.parse(found) else None
    return None
