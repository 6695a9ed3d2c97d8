"""How the printed figures look: fonts, sizes, and each method's colour, hatch, marker and dash.

Colour alone would be lost in grey print, so every method also has a hatch, a marker and a dash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from fairtune.analysis.formats import NOT_MEASURED
from fairtune.charts.fonts import BUNDLED
from fairtune.charts.records import Record

WIDTH = 3.5
"""Inches: one column of an IEEE paper."""
INK, GREY = "#222222", "#777777"
STYLE: Any = {  # matplotlib's own type for it is newer than the versions allowed
    "font.family": BUNDLED,
    # A dollar sign in the name of a class is a dollar sign.
    "text.parse_math": False,
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    # Letters as paths look the same where STIX is not installed, and ids that do not change keep
    # the file the same from run to run.
    "svg.fonttype": "path",
    "svg.hashsalt": "fairtune",
}
TALLEST = 8.4
"""Inches that a figure may take on a page of the paper."""
FEW = 6
"""Methods whose names fit beside their marks; those of more stand in a legend."""
# Seven of each: with six colours, 42 methods differ in both.
HATCHES = ("", "////", "....", "xxxx", "----", "\\\\\\\\", "oo")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = (
    "-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)), ":",
    (0, (3, 1, 1, 1, 1, 1)),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one method is drawn in every figure."""

    color: str
    hatch: str
    marker: str
    dash: Any


def looks(records: list[Record]) -> dict[str, Look]:
    """Return the look of each method, in the order of the records."""
    colors = {record["method"]: record["color"] for record in records}
    return {
        method: Look(
            color=color,
            hatch=HATCHES[place % len(HATCHES)],
            marker=MARKERS[place % len(MARKERS)],
            dash=DASHES[place % len(DASHES)],
        )
        for place, (method, color) in enumerate(colors.items())
    }


def method_rows(axes: Axes, methods: list[str]) -> dict[str, int]:
    """Label the y axis with the methods, the first on top, and return each one's height."""
    rows = {method: place for place, method in enumerate(methods)}
    axes.set_yticks(list(rows.values()), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    return rows


def note_missing(axes: Axes, rows: dict[str, int], records: list[Record]) -> None:
    """Write 'n/a' in the row of each method that has no record."""
    measured = {record["method"] for record in records}
    for method in (method for method in rows if method not in measured):
        axes.text(
            0.01, rows[method], NOT_MEASURED, transform=axes.get_yaxis_transform(), va="center",
            color=GREY, style="italic",
        )  # fmt: skip


def hide_spare(grid: NDArray[np.object_], *, used: int) -> None:
    """Hide the panel that an odd number leaves over; the one above it gets the tick labels."""
    for place in range(used, grid.size):
        row, column = divmod(place, grid.shape[1])
        grid[row, column].set_visible(False)
        if row:
            grid[row - 1, column].tick_params(labelbottom=True)


def grouped(records: list[Record], field: str) -> dict[str, list[Record]]:
    """Return the records by one field, in the order in which its values first occur."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record[field], []).append(record)
    return groups
