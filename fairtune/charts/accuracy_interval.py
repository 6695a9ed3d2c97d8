"""The score that the study decides by and its 95% interval on a zoomed axis."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fairtune.charts import accuracy
from fairtune.charts.bars import method_figure
from fairtune.charts.records import Compared, Record
from fairtune.charts.style import INK, Look, note_missing


def records(compared: Compared) -> list[Record]:
    """Return those of the chart `accuracy` that the study decides by: DVC draws a file once."""
    return [r for r in accuracy.records(compared) if r["metric"] == compared.score.name]


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Dots with their intervals on a zoomed axis, which therefore does not carry bars."""
    figure, rows = method_figure(look)
    axes = figure.axes[0]
    for record in records:
        mean, style, row = record["share"], look[record["method"]], rows[record["method"]]
        reach = [[mean - record["low"]], [record["high"] - mean]]
        axes.errorbar(
            mean, row, xerr=reach, fmt=style.marker, color=style.color, markersize=5,
            markeredgecolor=INK, markeredgewidth=0.5, capsize=3, linewidth=1.4,
        )  # fmt: skip
        axes.annotate(
            record["label"], (record["high"], row), (5, 0), textcoords="offset points", va="center"
        )
    low, high = min(r["low"] for r in records), max(r["high"] for r in records)
    axes.set_xlim(low - 0.06 * (high - low), high + 0.2 * (high - low))
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_xlabel(f"{records[0]['metric']} and 95% interval (axis does not start at zero)")
    note_missing(axes, rows, records)
    return figure
