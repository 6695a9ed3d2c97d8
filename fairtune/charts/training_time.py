"""Training time: a bar a method."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from fairtune.analysis.formats import seconds as format_seconds
from fairtune.analysis.quiet import means
from fairtune.charts.bars import horizontal_bars
from fairtune.charts.records import Compared, Record, cost_label, left_out_text, seeds_text
from fairtune.charts.style import Look
from fairtune.runs.record import Runs


def records(compared: Compared) -> list[Record]:
    """Return method, seconds, label, panel, note and color."""
    runs, color = compared.runs, compared.colors
    note = f"{seeds_text(runs)}, on {_devices(runs)}{left_out_text(runs)}"
    # Rounded as in the metrics: rounded once more, another figure would be printed here than there.
    seconds = means(runs, "times.train_seconds")
    return [
        {
            "method": method,
            "seconds": value,
            "label": cost_label(format_seconds(value), method, runs),
            "panel": "training loop alone",
            "note": note,
            "color": color[method],
        }
        for method, value in seconds.items()
    ]


def _devices(runs: Runs) -> str:
    names = [run.record.device.name for of_method in runs.values() for run in of_method]
    return " and ".join(dict.fromkeys(names))


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Bars from zero."""
    return horizontal_bars(records, look, field="seconds", unit="training loop (s)")
