"""Trained parameters by part: adapter, head and encoder."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from fairtune.charts.records import Compared, Record
from fairtune.charts.style import INK, WIDTH, Look


def records(compared: Compared) -> list[Record]:
    """Return method, part, parameters, label and color: one a method and part that it trains.

    The head is trained by every method and is most of what a small adapter trains, so it stands
    apart; a part that a method does not train has no record.
    """
    runs, color = compared.runs, compared.colors
    made = []
    for method, of_method in runs.items():
        counts = of_method[0].record.counts
        encoder = counts.trainable - counts.adapter - counts.head
        parts = {"adapter": counts.adapter, "head": counts.head, "encoder": encoder}
        made += [
            {
                "method": method,
                "part": part,
                "parameters": count,
                "label": f"{count:,}",
                "color": color[method],
            }
            for part, count in parts.items()
            if count > 0
        ]
    return made


PART_MARKERS = {"adapter": "o", "head": "s", "encoder": "^"}


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
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
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    counts = [record["parameters"] for record in records]
    axes.set_xlim(min(counts) / 2, max(counts) * 12)
    axes.minorticks_off()
    axes.grid(axis="x")
    axes.set_xlabel("trained parameters (log scale)")
    return figure
