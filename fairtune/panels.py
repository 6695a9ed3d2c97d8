"""The printed figures with a panel for each method: confusion and calibration."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fairtune.looks import GREY, INK, WIDTH, Look, grouped, hide_spare
from fairtune.outcomes import Record

PRINTED_CLASSES = 4


def confusion(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """A grid for each method, shaded and labelled by the share of the actual class."""
    panels = grouped(records, "method")
    names = list(dict.fromkeys(record["actual"] for record in records))
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(WIDTH, 0.3 + 1.25 * rows), layout="constrained")
    grid = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False)
    for axes, method in zip(grid.flat, (m for m in look if m in panels), strict=False):
        _confusion_grid(axes, panels[method], names)
        axes.set_title(method)
    hide_spare(grid, used=len(panels))
    unit = " (cells: % of the actual class)" if 2 < len(names) <= PRINTED_CLASSES else ""
    figure.supxlabel(f"predicted class{unit}", fontsize=8.5)
    figure.supylabel("actual class", fontsize=8.5)
    return figure


def _confusion_grid(axes: Axes, records: list[Record], names: list[str]) -> None:
    shares = np.full((len(names), len(names)), np.nan)
    for record in records:
        if record["share"] is not None:
            shares[names.index(record["actual"]), names.index(record["predicted"])] = record[
                "share"
            ]
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1.15, aspect="auto")
    long = max(map(len, names)) > 8 or len(names) > 2
    axes.set_xticks(range(len(names)), names, rotation=90 if long else 0)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0, labelsize=8 if len(names) <= PRINTED_CLASSES else 6)
    axes.spines[:].set_visible(False)
    if len(names) > PRINTED_CLASSES:
        return
    for record in records:
        row, column = names.index(record["actual"]), names.index(record["predicted"])
        count = f"\n({record['count']:,})" if len(names) == 2 else ""
        axes.text(
            column, row, record["label"].rstrip("%" if len(names) > 2 else "") + count,
            ha="center", va="center", fontsize=7.5,
            color="white" if (record["share"] or 0) > 0.55 else INK,
        )  # fmt: skip


def calibration(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """A reliability diagram for each method; the area of a dot grows with its predictions."""
    panels = grouped(records, "method")
    rows = -(-len(panels) // 2)
    most = max(record["count"] for record in records)
    figure = Figure(figsize=(WIDTH, 0.3 + 1.45 * rows), layout="constrained")
    grid = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False)
    for axes, method in zip(grid.flat, (m for m in look if m in panels), strict=False):
        sure = [record["confidence"] for record in panels[method]]
        right = [record["accuracy"] for record in panels[method]]
        sizes = [4 + 50 * record["count"] / most for record in panels[method]]
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.7, linestyle=(0, (3, 2)))
        axes.plot(sure, right, color=look[method].color, linewidth=1)
        axes.scatter(sure, right, s=sizes, color=look[method].color, edgecolor=INK, linewidth=0.4,
                     zorder=3, clip_on=False)  # fmt: skip
        axes.set_title(panels[method][0]["panel"].replace("calibration error", "error"))
        axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    hide_spare(grid, used=len(panels))
    figure.supxlabel("confidence of the prediction", fontsize=8.5)
    figure.supylabel("share that is right", fontsize=8.5)
    return figure
