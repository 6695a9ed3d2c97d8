"""The flat metrics of one method: few keys, the same in each file, rounded at the source.

A further metric is one entry of `METRICS`: it stands in metrics/<method>.json, in the table of the
report and the README where it has a heading, and in the chart of accuracy where it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairtune.analysis.costs import MEMORY_COUNTERS
from fairtune.analysis.estimates import AccuracyEstimate, accuracy_estimate, correctness
from fairtune.analysis.formats import decimals, number
from fairtune.analysis.quiet import mean
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


def _estimate(runs: Sequence[Run]) -> AccuracyEstimate:
    return accuracy_estimate(correctness(runs))


def _bounds(runs: Sequence[Run]) -> tuple[float, float]:
    estimate = _estimate(runs)
    return estimate.low, estimate.high


def _mean_of(field: str) -> Callable[[Sequence[Run]], Value]:
    """Return what takes the mean of a field of the record over the runs that count."""
    return lambda runs: mean([run.record for run in runs], field)


METRICS = (
    Metric(  # share of test rows predicted right, mean over seeds
        key="accuracy",
        measure=lambda runs: round(_estimate(runs).mean, 4),
        higher_is_better=True,
        heading="Accuracy (%)",
        show=hundredths,
        half_width="accuracy_ci95",
        drawn_as="accuracy",
        bounds=_bounds,
    ),
    Metric(
        key="accuracy_ci95",
        measure=lambda runs: round(_estimate(runs).half_width, 4),
        higher_is_better=False,
        show=hundredths,
    ),
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


def metrics(runs: Sequence[Run], *, table: Sequence[Metric] = METRICS) -> Metrics:
    """Return the metrics of one method over its seeds, None where not measured."""
    return {metric.key: metric.measure(runs) for metric in table}
