"""The scores that a study may decide by, each computed from counts and from single test rows.

A score is a function of three counts of each class: how often it is right, how often it is
predicted and how often it occurs. `Score.outcomes` splits it into one figure a row whose mean is
the score: what the row adds, to first order (the infinitesimal jackknife: Jaeckel 1972; Efron 1982,
The Jackknife, the Bootstrap and Other Resampling Plans, ch. 6). So errors, intervals and tests of
every score follow from means over rows, as those of accuracy do, where the figure is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fairtune.runs.record import Run

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer]
Counts = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One way to say how good predictions are; 1 is perfect."""

    key: str
    """In params.yaml and metrics/<method>.json."""
    name: str
    """What prose and charts call it."""
    plural: str
    value: Callable[[Counts, Counts, Counts], FloatArray]
    """From right, predicted and true rows of each class, (..., classes) each; (...)."""
    slopes: Callable[
        [FloatArray, FloatArray, FloatArray], tuple[FloatArray, FloatArray, FloatArray]
    ]
    """Its derivatives by these three, given as shares of all rows; (classes,) each."""
    lowest: float = 0.0
    """The worst value that it can take."""

    def of(self, labels: IntArray, predicted: IntArray, classes: int) -> FloatArray:
        """Return the score of each seed, (seeds,).

        Args:
            labels: true classes, (rows,).
            predicted: (seeds, rows).
            classes: how many there are.
        """
        return self.value(*counts(labels, predicted, classes))

    def outcomes(self, labels: IntArray, predicted: IntArray, classes: int) -> FloatArray:
        """Return a figure for each seed and row, (seeds, rows), whose mean over rows is the score.

        Args:
            labels: true classes, (rows,).
            predicted: (seeds, rows).
            classes: how many there are.
        """
        made = np.empty(predicted.shape)
        for place, of_seed in enumerate(predicted):
            shares = [part[0] / len(labels) for part in counts(labels, of_seed[None], classes)]
            right, named, true = self.slopes(*shares)
            added = right[labels] * (of_seed == labels) + named[of_seed] + true[labels]
            made[place] = float(self.value(*shares)) + added - added.mean()
        return made


def counts(labels: IntArray, predicted: IntArray, classes: int) -> tuple[Counts, Counts, Counts]:
    """Return right, predicted and true rows of each class, (seeds, classes) each."""
    seeds = len(predicted)
    place = np.arange(seeds)[:, None] * classes
    hit = predicted == labels

    def counted(cells: IntArray) -> Counts:
        return np.bincount(cells.ravel(), minlength=seeds * classes).reshape(seeds, classes)

    true = np.broadcast_to(np.bincount(labels, minlength=classes), (seeds, classes))
    return counted((place + predicted)[hit]), counted(place + predicted), true


def _share(part: Counts, whole: Counts) -> FloatArray:
    """Return part / whole, 0 where there is nothing to divide."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


def _accuracy(right: Counts, predicted: Counts, true: Counts) -> FloatArray:
    return np.asarray(right.sum(-1) / true.sum(-1))


def _accuracy_slopes(
    right: FloatArray, predicted: FloatArray, true: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    return np.ones_like(right), np.zeros_like(right), np.zeros_like(right)


def _balanced(right: Counts, predicted: Counts, true: Counts) -> FloatArray:
    """Mean recall of the classes that occur (Brodersen et al. 2010, ICPR, p. 3121)."""
    return np.asarray(_share(right, true).sum(-1) / np.maximum((true > 0).sum(-1), 1))


def _balanced_slopes(
    right: FloatArray, predicted: FloatArray, true: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    among = (true > 0).sum()
    by_right = _share(np.ones_like(true), true) / among
    return by_right, np.zeros_like(right), -_share(right, true) * by_right


def _macro_f1(right: Counts, predicted: Counts, true: Counts) -> FloatArray:
    """Mean over classes of F1 = 2 TP / (2 TP + FP + FN); one that occurs nowhere is left out.

    Averaged F1 in the words of Opitz and Burst 2019, arXiv:1911.03347.
    """
    seen = predicted + true
    return np.asarray(_share(2 * right, seen).sum(-1) / np.maximum((seen > 0).sum(-1), 1))


def _macro_f1_slopes(
    right: FloatArray, predicted: FloatArray, true: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    seen = predicted + true
    inverse = _share(np.ones_like(seen), seen) / (seen > 0).sum()
    by_seen = -_share(2 * right, seen) * inverse
    return 2 * inverse, by_seen, by_seen


def _correlation_parts(
    right: Counts, predicted: Counts, true: Counts
) -> tuple[FloatArray, FloatArray]:
    """Return the covariance of predicted and true class, and the product of their variances."""
    rows = np.asarray(true.sum(-1), dtype=np.float64)
    covariance = right.sum(-1) / rows - (predicted * true).sum(-1) / rows**2
    spread = (1 - (predicted**2).sum(-1) / rows**2) * (1 - (true**2).sum(-1) / rows**2)
    return np.asarray(covariance), np.asarray(spread)


def _matthews(right: Counts, predicted: Counts, true: Counts) -> FloatArray:
    """R_K of Gorodkin 2004, Comput. Biol. Chem. 28:367; 0 where one class alone is predicted."""
    covariance, spread = _correlation_parts(right, predicted.astype(float), true.astype(float))
    return _share(covariance, np.sqrt(np.maximum(spread, 0)))


def _matthews_slopes(
    right: FloatArray, predicted: FloatArray, true: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    _, spread = _correlation_parts(right, predicted, true)
    if spread <= 0:
        return np.zeros_like(right), np.zeros_like(right), np.zeros_like(right)
    score, root = float(_matthews(right, predicted, true)), np.sqrt(spread)
    of_named, of_true = 1 - (predicted**2).sum(), 1 - (true**2).sum()
    return (
        np.ones_like(right) / root,
        -true / root + score * predicted / of_named,
        -predicted / root + score * true / of_true,
    )


SCORES = {
    score.key: score
    for score in (
        Score(
            key="accuracy",
            name="accuracy",
            plural="accuracies",
            value=_accuracy,
            slopes=_accuracy_slopes,
        ),
        Score(
            key="macro_f1",
            name="macro F1",
            plural="macro F1 scores",
            value=_macro_f1,
            slopes=_macro_f1_slopes,
        ),
        Score(
            key="balanced_accuracy",
            name="balanced accuracy",
            plural="balanced accuracies",
            value=_balanced,
            slopes=_balanced_slopes,
        ),
        Score(
            key="matthews",
            name="Matthews correlation",
            plural="Matthews correlations",
            value=_matthews,
            slopes=_matthews_slopes,
            lowest=-1.0,
        ),
    )
}


def predicted(of_method: Sequence[Run]) -> IntArray:
    """Return the class that each of a method's runs gives each test row, (seeds, rows)."""
    return np.stack([run.predictions.predicted for run in of_method])


def by_units(outcomes: FloatArray, groups: IntArray | None) -> FloatArray:
    """Return one figure for each unit that was drawn, (seeds, units), of the same mean.

    Rows are units where there are no groups. Else the unit is the group: what its rows add
    together, so that the spread of the units is that of the cluster-robust error (Liang and Zeger
    1986, Biometrika 73:13; for evaluations Miller 2024, arXiv:2411.00640).

    Args:
        outcomes: (seeds, rows).
        groups: the number of each row's group from 0 on, (rows,).
    """
    if groups is None:
        return outcomes
    many, means = int(groups.max()) + 1, outcomes.mean(axis=1, keepdims=True)
    sums = np.stack([np.bincount(groups, weights=row, minlength=many) for row in outcomes - means])
    return np.asarray(means + sums * (many / outcomes.shape[1]))
