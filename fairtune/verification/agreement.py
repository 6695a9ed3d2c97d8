"""Whether runs say what the committed ones say, row by row from the predictions.

The test is McNemar's, exact, with one seed; with several it is the larger of that (a row as a
cluster) and the two-sided p of the difference on the error of rows and seeds
(`fairtune.analysis.crossed`). It takes the two sets of seeds as independent, which is right where
machines draw other masks of dropout. Over the methods its p is corrected after Holm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fairtune.analysis.crossed import crossed_error, row_variance
from fairtune.analysis.estimates import BoolArray, correctness
from fairtune.analysis.failures import unlearned
from fairtune.analysis.mcnemar import exact_mcnemar
from fairtune.analysis.pairs import POWER
from fairtune.runs.record import Run
from fairtune.verification.differences import (
    EXECUTION,
    Pair,
    circumstances,
    other_data,
    parameters,
)

ALPHA = 0.05
SAME, AGREES, CONFLICT = "the same", "in agreement", "in conflict"
NOT_COMPARABLE, NOT_COMMITTED = "not comparable", "not committed"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One method held against its committed runs; None where nothing could be compared."""

    method: str
    answer: str
    reason: str = ""
    """In words: how much is the same, or why it cannot be compared."""
    seeds: list[int]
    """The seeds compared."""
    committed_accuracy: float | None = None
    accuracy: float | None = None
    """Share of test rows predicted right here, mean over the seeds."""
    predictions: int | None = None
    """Test rows times seeds."""
    changed: int | None = None
    """Predictions of another class."""
    largest_difference: float | None = None
    """Of a class probability."""
    p_value: float | None = None
    p_holm: float | None = None
    detectable: float | None = None
    """Smallest true difference in accuracy that the test finds with 80% power."""
    differs: dict[str, Pair]
    """What is not the same in device, precision, kernels and libraries: committed, here."""


def check_all(pairs: Mapping[str, Sequence[tuple[Run, Run]]]) -> list[Check]:
    """Hold each method's runs against the committed ones.

    Args:
        pairs: method -> (committed, here) for each seed that both have; none is "not committed".
    """
    # 0.6 s to import, so not at the top of the module.
    from statsmodels.stats.multitest import multipletests

    # What can be detected is told for the smallest of Holm's levels: no less than that.
    level = ALPHA / max(len(pairs), 1)
    checks = [check(method, of_method, level=level) for method, of_method in pairs.items()]
    tested = [one.p_value for one in checks if one.p_value is not None]
    adjusted = iter(multipletests(tested, method="holm")[1] if tested else [])
    return [one if one.p_value is None else _judged(one, float(next(adjusted))) for one in checks]


def check(method: str, pairs: Sequence[tuple[Run, Run]], *, level: float = ALPHA) -> Check:
    """Compare one method's runs with the committed ones, before any correction."""
    seeds = [here.record.seed for _, here in pairs]
    if not pairs:
        return Check(method=method, answer=NOT_COMMITTED, seeds=[], differs={})
    differs: dict[str, Pair] = {}
    for committed, here in pairs:
        differs = circumstances(committed.record, here.record) | differs
    lack = next(filter(None, (_incomparable(*pair) for pair in pairs)), None)
    if lack:
        return Check(
            method=method, answer=NOT_COMPARABLE, reason=lack, seeds=seeds, differs=differs
        )
    before, now = [list(runs) for runs in zip(*pairs, strict=True)]
    ours, theirs = correctness(before), correctness(now)
    p_value, detectable = tested(ours, theirs, level=level)
    gaps = [
        float(np.abs(a.predictions.probabilities - b.predictions.probabilities).max())
        for a, b in pairs
    ]
    changed = sum(int((a.predictions.predicted != b.predictions.predicted).sum()) for a, b in pairs)
    answer, reason = "", ""
    if max(gaps) == 0:
        answer = SAME
    elif changed == 0:
        answer, reason = AGREES, "the same predictions, other digits"
    elif nothing := _learned_nothing(before, now):
        answer, reason = CONFLICT, nothing
    return Check(
        method=method,
        answer=answer,
        reason=reason,
        seeds=seeds,
        committed_accuracy=float(ours.mean()),
        accuracy=float(theirs.mean()),
        predictions=ours.size,
        changed=changed,
        largest_difference=max(gaps),
        p_value=p_value,
        detectable=detectable,
        differs=differs,
    )


def tested(before: BoolArray, now: BoolArray, *, level: float) -> tuple[float, float]:
    """Return the p of no difference, and the smallest one that is found with 80% power.

    Args:
        before: which rows the committed runs got right, (seeds, rows).
        now: the same of the runs here.
        level: two-sided, that the smallest difference is told for.
    """
    sums = before.sum(axis=0, dtype=np.int64) - now.sum(axis=0, dtype=np.int64)
    seeds, rows = before.shape
    variance = row_variance(sums / seeds, grain=1.0)
    error = crossed_error(variance, [before, now], fewest=2)
    p_value = exact_mcnemar(sums)
    if seeds > 1:
        p_value = max(p_value, 2 * error.tail(abs(int(sums.sum())) / (seeds * rows)))
    return p_value, error.quantile(level / 2) + error.quantile(1 - POWER)


def _judged(one: Check, p_holm: float) -> Check:
    """Return the check with its corrected p, and the answer that follows from it."""
    if one.answer:
        return replace(one, p_holm=p_holm)
    if p_holm <= ALPHA:
        reason = "the accuracies differ by more than the paired test allows"
        return replace(one, p_holm=p_holm, answer=CONFLICT, reason=reason)
    reason = "no difference in accuracy beyond what the paired test allows"
    return replace(one, p_holm=p_holm, answer=AGREES, reason=reason)


def _incomparable(committed: Run, here: Run) -> str | None:
    """Return why two runs of one method and seed cannot be compared, None where they can."""
    if data := other_data(committed.record, here.record):
        return f"other data: {data}"
    ours, theirs = committed.predictions, here.predictions
    if ours.row_ids != theirs.row_ids or not np.array_equal(ours.labels, theirs.labels):
        return "other data: the test rows or their labels are others"
    changed = {
        key: pair
        for key, pair in parameters(committed.record, here.record).items()
        if key not in EXECUTION
    }
    if changed:
        said = ", ".join(f"{key} is {a} there and {b} here" for key, (a, b) in changed.items())
        return f"other parameters: {said}"
    return None


def _learned_nothing(before: list[Run], now: list[Run]) -> str:
    """Return which seeds learned nothing on one side alone.

    One such seed of several makes the error of their mean so large that the test finds nothing. It
    counts where the exact test of its two models says so too, corrected after Bonferroni.
    """
    there, here = (unlearned({"": runs}).get("", []) for runs in (before, now))
    said = []
    for a, b in zip(before, now, strict=True):
        seed = b.record.seed
        if (seed in there) == (seed in here):
            continue
        alone, _ = tested(correctness([a]), correctness([b]), level=ALPHA)
        if alone <= ALPHA / len(now):
            said.append(f"seed {seed} learned nothing {'there' if seed in there else 'here'}")
    return ", ".join(said)
