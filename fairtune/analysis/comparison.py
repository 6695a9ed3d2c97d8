"""Set the methods side by side: what `metrics/comparison.json` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

import numpy as np

from fairtune.analysis import fairness, looks, search
from fairtune.analysis.choice import as_json, choose
from fairtune.analysis.components import components
from fairtune.analysis.costs import memory_of_runs, weight
from fairtune.analysis.estimates import correctness, score_estimate
from fairtune.analysis.failures import outlying, unlearned
from fairtune.analysis.metrics import costs_of
from fairtune.analysis.pairs import POWER
from fairtune.analysis.planning import needed
from fairtune.analysis.quality import (
    accuracy_by_length,
    agreement,
    brier_score,
    expected_calibration_error,
    macro_f1,
)
from fairtune.analysis.sample import Sample, sample_of_runs
from fairtune.analysis.scores import SCORES
from fairtune.analysis.verdicts import PairVerdict, compare_all, supported_ranks
from fairtune.core.params import Compare
from fairtune.runs.record import Run, Runs
from fairtune.runs.search import Search

UNEQUAL = 1.3
"""Times its even share that the commonest class has where classes count as unequal."""
# Bounds, in tokens, of the length buckets: quartiles of the test rows.
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def verdicts(runs: Runs, rules: Compare) -> list[PairVerdict]:
    """Return the verdict on every pair of methods.

    Raises:
        UserError: the runs were not tested on the same rows.
    """
    return judged(sample_of_runs(runs, score=SCORES[rules.metric]), rules)


def judged(sample: Sample, rules: Compare) -> list[PairVerdict]:
    """Return the verdict on every pair of methods: those of the first look that decided it.

    Where looks were planned (`compare.looks`), each has a share of the level
    (`fairtune.analysis.looks`), and what the trainings up to it decided stays decided.
    """
    if len(sample.outcomes) < 2:
        return []
    found: dict[tuple[str, str], PairVerdict] = {}
    for seeds, alpha in looks.until(sample.seeds, rules.looks):
        at_look = compare_all(
            sample.first(seeds), margin=rules.margin, alpha=alpha, resamples=rules.resamples
        )
        for verdict in at_look:
            pair = (verdict.method_a, verdict.method_b)
            if pair in found and found[pair].verdict != "cannot tell":
                verdict = _at_a_later_look(found[pair], verdict)
            found[pair] = verdict
    return list(found.values())


def _at_a_later_look(decided: PairVerdict, later: PairVerdict) -> PairVerdict:
    """Return a verdict as it was read, with what the choice needs from all trainings since."""
    now = later.comparison
    kept = replace(decided.comparison, behind_a=now.behind_a, behind_b=now.behind_b)
    return replace(decided, comparison=kept)


def comparison(
    runs: Runs,
    found: Sequence[PairVerdict],
    *,
    rules: Compare,
    searches: Mapping[str, Search] | None = None,
) -> dict[str, Any]:
    """Return verdicts, choice, quality by method, agreement, searches and the fairness manifest.

    Args:
        runs: method -> one run a seed.
        found: the verdicts.
        rules: metric, margin, resamples and looks.
        searches: method -> the search of its learning rate, of those that searched.
    """
    first = next(iter(runs.values()))
    sample = sample_of_runs(runs, score=SCORES[rules.metric])
    failed = unlearned(runs)
    seeds = [run.record.seed for run in first]
    level = looks.until(sample.seeds, rules.looks)[-1][1]
    return {
        "metric": rules.metric,
        "margin": rules.margin,
        "plausible": rules.plausible,
        "seeds": len(first),
        "test_rows": sample.rows,
        "groups": sample.groups,
        # Verdicts on methods take seeds enough: else they speak of these trained models alone.
        "about": "methods" if sample.covers_seeds else "trainings",
        "level": level,
        "looks": looks.planned(rules.looks),
        "pairs": {f"{v.method_a}_vs_{v.method_b}": pair_figures(v) for v in found},
        "methods": {
            name: quality(of_method) | _place(name, sample, found)
            for name, of_method in runs.items()
        },
        "agreement": {
            f"{a}_vs_{b}": _agreement(runs[a], runs[b]) for a, b in combinations(runs, 2)
        },
        "unlearned": failed,
        "outlying": outlying(sample, seeds, known=failed),
        **_classes(runs),
        "choice": _choice(runs, sample, found, failed=failed, level=level, rules=rules),
        "needed": _needed(sample, rules) if len(runs) > 1 else None,
        "search": search.summary(
            searches or {}, list(runs), found, metric=rules.metric, margin=rules.margin
        ),
        "fairness": fairness.manifest(runs),
    }


def _classes(runs: Runs) -> dict[str, Any]:
    """Return the share of the test rows that are of their commonest class, and if that is much."""
    first = next(iter(runs.values()))[0].predictions
    share = float(np.bincount(first.labels).max()) / len(first.labels)
    unequal = share > UNEQUAL / first.probabilities.shape[1]
    return {"commonest_class": round(share, 4), "unequal_classes": unequal}


def _choice(
    runs: Runs,
    sample: Sample,
    found: Sequence[PairVerdict],
    *,
    failed: Mapping[str, Sequence[int]],
    level: float,
    rules: Compare,
) -> dict[str, Any]:
    """Return which method to use, for a file."""
    memory = memory_of_runs(runs)
    behind: dict[tuple[str, str], float] = {}
    for verdict in found:
        pair = (verdict.method_a, verdict.method_b)
        figures = pair_figures(verdict)
        behind[pair], behind[pair[::-1]] = figures["first_behind"], figures["second_behind"]
    made = choose(
        list(runs),
        behind=lambda one, rival: behind[one, rival],
        # As the files print them: who reads these must come to the same choice.
        scores={name: round(score, 4) for name, score in sample.scores.items()},
        weights={name: weight(costs_of(of), memory) for name, of in runs.items()},
        failed=list(failed),
        provable=sample.covers_seeds,
        plausible=rules.plausible,
        alpha=level,
    )
    return as_json(made)


def _needed(sample: Sample, rules: Compare) -> dict[str, Any]:
    """Return what would settle the choice, for a file."""
    found = needed(components(sample), rows=sample.rows, seeds=sample.seeds, margin=rules.margin)
    return asdict(found) | {"power": POWER}


def pair_figures(verdict: PairVerdict) -> dict[str, Any]:
    """Return one verdict, flat: score of the first method minus that of the second."""
    pair = verdict.comparison
    return {
        "verdict": verdict.verdict,
        "winner": verdict.winner,
        "loser": verdict.loser,
        "difference": round(pair.difference, 4),
        "low": round(pair.low, 4),
        "high": round(pair.high, 4),
        "equivalence_low": round(pair.inner_low, 4),
        "equivalence_high": round(pair.inner_high, 4),
        "p": round(pair.p_value, 4),
        "p_equivalence": round(pair.equivalence_p, 4),
        "p_mcnemar": None if pair.mcnemar_p is None else round(pair.mcnemar_p, 4),
        "first_behind": round(pair.behind_a, 6),
        "second_behind": round(pair.behind_b, 6),
        "only_first_right": pair.only_a,
        "only_second_right": pair.only_b,
        "detectable": round(pair.detectable, 4),
        "significant": verdict.significant,
        "seeds": pair.seeds,
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


def _place(name: str, sample: Sample, found: Sequence[PairVerdict]) -> dict[str, Any]:
    """Return a method's score and the ranks that the evidence leaves open; one if it supports one.

    Trained models are not ranked as methods: all ranks stay open.
    """
    estimate = score_estimate(sample, name)
    ranks = supported_ranks(found if sample.covers_seeds else [], sample.names)[name]
    return {
        "score": round(estimate.mean, 4),
        "score_low": round(estimate.low, 4),
        "score_high": round(estimate.high, 4),
        "best_rank": ranks.best,
        "worst_rank": ranks.worst,
    }


def _agreement(a: Sequence[Run], b: Sequence[Run]) -> dict[str, float | None]:
    shared = agreement(
        np.stack([run.predictions.predicted for run in a]),
        np.stack([run.predictions.predicted for run in b]),
    )
    kappa = None if shared.kappa is None else round(shared.kappa, 4)
    return {"share": round(shared.share, 4), "kappa": kappa}
