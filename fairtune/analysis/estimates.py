"""The score of each method and its 95% interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fairtune.analysis.crossed import FEWEST_SEEDS, crossed_error
from fairtune.analysis.formats import number
from fairtune.analysis.sample import Sample, sample_of, sample_of_runs
from fairtune.analysis.scores import SCORES, Score
from fairtune.runs.record import Run, Runs

NORMAL = float(ndtri(0.975))
"""The normal distribution's quantile that a 95% interval reaches to."""
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class ScoreEstimate:
    """Mean score over seeds and its 95% interval [low, high]; `how` names the method."""

    mean: float
    low: float
    high: float
    half_width: float
    seeds: int
    rows: int
    how: str


def score_estimate(sample: Sample, name: str) -> ScoreEstimate:
    """Mean score with a 95% interval over test rows (or groups) and, with three seeds, over seeds.

    One or two seeds: the Wilson score interval (Wilson 1927, JASA 22:209); it says nothing about
    other seeds. More: Wilson with the effective number of rows p (1 - p) / V (Korn and Graubard
    1998, Survey Methodology 24:193; Dean and Pagano 2015, J. Surv. Stat. Methodol. 3:484), where
    1.96 sqrt(V) is the crossed 97.5% quantile of the mean's error. Groups of rows and other scores
    take the same way: V is what counts. A score that can be negative is shifted and scaled to
    [0, 1] for it.
    """
    outcomes, mean = sample.outcomes[name], sample.scores[name]
    by_unit = outcomes.mean(axis=0, dtype=np.float64)
    degrees = sample.row_degrees
    error = crossed_error(
        float(by_unit.var()) / sample.units, [outcomes], fewest=sample.fewest, row_degrees=degrees
    )
    low_end, width = sample.score.lowest, 1 - sample.score.lowest
    share = (mean - low_end) / width
    binomial = share * (1 - share)
    effective = float(sample.units)  # all right or all wrong: seeds that agree add no rows
    variance = (error.quantile(0.025) / NORMAL / width) ** 2
    if binomial > 0 and variance > 0:
        if sample.score.key == "accuracy" and sample.groups is None:
            # Outcomes can be no more informative than seeds * rows independent ones.
            variance = max(variance, binomial / (sample.seeds * sample.rows))
        effective = binomial / variance
    low, high = wilson(share, effective)
    return ScoreEstimate(
        mean,
        low_end + width * low,
        low_end + width * high,
        width * (high - low) / 2,
        sample.seeds,
        sample.rows,
        _how(sample),
    )


def wilson(share: float, rows: float) -> tuple[float, float]:
    """Return the 95% Wilson score interval of a share (Wilson 1927, JASA 22:209).

    statsmodels has it too, in a package that takes most of a second to import, which the stage of
    every method would wait for.

    Args:
        share: that was seen, from 0 to 1.
        rows: that it is of; need not be whole.
    """
    weight = NORMAL**2 / rows
    half = NORMAL * math.sqrt(share * (1 - share) / rows + weight / (4 * rows))
    middle = share + weight / 2
    return (middle - half) / (1 + weight), (middle + half) / (1 + weight)


def _how(sample: Sample) -> str:
    """Return how the interval came about."""
    what = f"{number(sample.rows)} test rows"
    if sample.groups is not None:
        what += f" in {number(sample.groups)} groups"
    if sample.covers_seeds:
        return f"Wilson interval with the crossed error of {sample.seeds} seeds and {what}"
    few = "one seed" if sample.seeds == 1 else f"{sample.seeds} seeds"
    return f"Wilson interval over {what}; other seeds are not covered ({few})"


def accuracy_estimate(correct: BoolArray, *, fewest: int = FEWEST_SEEDS) -> ScoreEstimate:
    """Return the accuracy of one method, as `score_estimate` does.

    Args:
        correct: which rows are right, (seeds, rows).
        fewest: seeds from which on the interval covers them.

    Raises:
        ValueError: `correct` is not a boolean array of that shape with at least one element.
    """
    return score_estimate(sample_of({"": correct}, fewest=fewest), "")


def correctness(of_method: Sequence[Run]) -> BoolArray:
    """Return which test rows each of a method's runs got right, shape (seeds, rows)."""
    return np.stack([run.predictions.correct for run in of_method])


def estimates(runs: Runs, *, score: Score = SCORES["accuracy"]) -> dict[str, ScoreEstimate]:
    """Return each method's score on the test rows with its 95% interval."""
    sample = sample_of_runs(runs, score=score)
    return {name: score_estimate(sample, name) for name in sample.names}
