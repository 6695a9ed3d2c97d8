"""All charts: their tables for `dvc plots` and, drawn from these, the printed figures as SVG.

The tables are lists of flat records, committed as plots/<name>.json; `dvc plots show` draws them
through the templates in .dvc/plots. The same tables give the same bytes: no date, no random ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from fairtune.analysis.verdicts import PairVerdict
from fairtune.charts import (
    accuracy,
    accuracy_interval,
    calibration,
    confusion,
    differences,
    loss,
    memory,
    memory_breakdown,
    parameters,
    pareto,
    training_time,
)
from fairtune.charts.records import Record
from fairtune.charts.style import STYLE, Look, looks
from fairtune.runs.record import Runs

Tables = dict[str, list[Record]]


def tables(
    runs: Runs, *, palette: Sequence[str], verdicts: Sequence[PairVerdict] | None = None
) -> Tables:
    """Return every chart's records by the name of the chart.

    Args:
        runs: method -> one run a seed; its order is the order of the charts.
        palette: colours of the methods, in their order.
        verdicts: on every pair of methods; without them no place on the Pareto front is given.
    """
    outcome = accuracy.records(runs, palette=palette)
    return {
        "accuracy": outcome,
        # The same records for the zoomed chart: DVC draws an output's file once.
        "accuracy_interval": outcome,
        "train_seconds": training_time.records(runs, palette=palette),
        "memory": memory.records(runs, palette=palette),
        "memory_breakdown": memory_breakdown.records(runs),
        "parameters": parameters.records(runs, palette=palette),
        "pareto": pareto.records(runs, palette=palette, verdicts=verdicts),
        "loss": loss.records(runs, palette=palette),
        "confusion": confusion.records(runs),
        "calibration": calibration.records(runs, palette=palette),
    }


Draw = Callable[[list[Record], Mapping[str, Look]], Figure]
FIGURES: dict[str, Draw] = {
    "accuracy": accuracy.draw,
    "accuracy_interval": accuracy_interval.draw,
    "train_seconds": training_time.draw,
    "memory": memory.draw,
    "memory_breakdown": memory_breakdown.draw,
    "parameters": parameters.draw,
    "pareto": pareto.draw,
    "loss": loss.draw,
    "confusion": confusion.draw,
    "calibration": calibration.draw,
    "comparison": differences.draw,
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
