"""Accuracy on the test set: bars from zero."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fairtune.analysis.estimates import estimates
from fairtune.analysis.formats import percent
from fairtune.charts.bars import horizontal_bars
from fairtune.charts.records import Compared, Record, seeds_text
from fairtune.charts.style import Look


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Bars from zero with the 95% interval."""
    figure = horizontal_bars(records, look, field="accuracy", unit="accuracy on the test set")
    axes = figure.axes[0]
    axes.set_xlim(0, 1.16)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    return figure


def records(compared: Compared) -> list[Record]:
    """Return method, accuracy, low, high (95% interval), label, panel, note and color."""
    runs, color = compared.runs, compared.colors
    return [
        {
            "method": method,
            "accuracy": round(estimate.mean, 4),
            "low": round(estimate.low, 4),
            "high": round(estimate.high, 4),
            "label": percent(estimate.mean),
            "panel": "on the test set; whiskers: 95% interval",
            "note": f"{estimate.rows:,} rows, {seeds_text(runs)}",
            "color": color[method],
        }
        for method, estimate in estimates(runs).items()
    ]
