"""Forecast the time left of steps whose costs are known before they run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Costs that vary less than this share of themselves do not tell a step's own time from its cost's.
ALIKE = 1e-6


class Forecast:
    """Steps of known cost and the pauses between them: how much is done, and how long the rest is.

    A step takes a time of its own and a time in proportion to its cost; both are fitted to the
    steps seen. The first step counts for neither: memory and libraries are made ready in it.
    """

    def __init__(self, steps: Sequence[float], pauses: Sequence[float] = ()) -> None:
        """Forecast these steps, in this order.

        Args:
            steps: cost of each step, in any unit, in the order in which they run.
            pauses: cost of each piece of work between the steps (validation), in the same unit.
        """
        # Sums of the cost of the first 0, 1, 2, ... steps; the mean step costs 1.
        self.unit = float(np.mean(steps)) or 1.0
        self.sums = np.concatenate([[0.0], np.cumsum(steps)]) / self.unit
        self.pauses = [cost / self.unit for cost in pauses]
        self.total = float(self.sums[-1]) + sum(self.pauses)
        self.done = 0
        self.paused: list[float] = []
        self._last: float | None = None
        # Sums over what was seen of count and cost, of their products, and of those with the time.
        self._squares = np.zeros((2, 2))
        self._products = np.zeros(2)
        self._seen = np.zeros(2)
        self._seconds = 0.0

    def __len__(self) -> int:
        return len(self.sums) - 1

    def step_done(self, done: int, seconds: float) -> None:
        """Note how many steps are done, and the time; pauses are no part of it.

        Args:
            done: steps done.
            seconds: of a clock that stands still in pauses.
        """
        if self._last is not None and done > self.done:
            part = np.array([done - self.done, self.sums[done] - self.sums[self.done]])
            took = seconds - self._last
            self._squares += np.outer(part, part)
            self._products += part * took
            self._seen += part
            self._seconds += took
        self.done, self._last = done, seconds

    def pause_done(self, seconds: float) -> None:
        """Note how long a pause took."""
        self.paused.append(seconds)

    @property
    def share(self) -> float:
        """Share of the whole cost that is done, 0 to 1."""
        passed = sum(self.pauses[: len(self.paused)])
        return (float(self.sums[self.done]) + passed) / self.total

    def rates(self) -> tuple[float, float] | None:
        """Return the seconds of a step whatever it costs, and those of a unit of cost.

        None where no step after the first was seen.
        """
        if not self._seconds:
            return None
        (steps, mixed), (_, squared) = self._squares
        determinant = steps * squared - mixed**2
        own, by_cost = 0.0, 1.0
        if determinant > ALIKE * steps * squared:
            own = max(0.0, self._products[0] * squared - self._products[1] * mixed)
            by_cost = max(0.0, self._products[1] * steps - self._products[0] * mixed)
        fitted = own * self._seen[0] + by_cost * self._seen[1]
        scale = self._seconds / fitted if fitted else 0.0
        return own * scale, by_cost * scale

    def left(self) -> float | None:
        """Return the seconds left, pauses included; None where nothing is known yet."""
        rates = self.rates()
        if rates is None:
            return None
        own, by_cost = rates
        cost = float(self.sums[-1] - self.sums[self.done])
        ahead = own * (len(self) - self.done) + by_cost * cost
        pauses = self.pauses[len(self.paused) :]
        if self.paused:
            return ahead + len(pauses) * sum(self.paused) / len(self.paused)
        # As long as steps of the same cost would take, of the mean length.
        return ahead + sum(pauses) * (own + by_cost)
