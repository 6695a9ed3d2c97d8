"""How good the predictions of one method are beyond accuracy: per class, calibration, by length.

Arrays: `labels` (rows,) and `predicted` (seeds, rows) hold class numbers 0 .. classes - 1,
`probabilities` is (seeds, rows, classes), `correct` is a boolean (seeds, rows), `lengths` (rows,)
is in tokens. Seeds weigh the same: all have the same rows. Each function raises ValueError, with
one line, for arrays that are empty or do not fit together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fairtune.analysis.estimates import BoolArray, accuracy_estimate
from fairtune.analysis.scores import SCORES

IntArray = npt.NDArray[np.integer]
FloatingArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class ReliabilityBin:
    """One bar of a reliability diagram: predictions with confidence in (low, high].

    count is over all seeds; confidence and accuracy are means, None in an empty bin.
    """

    low: float
    high: float
    confidence: float | None
    accuracy: float | None
    count: int


@dataclass(frozen=True)
class Agreement:
    """Share of predictions in which two methods agree, and Cohen's kappa of them.

    kappa is None where it is undefined: both methods always predict one and the same class.
    """

    share: float
    kappa: float | None


@dataclass(frozen=True)
class LengthBucket:
    """Accuracy on the rows of low to high tokens; None in an empty bucket."""

    low: float
    high: float
    rows: int
    accuracy: float | None
    half_width: float | None


def confusion_matrix(labels: IntArray, predicted: IntArray, classes: int) -> npt.NDArray[np.int64]:
    """Counts summed over seeds, (classes, classes): rows are true, columns predicted classes."""
    _check_predictions(labels, predicted, classes)
    return _crossed_counts(np.broadcast_to(labels, predicted.shape), predicted, classes)


def macro_f1(labels: IntArray, predicted: IntArray, classes: int) -> float:
    """Unweighted mean over classes of F1 = 2 TP / (2 TP + FP + FN), averaged over seeds; 0 to 1.

    F1: van Rijsbergen 1979, Information Retrieval, ch. 7; averaged over classes as in Opitz and
    Burst 2019, arXiv:1911.03347, "averaged F1". A class that neither occurs nor is predicted has no
    F1 and is left out of the mean, as scikit-learn does by default.
    """
    _check_predictions(labels, predicted, classes)
    return float(SCORES["macro_f1"].of(labels, predicted, classes).mean())


def expected_calibration_error(
    labels: IntArray, probabilities: FloatingArray, bins: int = 15
) -> float:
    """Mean over rows of |accuracy - confidence| of the row's bin, averaged over seeds; 0 to 1.

    Confidence is the probability of the predicted class; bins are of equal width (Guo, Pleiss, Sun
    and Weinberger 2017, On Calibration of Modern Neural Networks, ICML, eq. 3). Found for each seed
    and then averaged: pooled seeds could hide errors of opposite sign.
    """
    errors = []
    _check_probabilities(labels, probabilities)
    for of_seed in probabilities:
        filled = [b for b in reliability_bins(labels, of_seed[None], bins) if b.count]
        gaps = [abs((b.accuracy or 0) - (b.confidence or 0)) * b.count for b in filled]
        errors.append(sum(gaps) / len(labels))
    return float(np.mean(errors))


def reliability_bins(
    labels: IntArray, probabilities: FloatingArray, bins: int = 15
) -> list[ReliabilityBin]:
    """The bars of a reliability diagram, all seeds pooled: `bins` of equal width from 0 to 1.

    Guo et al. 2017, section 2: a bin takes confidences in (low, high].
    """
    _check_probabilities(labels, probabilities)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    confidence = probabilities.max(axis=2).astype(np.float64).ravel()
    right = (probabilities.argmax(axis=2) == labels).ravel()
    edges = np.linspace(0, 1, bins + 1)
    where = np.searchsorted(edges[1:-1], confidence, side="left")
    result = []
    for k in range(bins):
        inside = where == k
        count = int(inside.sum())
        mean = float(confidence[inside].mean()) if count else None
        accuracy = float(right[inside].mean()) if count else None
        result.append(ReliabilityBin(float(edges[k]), float(edges[k + 1]), mean, accuracy, count))
    return result


def brier_score(labels: IntArray, probabilities: FloatingArray) -> float:
    """Mean over rows and seeds of the sum over classes of (probability - [true class])^2.

    Brier 1950, Monthly Weather Review 78:1, in its multi-class form: from 0 (certain and right) to
    2 (certain and wrong); with two classes twice the score computed from one class alone.
    """
    _check_probabilities(labels, probabilities)
    truth = np.eye(probabilities.shape[2])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=2).mean())


def agreement(predicted_a: IntArray, predicted_b: IntArray) -> Agreement:
    """How often two methods predict the same class; both (seeds, rows), seed paired with seed.

    Cohen's kappa (Cohen 1960, Educ. Psychol. Meas. 20:37) of the predictions of all seeds pooled.
    """
    if predicted_a.shape != predicted_b.shape or predicted_a.ndim != 2:
        raise ValueError(
            f"both must be (seeds, rows), not {predicted_a.shape}, {predicted_b.shape}"
        )
    classes = 1 + max(int(predicted_a.max(initial=0)), int(predicted_b.max(initial=0)))
    _check_classes("predicted_a", predicted_a, classes)
    _check_classes("predicted_b", predicted_b, classes)
    # 0.6 s to import, so not at the top of the module.
    from statsmodels.stats.inter_rater import cohens_kappa

    table = _crossed_counts(predicted_a, predicted_b, classes)
    share = float(np.trace(table) / predicted_a.size)
    if np.count_nonzero(table) == 1 and share == 1:
        return Agreement(share, None)
    return Agreement(share, float(cohens_kappa(table, return_results=False)))


def accuracy_by_length(
    correct: BoolArray, lengths: IntArray, edges: Sequence[float]
) -> list[LengthBucket]:
    """Accuracy with its 95% half-width in each bucket of text length, from `edges` (tokens).

    A bucket takes low <= length < high, the last one high as well, so that texts truncated at the
    limit belong to it. The half-width is that of `accuracy_estimate`: Wilson's with one seed.
    Raises ValueError also where a length lies outside the edges: no row is dropped silently.
    """
    if correct.ndim != 2 or lengths.shape != correct.shape[1:]:
        raise ValueError(f"correct {correct.shape} and lengths {lengths.shape} do not fit together")
    if len(edges) < 2 or any(low >= high for low, high in pairwise(edges)):
        raise ValueError("edges must be at least two increasing numbers of tokens")
    if lengths.size and (lengths.min() < edges[0] or lengths.max() > edges[-1]):
        raise ValueError(f"a length lies outside the edges {edges[0]} to {edges[-1]}")
    where = np.searchsorted(np.asarray(edges[1:-1]), lengths, side="right")
    buckets = []
    for k, (low, high) in enumerate(pairwise(edges)):
        inside = where == k
        estimate = accuracy_estimate(correct[:, inside]) if inside.any() else None
        buckets.append(
            LengthBucket(
                float(low),
                float(high),
                int(inside.sum()),
                estimate.mean if estimate else None,
                estimate.half_width if estimate else None,
            )
        )
    return buckets


def _crossed_counts(
    first: npt.NDArray[np.integer], second: npt.NDArray[np.integer], classes: int
) -> npt.NDArray[np.int64]:
    cells = first.astype(np.int64).ravel() * classes + second.astype(np.int64).ravel()
    return np.bincount(cells, minlength=classes**2).astype(np.int64).reshape(classes, classes)


def _check_classes(name: str, values: IntArray, classes: int) -> None:
    if values.size == 0 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} must be a non-empty array of integers")
    if values.min() < 0 or values.max() >= classes:
        raise ValueError(f"{name} must hold class numbers from 0 to {classes - 1}")


def _check_predictions(labels: IntArray, predicted: IntArray, classes: int) -> None:
    if predicted.ndim != 2 or labels.shape != predicted.shape[1:]:
        raise ValueError(f"labels {labels.shape} do not fit predicted {predicted.shape}")
    _check_classes("labels", labels, classes)
    _check_classes("predicted", predicted, classes)


def _check_probabilities(labels: IntArray, probabilities: FloatingArray) -> None:
    if probabilities.ndim != 3 or labels.shape != probabilities.shape[1:2]:
        raise ValueError(f"labels {labels.shape} do not fit probabilities {probabilities.shape}")
    if probabilities.size == 0:
        raise ValueError("probabilities is empty")
    _check_classes("labels", labels, probabilities.shape[2])
    sums = probabilities.sum(axis=2)
    # Wide enough for a softmax in float16, and false for NaN.
    if not (probabilities.min() >= 0 and bool((np.abs(sums - 1) <= 0.01).all())):
        raise ValueError("probabilities must be 0 or more and sum to 1 over the classes")
