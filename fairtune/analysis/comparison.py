"""Set the methods side by side: what `metrics/comparison.json` holds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from fairtune.analysis import fairness
from fairtune.analysis.estimates import correctness
from fairtune.analysis.quality import (
    accuracy_by_length,
    agreement,
    brier_score,
    expected_calibration_error,
    macro_f1,
)
from fairtune.analysis.verdicts import PairVerdict, compare_all, supported_ranks
from fairtune.core.errors import UserError
from fairtune.core.params import Compare
from fairtune.runs.record import Run, Runs

# Bounds, in tokens, of the length buckets: quartiles of the test rows.
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
LEARNED_ALPHA = 0.05


def verdicts(runs: Runs, rules: Compare) -> list[PairVerdict]:
    """Return the verdict on every pair of methods.

    Raises:
        UserError: the runs were not tested on the same rows.
    """
    first = next(iter(runs.values()))[0].predictions.row_ids
    for name, of_method in runs.items():
        if any(run.predictions.row_ids != first for run in of_method):
            raise UserError(f"runs/{name}: tested on other rows; run `dvc repro`")
    if len(runs) < 2:
        return []
    correct = {name: correctness(of_method) for name, of_method in runs.items()}
    return compare_all(correct, margin=rules.margin, resamples=rules.resamples)


def comparison(runs: Runs, found: Sequence[PairVerdict], *, rules: Compare) -> dict[str, Any]:
    """Return verdicts, quality by method, agreement and the fairness manifest.

    Args:
        runs: method -> one run a seed.
        found: the verdicts.
        rules: margin and resamples.
    """
    first = next(iter(runs.values()))
    return {
        "margin": rules.margin,
        "seeds": len(first),
        "test_rows": len(first[0].predictions.row_ids),
        "pairs": {f"{v.method_a}_vs_{v.method_b}": pair_figures(v) for v in found},
        "methods": {
            name: quality(of_method) | _rank(name, runs, found) for name, of_method in runs.items()
        },
        "agreement": {
            f"{a}_vs_{b}": _agreement(runs[a], runs[b]) for a, b in combinations(runs, 2)
        },
        "unlearned": unlearned(runs),
        "fairness": fairness.manifest(runs),
    }


def unlearned(runs: Runs) -> dict[str, list[int]]:
    """Return the seeds of the trainings that learned nothing that shows, by method.

    Such a training gets no more test rows right than naming their commonest class would: the exact
    one-sided binomial test does not reject that at 5%.
    """
    found: dict[str, list[int]] = {}
    for name, of_method in runs.items():
        for run in of_method:
            labels, correct = run.predictions.labels, run.predictions.correct
            commonest = float(np.bincount(labels).max()) / len(labels)
            test = stats.binomtest(
                int(correct.sum()), len(labels), commonest, alternative="greater"
            )
            if test.pvalue >= LEARNED_ALPHA:
                found.setdefault(name, []).append(run.record.seed)
    return found


def pair_figures(verdict: PairVerdict) -> dict[str, Any]:
    """Return one verdict, flat: accuracy of the first method minus that of the second."""
    pair = verdict.comparison
    return {
        "verdict": verdict.verdict,
        "winner": verdict.winner,
        "loser": verdict.loser,
        "difference": round(pair.difference, 4),
        "low": round(pair.low, 4),
        "high": round(pair.high, 4),
        "p_holm": round(verdict.adjusted_p, 4),
        "p_mcnemar": round(pair.mcnemar_p, 4),
        "p_equivalence_holm": round(verdict.adjusted_equivalence_p, 4),
        "only_first_right": pair.only_a,
        "only_second_right": pair.only_b,
        "detectable": round(pair.detectable, 4),
        "significant": verdict.significant,
    }


def quality(of_method: Sequence[Run]) -> dict[str, Any]:
    """Return macro F1, calibration error, Brier score and accuracy by length of one method."""
    labels = of_method[0].predictions.labels
    predicted = np.stack([run.predictions.predicted for run in of_method])
    shares = np.stack([run.predictions.probabilities for run in of_method]).astype(np.float64)
    # Rounding to fp32 leaves sums a little off one.
    shares /= shares.sum(axis=-1, keepdims=True)
    tokens = of_method[0].predictions.tokens
    edges = np.unique(np.quantile(tokens, QUARTERS).round().astype(int))
    buckets = (
        accuracy_by_length(correctness(of_method), tokens, edges.tolist()) if len(edges) > 1 else []
    )
    return {
        "macro_f1": round(macro_f1(labels, predicted, shares.shape[-1]), 4),
        "calibration_error": round(expected_calibration_error(labels, shares), 4),
        "brier": round(brier_score(labels, shares), 4),
        "accuracy_by_tokens": {
            f"{bucket.low:g} to {bucket.high:g}": round(bucket.accuracy, 4)
            for bucket in buckets
            if bucket.accuracy is not None
        },
    }


def _rank(name: str, runs: Runs, found: Sequence[PairVerdict]) -> dict[str, Any]:
    """Return the ranks that the evidence leaves open to a method; one where it supports one."""
    ranks = supported_ranks(found, runs)[name]
    return {"best_rank": ranks.best, "worst_rank": ranks.worst}


def _agreement(a: Sequence[Run], b: Sequence[Run]) -> dict[str, float | None]:
    shared = agreement(
        np.stack([run.predictions.predicted for run in a]),
        np.stack([run.predictions.predicted for run in b]),
    )
    kappa = None if shared.kappa is None else round(shared.kappa, 4)
    return {"share": round(shared.share, 4), "kappa": kappa}
