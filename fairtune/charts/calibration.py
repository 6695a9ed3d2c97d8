"""Calibration: a reliability diagram for each method."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fairtune.analysis.formats import percent
from fairtune.analysis.quality import expected_calibration_error, reliability_bins
from fairtune.charts.records import Compared, Record
from fairtune.charts.style import GREY, INK, TALLEST, WIDTH, Look, grouped, hide_spare


def records(compared: Compared) -> list[Record]:
    """Return the reliability bins of each method, all seeds together; empty bins are left out.

    confidence: mean probability given to the predicted class; accuracy: share of the bin's rows
    that are right; count: rows times seeds; panel: method with its expected calibration error.
    """
    runs, color = compared.runs, compared.colors
    made = []
    for method, of_method in runs.items():
        labels = of_method[0].predictions.labels
        probabilities = np.stack([run.predictions.probabilities for run in of_method])
        error = expected_calibration_error(labels, probabilities)
        made += [
            {
                "method": method,
                "confidence": round(place.confidence, 4),
                "accuracy": round(place.accuracy, 4),
                "count": place.count,
                "panel": f"{method} (calibration error {percent(error)})",
                "color": color[method],
            }
            for place in reliability_bins(labels, probabilities)
            if place.confidence is not None and place.accuracy is not None
        ]
    return made


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """A reliability diagram for each method; the area of a dot grows with its predictions."""
    panels = grouped(records, "method")
    rows = -(-len(panels) // 2)
    most = max(record["count"] for record in records)
    height = min(TALLEST, 0.3 + 1.45 * rows)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
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
