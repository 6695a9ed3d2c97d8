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
    answers: dict[str, Any] = field(default_factory=dict)
    """Which process each is, as Ray will tell."""

    def begin(self, node: str) -> Any:
        """Return a node's keeper, begun if it has none."""
        if node not in self.of_node:
            affinity = NodeAffinitySchedulingStrategy(node, soft=False)
            keeper = Keeper.options(scheduling_strategy=affinity).remote()  # type: ignore
            self.of_node[node], self.answers[node] = keeper, keeper.process.remote()
        return self.of_node[node]

    def look(self, ids: Sequence[str], asked: nodes.Asked, *, seconds: float) -> list[nodes.Seen]:
        """Return what each node says of itself.

        Raises:
            RayError: one does not answer in time.
        """
        answers = [self.begin(node).look.remote(asked) for node in ids]
        found: list[nodes.Seen] = ray.get(answers, timeout=seconds)
        return found

    def processes(self) -> dict[str, str]:
        """Return which process is the keeper of each node, as far as they have answered."""
        found: dict[str, str] = {}
        for node, answer in self.answers.items():
            with suppress(RayError):
                found[node] = ray.get(answer, timeout=0)
        return found

    def end(self) -> None:
        """End them all, and what belongs to them."""
        self.answers.clear()
        self.of_node.clear()
