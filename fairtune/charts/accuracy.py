"""The score on the test set, and what other shares the table of metrics draws: bars from zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fairtune.analysis.formats import percent
from fairtune.analysis.metrics import Metric, table
from fairtune.charts.bars import bar_height, draw_bars
from fairtune.charts.records import Compared, Record, failures_text, seeds_text
from fairtune.charts.style import WIDTH, Look, grouped


def records(compared: Compared, *, extra: Sequence[Metric] = ()) -> list[Record]:
    """Return method, metric, share, label, panel, note, color and, if known, low and high.

    low, high: ends of the 95% interval; panel: the metric and what its whiskers are.
    """
    runs, color = compared.runs, compared.colors
    made = []
    for metric in (one for one in (*table(compared.score.key), *extra) if one.drawn_as):
        for method, of_method in runs.items():
            share = metric.measure(of_method)
            if share is None:
                continue
            bounds = metric.bounds(of_method) if metric.bounds else None
            whiskers = "; whiskers: 95% interval" if bounds else ""
            made.append({
                "method": method,
                "metric": metric.drawn_as,
                "share": share,
                **({"low": round(bounds[0], 4), "high": round(bounds[1], 4)} if bounds else {}),
                "label": percent(share) + failures_text(compared, method),
                "panel": f"{metric.drawn_as} on the test set{whiskers}",
                "note": f"{len(of_method[0].predictions.labels):,} rows, {seeds_text(runs)}",
                "color": color[method],
            })  # fmt: skip
    return made


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Bars from zero with the 95% interval where it is known, a panel a metric."""
    panels = grouped(records, "metric")
    height = bar_height(look)
    figure = Figure(figsize=(WIDTH, height * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False)
    for axes, (metric, of_metric) in zip(grid.flat, panels.items(), strict=True):
        draw_bars(axes, of_metric, look, field="share", unit=f"{metric} on the test set")
        lowest = min(0.0, *(record.get("low", 0.0) for record in of_metric))
        room = 0.16 if all(len(record["label"]) < 8 for record in of_metric) else 0.75
        axes.set_xlim(lowest, 1 + room)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    return figure
