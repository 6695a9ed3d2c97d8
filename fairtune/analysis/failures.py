"""Trainings that failed: those that learned nothing, and those far from their method's others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fairtune.analysis.crossed import FloatArray
from fairtune.analysis.quality import confusion_matrix
from fairtune.analysis.sample import Sample
from fairtune.runs.record import Runs

LEARNED_ALPHA = 0.05
FAR = 6.0
"""Standard deviations of ordinary trainings. Of normal ones any is that far by chance in 1 to 2% of
studies of three seeds, and in less than 0.5% of five (simulated)."""
FEWEST = 3
"""Trainings of a method from which on one of them can be told from the others."""


def learned_p(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> float:
    """Return the one-sided p of no association between prediction and label.

    Agreement beyond chance (Cohen's kappa) against predictions that ignore the text but name each
    class as often: two classes by the hypergeometric distribution (Fisher's exact test), more by
    kappa's variance without association (Fleiss, Cohen and Everitt 1969, Psychol. Bull. 72:323).
    Accuracy is no such test: 97% are right of 97:3 classes where only the commonest is named, and
    a useful classifier of rare cases may have fewer rows right than that.

    Args:
        labels: true classes, (rows,).
        predicted: (rows,).
        classes: how many there are.
    """
    return learned_p_of(confusion_matrix(labels, predicted[None], classes))


def learned_p_of(table: NDArray[np.int64]) -> float:
    """Return the same as `learned_p`, from the rows by true and predicted class.

    Args:
        table: true classes by predicted classes, (classes, classes).
    """
    if np.count_nonzero(table.sum(axis=0)) < 2 or np.count_nonzero(table.sum(axis=1)) < 2:
        return 1.0
    if len(table) == 2:
        return float(stats.fisher_exact(table, alternative="greater").pvalue)
    # 0.6 s to import, so not at the top of the module.
    from statsmodels.stats.inter_rater import cohens_kappa

    return float(cohens_kappa(table).pvalue_one_sided)


def unlearned(runs: Runs) -> dict[str, list[int]]:
    """Return the seeds of the trainings that learned nothing that shows, by method."""
    found: dict[str, list[int]] = {}
    for name, of_method in runs.items():
        for run in of_method:
            said = run.predictions
            if learned_p(said.labels, said.predicted, said.probabilities.shape[1]) >= LEARNED_ALPHA:
                found.setdefault(name, []).append(run.record.seed)
    return found


def outlying(
    sample: Sample, seeds: Sequence[int], *, known: dict[str, list[int]]
) -> dict[str, dict[str, float]]:
    """Return the trainings far from their method's others: method -> seed -> distance.

    The distance is that from the median of the method's other trainings. The yardstick is the
    spread of ordinary trainings of this study: the median difference of two trainings of a method,
    which a few far ones do not move, made a standard deviation; but at least what the test rows
    alone make of such a difference.

    Args:
        sample: what the study found.
        seeds: of the trainings, in their order.
        known: trainings that learned nothing: named already, and no yardstick.
    """
    if sample.seeds < FEWEST:
        return {}
    distances, noise, gaps_of_two = {}, [], []
    for name, outcomes in sample.outcomes.items():
        kept = [n for n, seed in enumerate(seeds) if seed not in known.get(name, [])]
        if len(kept) < FEWEST:
            continue
        scores = outcomes.mean(axis=1)[kept]
        distances[name] = {
            str(seeds[n]): float(scores[place] - np.median(np.delete(scores, place)))
            for place, n in enumerate(kept)
        }
        noise.append(_row_noise(outcomes[kept].astype(np.float64)))
        gaps_of_two += [abs(float(a - b)) for a, b in combinations(scores, 2)]
    if not distances:
        return {}
    of_two = float(np.median(gaps_of_two)) / (2**0.5 * float(stats.norm.ppf(0.75)))
    ordinary = max(of_two, float(np.median(noise)))
    found = {
        name: {seed: round(gap, 4) for seed, gap in gaps.items() if abs(gap) > FAR * ordinary}
        for name, gaps in distances.items()
    }
    return {name: gaps for name, gaps in found.items() if gaps}


def _row_noise(outcomes: FloatArray) -> float:
    """Return the standard deviation of the difference of two trainings by the rows alone."""
    root = outcomes.shape[1] ** 0.5
    return float(
        np.median([(one - other).std() / root for one, other in combinations(outcomes, 2)])
    )
