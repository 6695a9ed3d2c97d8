"""What the errors of a study are made of: measured on the study at hand, or assumed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairtune.analysis.crossed import FloatArray, SeedPart, seed_part
from fairtune.analysis.sample import Sample

SEED_EFFECT = 0.005
"""Standard deviation between the trainings of a method that is assumed where fewer than three seeds
were run: ten seeds of the embedded study's candidates show 0.4 to 0.8 points, 0.5 as a rule
(benchmarks/candidates.json)."""


@dataclass(frozen=True, kw_only=True)
class Components:
    """What a study's errors are made of; variances are those of one unit or of one training."""

    names: list[str]
    scores: FloatArray
    """Of each method, (methods,): taken for the truth."""
    units: FloatArray
    """Covariance of what a unit does to all trainings of each method, (methods, methods)."""
    residual: FloatArray
    """Variance of what a unit does to a single training, (methods,)."""
    seeds: FloatArray
    """Variance between the trainings of a method, (methods,)."""
    units_per_row: float = 1.0
    """Less than 1 where rows were drawn in groups."""
    assumed: bool = False
    """Whether the seeds' variance is assumed and not measured."""

    def between(self, rows: int, seeds: int) -> FloatArray:
        """Return the covariance of the methods' scores by the rows, (methods, methods)."""
        units = rows * self.units_per_row
        return (self.units + np.diag(self.residual) / seeds) / units

    def parts(self, rows: int, seeds: int) -> list[SeedPart]:
        """Return how each method's trainings differ."""
        noise = self.residual / (rows * self.units_per_row)
        return [
            SeedPart(float(v + n), float(n), seeds) for v, n in zip(self.seeds, noise, strict=True)
        ]


def components(sample: Sample, *, seed_effect: float = SEED_EFFECT) -> Components:
    """Return the components of a study at hand.

    Args:
        sample: what it found.
        seed_effect: standard deviation between trainings, where the study has too few seeds to say.
    """
    names, seeds = sample.names, sample.seeds
    units = np.atleast_2d(np.cov(sample.means))
    residual = np.zeros(len(names))
    between = np.full(len(names), seed_effect**2)
    if seeds > 1:
        parts = [seed_part(sample.outcomes[name]) for name in names]
        residual = np.array([part.noise for part in parts]) * sample.units
        units = _positive(units - np.diag(residual) / seeds)
        if sample.covers_seeds:
            between = np.array([part.variance for part in parts]) * seeds
    return Components(
        names=names,
        scores=np.array(list(sample.scores.values())),
        units=units,
        residual=residual,
        seeds=between,
        units_per_row=sample.units / sample.rows,
        assumed=not sample.covers_seeds,
    )


def _positive(matrix: FloatArray) -> FloatArray:
    """Return the nearest covariance: estimates of small variances may come out below 0."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.maximum(values, 0.0) @ vectors.T)


def assumed(
    methods: int, *, accuracy: float, agreement: float, seed_effect: float = SEED_EFFECT
) -> Components:
    """Return the components of a study that does not exist yet, of methods that are equally good.

    Args:
        methods: how many.
        accuracy: expected.
        agreement: correlation of two trainings' outcomes on a row, 0 to 1.
        seed_effect: standard deviation between the trainings of a method.
    """
    variance = accuracy * (1 - accuracy)
    # Half of what two trainings do not share is the method's own, half the training's.
    own = (1 - agreement) / 2
    shared = np.full((methods, methods), agreement * variance)
    return Components(
        names=[f"method {n + 1}" for n in range(methods)],
        scores=np.full(methods, accuracy),
        units=shared + np.diag(np.full(methods, own * variance)),
        residual=np.full(methods, own * variance),
        seeds=np.full(methods, seed_effect**2),
        assumed=True,
    )
