"""The score that the study decides by against each cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from fairtune.analysis.costs import costs, memory_of_runs
from fairtune.analysis.estimates import estimates
from fairtune.analysis.pareto import pareto_front
from fairtune.analysis.quiet import means
from fairtune.charts.records import Compared, Record
from fairtune.charts.style import FEW, GREY, INK, WIDTH, Look, grouped, hide_spare

LETTER = 0.03  # of an axis: what a letter of a name takes


def records(compared: Compared) -> list[Record]:
    """Return the score against each cost: one record a cost and method that has it.

    cost: name of the cost; panel: the same with its unit; value: mean over seeds, lower is better;
    score, low, high, metric (its name); status: place on the Pareto front; above, below, top,
    bottom: see `_place_names`.
    """
    runs, color, found = (
        compared.runs,
        compared.colors,
        estimates(compared.runs, score=compared.score),
    )
    made = []
    for key, cost in costs(memory_of_runs(runs)).items():
        values = means(runs, cost.field, digits=2)
        front = pareto_front(values, compared.verdicts)
        of_cost: list[Record] = [
            {
                "cost": key,
                "panel": cost.axis,
                "method": method,
                "value": value,
                "metric": compared.score.name,
                "score": round(found[method].mean, 4),
                "low": round(found[method].low, 4),
                "high": round(found[method].high, 4),
                "status": front[method].status,
                "color": color[method],
            }
            for method, value in values.items()
            if value > 0  # the axis is logarithmic
        ]
        _place_names(of_cost)
        made += of_cost
    return made


def _place_names(records: list[Record]) -> None:
    """Add where to write names, so that those of methods of like cost do not overlap.

    Such methods share two lists, `above` their highest whisker (at `top`) and `below` their lowest
    (at `bottom`), each from the best down. The first and the last of them hold the lists.
    """
    rows = sorted(records, key=lambda record: float(record["value"]))
    values = [float(row["value"]) for row in rows]
    span = math.log(values[-1] / values[0] * axis_room(values) ** 2) if rows else 0.0
    near = LETTER * span * max((len(row["method"]) for row in rows), default=0)
    groups: list[list[Record]] = []
    for row in rows:
        if groups and math.log(row["value"] / groups[-1][-1]["value"]) <= near:
            groups[-1].append(row)
        else:
            groups.append([row])
    for group in groups:
        group.sort(key=lambda record: -float(record["score"]))
        names = [record["method"] for record in group]
        half = (len(names) + 1) // 2
        top, bottom = max(r["high"] for r in group), min(r["low"] for r in group)
        for record in group:
            record.update(above="", below="", top=top, bottom=bottom)
        group[0]["above"] = "\n".join(names[:half])
        group[-1]["below"] = "\n".join(names[half:])


def axis_room(values: Sequence[float]) -> float:
    """Return the factor by which a logarithmic axis goes beyond its points, for their names."""
    spread: float = max(values) / min(values)
    return max(1.1, math.pow(spread, 0.17))


STATUS_FILL = {"on the front": "full", "possibly dominated": "left", "dominated": "none"}


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """A panel for each cost: the score with its interval, and the names at the whiskers."""
    panels = grouped(records, "panel")
    rows = -(-len(panels) // 2)
    lines = -(-len(look) // 3) if len(look) > FEW else 0
    figure = Figure(figsize=(WIDTH, 0.35 + 1.55 * rows + 0.17 * lines), layout="constrained")
    grid = figure.subplots(rows, 2, sharey=True, squeeze=False)
    for axes, (title, points) in zip(grid.flat, panels.items(), strict=False):
        for point in points:
            _pareto_point(axes, point, look[point["method"]], named=not lines)
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
    grid[0, 0].yaxis.set_major_formatter(PercentFormatter(xmax=1))
    figure.supylabel(f"{records[0]['metric']}, 95% interval", fontsize=8.5)
    handles = _status_legend() if any(record["status"] for record in records) else []
    handles += _method_legend(look) if lines else []
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, columnspacing=1,
                      handletextpad=0.2)  # fmt: skip
    return figure


def _pareto_point(axes: Axes, point: Record, style: Look, *, named: bool) -> None:
    mean = point["score"]
    axes.errorbar(
        point["value"], mean, yerr=[[mean - point["low"]], [point["high"] - mean]],
        fmt=style.marker, color=style.color, markersize=5, markeredgecolor=INK,
        markeredgewidth=0.5, fillstyle=STATUS_FILL.get(point["status"], "full"),
        markerfacecoloralt="white", linewidth=1.1,
    )  # fmt: skip
    if not named:
        return
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


def _method_legend(look: Mapping[str, Look]) -> list[Line2D]:
    return [
        Line2D([], [], marker=style.marker, linestyle="", color=style.color, markeredgecolor=INK,
               markersize=5, label=method)
        for method, style in look.items()
    ]  # fmt: skip


def _status_legend() -> list[Line2D]:
    return [
        Line2D([], [], marker="o", linestyle="", color=GREY, markeredgecolor=INK, markersize=5,
               fillstyle=fill, markerfacecoloralt="white", label=status)  # type: ignore[arg-type]
        for status, fill in STATUS_FILL.items()
    ]  # fmt: skip
