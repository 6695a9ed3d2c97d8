"""The flat metrics of one method: few keys, the same in each file, rounded at the source.

A further metric is one entry of the table: it stands in metrics/<method>.json, in the table of the
report and the README where it has a heading, and in the chart of accuracy where it is drawn. The
score that the study decides by (`compare.metric`) comes first, with its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairtune.analysis.costs import MEMORY_COUNTERS
from fairtune.analysis.estimates import ScoreEstimate, score_estimate
from fairtune.analysis.formats import decimals, number
from fairtune.analysis.quiet import mean
from fairtune.analysis.sample import sample_of_runs
from fairtune.analysis.scores import SCORES, Score
from fairtune.runs.record import Run

Value = float | int | None
Metrics = dict[str, Value]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure of a method over its seeds."""

    key: str
    """Its name in metrics/<method>.json."""
    measure: Callable[[Sequence[Run]], Value]
    """From the runs of a method, one a seed; None where it was not measured."""
    higher_is_better: bool
    heading: str = ""
    """Of its column in the table of metrics; empty where it has none of its own."""
    show: Callable[[float], str] = str
    """Prints it in that column."""
    half_width: str | None = None
    """Key of the metric that is the half-width of its 95% interval, printed beside it."""
    drawn_as: str = ""
    """What its panel of the chart of accuracy is called, a share between 0 and 1; empty: none."""
    bounds: Callable[[Sequence[Run]], tuple[float, float]] | None = None
    """Ends of its 95% interval, for the chart."""


def hundredths(share: float) -> str:
    """Return a share under a heading with '%'."""
    return number(100 * share, digits=1)


def figure(value: float) -> str:
    """Return seconds or MiB in a column."""
    return number(value, digits=min(1, decimals(value)))


def _score(score: Score, *, decides: bool) -> tuple[Metric, ...]:
    """Return the entries of a score; with those of its interval where it has a column."""

    def estimate(runs: Sequence[Run]) -> ScoreEstimate:
        return score_estimate(sample_of_runs({"": runs}, score=score), "")

    def bounds(runs: Sequence[Run]) -> tuple[float, float]:
        found = estimate(runs)
        return found.low, found.high

    half = f"{score.key}_ci95"
    value = Metric(  # mean over seeds
        key=score.key,
        measure=lambda runs: round(estimate(runs).mean, 4),
        higher_is_better=True,
        heading=f"{score.name[0].upper()}{score.name[1:]} (%)" if decides else "",
        show=hundredths,
        half_width=half if decides else None,
        drawn_as=score.name if decides else "",
        bounds=bounds,
    )
    if not decides:
        return (value,)
    width = Metric(
        key=half,
        measure=lambda runs: round(estimate(runs).half_width, 4),
        higher_is_better=False,
        show=hundredths,
    )
    return (value, width)


def _mean_of(field: str) -> Callable[[Sequence[Run]], Value]:
    """Return what takes the mean of a field of the record over the runs that count."""
    return lambda runs: mean([run.record for run in runs], field)


COSTS = (
    Metric(  # adapter and head
        key="trainable_parameters",
        measure=lambda runs: runs[0].record.counts.trainable,
        higher_is_better=False,
        heading="Trained par.",
        show=number,
    ),
    Metric(  # the training loop alone, mean over the runs that had the device to themselves
        key="train_seconds",
        measure=_mean_of("times.train_seconds"),
        higher_is_better=False,
        heading="Time (s)",
        show=figure,
    ),
    # Peaks, means over the same runs. The tables show the one that `memory_counter` chooses.
    *(
        Metric(
            key=counter.key,
            measure=_mean_of(f"memory.{counter.key}"),
            higher_is_better=False,
            heading=counter.heading,
            show=figure,
        )
        for counter in MEMORY_COUNTERS
    ),
)


def table(metric: str = "accuracy") -> tuple[Metric, ...]:
    """Return the metrics of a study that decides by this score: it, accuracy, macro F1, costs."""
    shown = dict.fromkeys((metric, "accuracy"))
    rest = [] if "macro_f1" in shown else [_score(SCORES["macro_f1"], decides=False)]
    scores = [*(_score(SCORES[key], decides=True) for key in shown), *rest]
    return (*(entry for of_score in scores for entry in of_score), *COSTS)


def metrics(
    runs: Sequence[Run], *, metric: str = "accuracy", extra: Sequence[Metric] = ()
) -> Metrics:
    """Return the metrics of one method over its seeds, None where not measured.

    Args:
        runs: of the method, one a seed.
        metric: the score that the study decides by.
        extra: further entries.
    """
    return {entry.key: entry.measure(runs) for entry in (*table(metric), *extra)}


def costs_of(runs: Sequence[Run]) -> Metrics:
    """Return the costs of one method over its seeds, None where not measured."""
    return {entry.key: entry.measure(runs) for entry in COSTS}
