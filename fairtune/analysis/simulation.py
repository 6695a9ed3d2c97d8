"""Simulated studies of one size, as their statistics would see them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import ndtri

from fairtune.analysis.components import Components
from fairtune.analysis.crossed import FloatArray, drawn_variances, reaches

ROUNDING = 1e-9
"""By so much a bound is loosened, lest rounding decide."""


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Studies of one size, as their statistics would see them."""

    seeds: int
    between: FloatArray
    covariance: FloatArray
    scores: FloatArray
    """(draws, methods)"""
    variances: FloatArray
    """By the seeds, as each study estimates them, (methods, draws)."""
    pairs: list[tuple[int, int]]
    random: np.random.Generator

    @classmethod
    def of(
        cls, found: Components, rows: int, seeds: int, *, draws: int, seed: int = 0
    ) -> Simulation:
        """Draw the studies; the arguments are those of `planning.power`."""
        random = np.random.default_rng(seed)
        between, parts = found.between(rows, seeds), found.parts(rows, seeds)
        covariance = between + np.diag([part.variance for part in parts])
        errors = random.multivariate_normal(np.zeros(len(parts)), covariance, draws, method="eigh")
        return cls(
            seeds=seeds,
            between=between,
            covariance=covariance,
            scores=found.scores + errors,
            variances=np.stack([drawn_variances(part, draws, random) for part in parts]),
            pairs=list(combinations(range(len(parts)), 2)),
            random=random,
        )

    def gap(self, pair: tuple[int, int]) -> FloatArray:
        """Return the difference of two methods' scores, (draws,)."""
        difference: FloatArray = self.scores[:, pair[0]] - self.scores[:, pair[1]]
        return difference

    def by_rows(self, pair: tuple[int, int]) -> float:
        """Return the variance of that difference by the rows."""
        a, b = pair
        return float(self.between[a, a] + self.between[b, b] - 2 * self.between[a, b])

    def reach(self, pair: tuple[int, int], tail: float) -> FloatArray:
        """Return what the error of that difference exceeds with probability `tail`, (draws,)."""
        drawn = self.variances[list(pair)]
        return reaches(self.by_rows(pair), drawn, seeds=self.seeds, tail=tail)

    def settled(self, margin: float, alpha: float) -> float:
        """Return the share of the studies that prove their choice.

        Student's t takes longest, so it is computed where the normal deviate, which is nearer 0,
        leaves a method in the running.
        """
        draws, methods = self.scores.shape
        proved = np.ones((draws, methods), dtype=bool)
        tail = alpha / methods
        nearest = -float(ndtri(tail)) * (1 - ROUNDING)
        for a, b in self.pairs:
            gap, drawn = self.gap((a, b)), self.variances[[a, b]]
            least = nearest * np.sqrt(self.by_rows((a, b)) + drawn.sum(axis=0))
            proved[:, a] &= margin + gap - least >= 0
            proved[:, b] &= margin - gap - least >= 0
        for a, b in self.pairs:
            left = np.flatnonzero(proved[:, a] | proved[:, b])
            gap, drawn = self.gap((a, b))[left], self.variances[[a, b]][:, left]
            proof = reaches(self.by_rows((a, b)), drawn, seeds=self.seeds, tail=tail)
            proved[left, a] &= margin + gap - proof >= 0
            proved[left, b] &= margin - gap - proof >= 0
        return float(proved.any(axis=1).mean()) if self.pairs else 1.0

    def fresh(self) -> FloatArray:
        """Draw errors of the methods' scores anew, ten of each study, (10 * draws, methods)."""
        draws, methods = self.scores.shape
        return self.random.multivariate_normal(
            np.zeros(methods), self.covariance, 10 * draws, method="eigh"
        )
