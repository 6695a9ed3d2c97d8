"""Peak memory: a bar a method."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from fairtune.analysis.costs import means, memory_measure, reason
from fairtune.charts.bars import horizontal_bars, wrapped
from fairtune.charts.records import Compared, Record, seeds_text
from fairtune.charts.style import Look


def records(compared: Compared) -> list[Record]:
    """Return method, memory_mib (GPU, or else host), label, panel, note and color."""
    runs, color = compared.runs, compared.colors
    measure, kind, meaning = memory_measure(runs)
    cause = reason(runs, "gpu_memory_mib")
    missing = "GPU" if kind == "host memory" else "process"
    lack = f" · {missing} not measured: {cause}" if cause else ""
    return [
        {
            "method": method,
            "memory_mib": value,
            "label": f"{value:,.0f} MiB",
            "panel": f"{kind} {meaning}{lack}",
            "note": seeds_text(runs),
            "color": color[method],
        }
        for method, value in means(runs, measure).items()
    ]


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Bars from zero; the axis says which memory it is."""
    unit = wrapped(f"MiB, peak {records[0]['panel']}")
    return horizontal_bars(records, look, field="memory_mib", unit=unit)
