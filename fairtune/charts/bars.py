"""What the printed figures with a row for each method share."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from fairtune.charts.records import Record
from fairtune.charts.style import INK, WIDTH, Look, method_rows, note_missing


def bar_height(look: Mapping[str, Look]) -> float:
    """Return the inches that a row for each method and an axis take."""
    return 0.5 + 0.23 * len(look)


def method_figure(look: Mapping[str, Look], *, extra: float = 0.0) -> tuple[Figure, dict[str, int]]:
    """Return a figure with a row for each method, and the rows' heights. extra: inches."""
    figure = Figure(figsize=(WIDTH, bar_height(look) + extra), layout="constrained")
    return figure, method_rows(figure.subplots(), list(look))


def horizontal_bars(
    records: list[Record], look: Mapping[str, Look], *, field: str, unit: str
) -> Figure:
    """Return a figure of horizontal bars from zero."""
    height = bar_height(look) + 0.13 * unit.count("\n")
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    draw_bars(figure.subplots(), records, look, field=field, unit=unit)
    return figure


def draw_bars(
    axes: Axes, records: list[Record], look: Mapping[str, Look], *, field: str, unit: str
) -> None:
    """Draw horizontal bars from zero with a value at each end, and intervals where known."""
    rows = method_rows(axes, list(look))
    ends: dict[str, tuple[float, str]] = {}
    for record in records:
        style, value = look[record["method"]], record[field]
        row = rows[record["method"]]
        axes.barh(
            row, value, height=0.62, color=style.color, hatch=style.hatch, edgecolor=INK,
            linewidth=0.5,
        )  # fmt: skip
        end = value
        if "low" in record:
            end = record["high"]
            reach = [[value - record["low"]], [end - value]]
            axes.errorbar(value, row, xerr=reach, color=INK, capsize=2.5, linewidth=0.9)
        ends[record["method"]] = (end, record["label"])
    end_labels(axes, ends, rows)
    axes.set_xlabel(unit)
    note_missing(axes, rows, records)


def end_labels(axes: Axes, ends: Mapping[str, tuple[float, str]], rows: Mapping[str, int]) -> None:
    """Write each value after its bar, with room for it; the axis keeps its start at zero."""
    for method, (end, label) in ends.items():
        axes.annotate(label, (end, rows[method]), (4, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, 1.24 * max((end for end, _ in ends.values()), default=1.0))
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))


def wrapped(text: str, *, width: int = 50) -> str:
    """Break a line at commas or dots where it would not fit the column."""
    if len(text) <= width:
        return text
    for mark in (" · ", ", "):
        place = text.rfind(mark, 0, width)
        if place > 0:
            rest = wrapped(text[place + len(mark) :], width=width)
            return text[: place + len(mark)].rstrip(" ·") + "\n" + rest
    return text
