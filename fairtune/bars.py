"""The printed figures with a row for each method: accuracy, time and memory."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from fairtune.looks import INK, WIDTH, Look, method_rows, note_missing
from fairtune.outcomes import Record

PARTS = {
    "weights": ("#12355b", ""),
    "gradients": ("#3f7cac", "////"),
    "optimizer state": ("#95bbd6", "...."),
    "activations and other": ("#e3e1d3", ""),
}


def accuracy(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Bars from zero with the 95% interval."""
    figure = _bars(records, look, field="accuracy", unit="accuracy on the test set")
    axes = figure.axes[0]
    axes.set_xlim(0, 1.16)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    return figure


def accuracy_interval(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Dots with their intervals on a zoomed axis, which therefore does not carry bars."""
    figure, rows = _method_figure(look)
    axes = figure.axes[0]
    for record in records:
        mean, style, row = record["accuracy"], look[record["method"]], rows[record["method"]]
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
    axes.set_xlabel("accuracy and 95% interval (axis does not start at zero)")
    note_missing(axes, rows, records)
    return figure


def train_seconds(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Bars from zero."""
    return _bars(records, look, field="seconds", unit="training loop (s)")


def memory(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Bars from zero; the axis says which memory it is."""
    unit = _wrapped(f"MiB, peak {records[0]['panel']}")
    return _bars(records, look, field="memory_mib", unit=unit)


def memory_breakdown(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Stacked bars, the parts in order."""
    figure, rows = _method_figure(look, extra=0.55)
    axes = figure.axes[0]
    filled = dict.fromkeys(rows, 0.0)
    for record in records:
        method, (color, hatch) = record["method"], PARTS[record["part"]]
        axes.barh(
            rows[method], record["memory_mib"], left=filled[method], height=0.62, color=color,
            hatch=hatch, edgecolor="white", linewidth=0.5, label=record["part"],
        )  # fmt: skip
        filled[method] += record["memory_mib"]
    _end_labels(figure, {r["method"]: (r["total_mib"], r["label"]) for r in records}, rows)
    axes.set_xlabel(_wrapped(f"MiB, {records[0]['panel']} · {records[0]['note']}"))
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=2)
    note_missing(axes, rows, records)
    return figure


def _method_figure(
    look: Mapping[str, Look], *, extra: float = 0.0
) -> tuple[Figure, dict[str, int]]:
    """Return a figure with a row for each method, and the rows' heights. extra: inches."""
    figure = Figure(figsize=(WIDTH, 0.5 + 0.23 * len(look) + extra), layout="constrained")
    return figure, method_rows(figure.subplots(), list(look))


def _bars(records: list[Record], look: Mapping[str, Look], *, field: str, unit: str) -> Figure:
    """Return horizontal bars from zero with a value at each end, and intervals where known."""
    figure, rows = _method_figure(look, extra=0.13 * unit.count("\n"))
    axes = figure.axes[0]
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
    _end_labels(figure, ends, rows)
    axes.set_xlabel(unit)
    note_missing(axes, rows, records)
    return figure


def _end_labels(
    figure: Figure, ends: Mapping[str, tuple[float, str]], rows: Mapping[str, int]
) -> None:
    """Write each value after its bar, with room for it; the axis keeps its start at zero."""
    axes = figure.axes[0]
    for method, (end, label) in ends.items():
        axes.annotate(label, (end, rows[method]), (4, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, 1.24 * max((end for end, _ in ends.values()), default=1.0))
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))


def _wrapped(text: str, *, width: int = 50) -> str:
    """Break a line at a comma or dot where it would not fit the column."""
    if len(text) <= width:
        return text
    for mark in (" · ", ", "):
        place = text.rfind(mark, 0, width)
        if place > 0:
            return text[: place + len(mark)].rstrip(" ·") + "\n" + text[place + len(mark) :]
    return text
