"""Whether runs say what the committed ones say, row by row from the predictions.

The test is that of the verdicts (`fairtune.analysis.pairs`): exact McNemar with one seed; with
several, also the difference on the error of rows and seeds. It takes the two sets of seeds as
independent, which is right where machines draw other masks of dropout. Over the methods its p is
corrected after Holm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fairtune.analysis.comparison import unlearned
from fairtune.analysis.estimates import correctness
from fairtune.analysis.pairs import paired_comparison
from fairtune.core.params import Compare
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


def check_all(pairs: Mapping[str, Sequence[tuple[Run, Run]]], *, rules: Compare) -> list[Check]:
    """Hold each method's runs against the committed ones.

    Args:
        pairs: method -> (committed, here) for each seed that both have; none is "not committed".
        rules: margin and resamples of the paired comparison.
    """
    # 0.6 s to import, so not at the top of the module.
    from statsmodels.stats.multitest import multipletests

    checks = [check(method, of_method, rules=rules) for method, of_method in pairs.items()]
    tested = [one.p_value for one in checks if one.p_value is not None]
    adjusted = iter(multipletests(tested, method="holm")[1] if tested else [])
    return [one if one.p_value is None else _judged(one, float(next(adjusted))) for one in checks]


def check(method: str, pairs: Sequence[tuple[Run, Run]], *, rules: Compare) -> Check:
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
    found = paired_comparison(
        correctness(before), correctness(now), margin=rules.margin, resamples=rules.resamples
    )
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
        committed_accuracy=found.accuracy_a,
        accuracy=found.accuracy_b,
        predictions=found.seeds * found.rows,
        changed=changed,
        largest_difference=max(gaps),
        p_value=found.p_value,
        detectable=found.detectable,
        differs=differs,
    )


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
        alone = paired_comparison(correctness([a]), correctness([b]), margin=0.01, resamples=100)
        if alone.mcnemar_p <= ALPHA / len(now):
            said.append(f"seed {seed} learned nothing {'there' if seed in there else 'here'}")
    return ", ".join(said)
