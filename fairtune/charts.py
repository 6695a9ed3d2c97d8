"""The printed figures: the tables of `fairtune.plots` as SVG, for the report and the README.

The same tables give the same bytes: no date, no random ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from fairtune import bars, curves, intervals, panels
from fairtune.looks import STYLE, Look, looks
from fairtune.outcomes import Record

Draw = Callable[[list[Record], Mapping[str, Look]], Figure]
FIGURES: dict[str, Draw] = {
    "accuracy": bars.accuracy,
    "accuracy_interval": bars.accuracy_interval,
    "train_seconds": bars.train_seconds,
    "memory": bars.memory,
    "memory_breakdown": bars.memory_breakdown,
    "parameters": curves.parameters,
    "pareto": curves.pareto,
    "loss": curves.loss,
    "confusion": panels.confusion,
    "calibration": panels.calibration,
    "comparison": intervals.differences,
}


def draw_all(tables: Mapping[str, list[Record]], folder: Path) -> list[Path]:
    """Draw each table that has a figure into ``folder`` as <name>.svg; return the files.

    Methods keep their order and look in all figures: those of the table `accuracy`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    look = looks(tables["accuracy"])
    files = []
    with matplotlib.rc_context(STYLE):
        for name, draw in FIGURES.items():
            if not tables.get(name):
                continue
            figure = draw(tables[name], look)
            files.append(folder / f"{name}.svg")
            figure.savefig(files[-1], metadata={"Date": None, "Creator": None})
    return files
