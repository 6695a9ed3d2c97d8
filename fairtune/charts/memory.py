"""Peak memory: a bar a method."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from fairtune.analysis.costs import costs, means, memory_of_runs, reason
from fairtune.analysis.formats import mebibytes
from fairtune.charts.bars import horizontal_bars, wrapped
from fairtune.charts.records import Compared, Record, seeds_text
from fairtune.charts.style import Look


def records(compared: Compared) -> list[Record]:
    """Return method, memory_mib (GPU, or else host), label, panel, note and color."""
    runs, color = compared.runs, compared.colors
    memory = memory_of_runs(runs)
    cause = reason(runs, "gpu_memory_mib")
    missing = "process" if memory.on_gpu else "GPU"
    lack = f" · {missing} not measured: {cause}" if cause else ""
    return [
        {
            "method": method,
            "memory_mib": value,
            "label": mebibytes(value),
            "panel": f"{memory.name} {memory.meaning}{lack}",
            "note": seeds_text(runs),
            "color": color[method],
        }
        for method, value in means(runs, costs(memory)["memory"].of).items()
    ]


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Bars from zero; the axis says which memory it is."""
    unit = wrapped(f"MiB, peak {records[0]['panel']}")
    return horizontal_bars(records, look, field="memory_mib", unit=unit)
