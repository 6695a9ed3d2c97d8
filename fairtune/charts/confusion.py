"""Confusion: a grid of classes for each method."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fairtune.analysis.formats import percent
from fairtune.analysis.quality import confusion_matrix
from fairtune.charts.records import Compared, Record
from fairtune.charts.style import INK, WIDTH, Look, grouped, hide_spare


def records(compared: Compared) -> list[Record]:
    """Return method, actual, predicted, count and share (of the actual class), summed over seeds.

    A class without test rows keeps its cells, with the share left null.
    """
    runs = compared.runs
    made = []
    for method, of_method in runs.items():
        names = of_method[0].record.data.labels
        predicted_classes = np.stack([run.predictions.predicted for run in of_method])
        counts = confusion_matrix(of_method[0].predictions.labels, predicted_classes, len(names))
        for actual, predicted in np.ndindex(len(names), len(names)):
            of_class = int(np.sum(counts[actual]))
            share = round(int(counts[actual, predicted]) / of_class, 4) if of_class else None
            made.append({
                "method": method,
                "actual": names[actual],
                "predicted": names[predicted],
                "count": int(counts[actual, predicted]),
                "share": share,
                "label": "" if share is None else percent(share),
            })  # fmt: skip
    return made


PRINTED_CLASSES = 4


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
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
