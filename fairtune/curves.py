"""The printed figures on two numeric axes or a log axis: loss, Pareto and parameters."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from fairtune.looks import GREY, INK, WIDTH, Look, grouped, hide_spare
from fairtune.outcomes import Record, axis_room

STATUS_FILL = {"on the front": "full", "possibly dominated": "left", "dominated": "none"}
PART_MARKERS = {"adapter": "o", "head": "s", "encoder": "^"}


def loss(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """One curve a method, told apart by dash as well as by colour."""
    figure = Figure(figsize=(WIDTH, 2.2), layout="constrained")
    axes = figure.subplots()
    for method, points in grouped(records, "method").items():
        style = look[method]
        axes.plot(
            [point["step"] for point in points], [point["loss"] for point in points], label=method,
            color=style.color, linestyle=style.dash, linewidth=1.2,
            marker=style.marker if len(points) == 1 else None,
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.grid(axis="y")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("training loss (nats)")
    axes.legend(handlelength=3.2)
    return figure


def pareto(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """A panel for each cost: accuracy with its interval against the cost, names at the whiskers."""
    panels = grouped(records, "panel")
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(WIDTH, 0.35 + 1.55 * rows), layout="constrained")
    grid = figure.subplots(rows, 2, sharey=True, squeeze=False)
    for axes, (title, points) in zip(grid.flat, panels.items(), strict=False):
        for point in points:
            _pareto_point(axes, point, look[point["method"]])
        values = [point["value"] for point in points]
        room = axis_room(values)
        axes.set_xscale("log")
        axes.set_xlim(min(values) / room, max(values) * room)
        _few_log_ticks(axes, max(values) * room / (min(values) / room))
        axes.set_xlabel(title)
        axes.grid(axis="y")
    hide_spare(grid, used=len(panels))
    low, high = min(r["bottom"] for r in records), max(r["top"] for r in records)
    grid[0, 0].set_ylim(low - 0.42 * (high - low), high + 0.42 * (high - low))
    grid[0, 0].yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    figure.supylabel("accuracy, 95% interval", fontsize=8.5)
    if any(record["status"] for record in records):
        figure.legend(handles=_status_legend(), loc="outside lower center", ncols=3,
                      columnspacing=1, handletextpad=0.2)  # fmt: skip
    return figure


def _pareto_point(axes: Axes, point: Record, style: Look) -> None:
    mean = point["accuracy"]
    axes.errorbar(
        point["value"], mean, yerr=[[mean - point["low"]], [point["high"] - mean]],
        fmt=style.marker, color=style.color, markersize=5, markeredgecolor=INK,
        markeredgewidth=0.5, fillstyle=STATUS_FILL.get(point["status"], "full"),
        markerfacecoloralt="white", linewidth=1.1,
    )  # fmt: skip
    for names, height, offset, side in (
        (point["above"], point["top"], 2, "bottom"),
        (point["below"], point["bottom"], -2, "top"),
    ):
        axes.annotate(
            names, (point["value"], height), (0, offset), textcoords="offset points",
            ha="center", va=side, fontsize=7.5, linespacing=0.95,
        )  # fmt: skip


def _few_log_ticks(axes: Axes, ratio: float) -> None:
    """Put about three ticks on a log axis: powers of ten, or round values within one decade."""
    wide = ratio > 30
    axes.xaxis.set_major_locator(LogLocator(numticks=4) if wide else MaxNLocator(3))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _status_legend() -> list[Line2D]:
    return [
        Line2D([], [], marker="o", linestyle="", color=GREY, markeredgecolor=INK, markersize=5,
               fillstyle=fill, markerfacecoloralt="white", label=status)  # type: ignore[arg-type]
        for status, fill in STATUS_FILL.items()
    ]  # fmt: skip


def parameters(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Dots on a log axis, a line for each part: a bar would have no place to start from."""
    lines = [(record["method"], record["part"]) for record in records]
    figure = Figure(figsize=(WIDTH, 0.45 + 0.17 * len(lines)), layout="constrained")
    axes = figure.subplots()
    for row, record in enumerate(records):
        style = look[record["method"]]
        axes.plot(
            record["parameters"], row, PART_MARKERS.get(record["part"], "D"), color=style.color,
            markeredgecolor=INK, markeredgewidth=0.5, markersize=5,
        )  # fmt: skip
        axes.annotate(
            record["label"], (record["parameters"], row), (6, 0), textcoords="offset points",
            va="center",
        )  # fmt: skip
        if row and lines[row - 1][0] != record["method"]:
            axes.axhline(row - 0.5, color="#bbbbbb", linewidth=0.5)
    axes.set_yticks(range(len(lines)), [f"{method}: {part}" for method, part in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xscale("log")
    counts = [record["parameters"] for record in records]
    axes.set_xlim(min(counts) / 2, max(counts) * 12)
    axes.minorticks_off()
    axes.grid(axis="x")
    axes.set_xlabel("trained parameters (log scale)")
    return figure
