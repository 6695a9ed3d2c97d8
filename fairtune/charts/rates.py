"""Validation score against learning rate: what each method's search saw, and what it chose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)

from fairtune.analysis.formats import rate
from fairtune.analysis.rates import choose
from fairtune.analysis.scores import SCORES
from fairtune.charts.records import Compared, Record
from fairtune.charts.style import GREY, INK, TALLEST, WIDTH, Look, grouped, hide_spare
from fairtune.runs.record import Run
from fairtune.runs.search import Search

BAND = "#e3e1d3"
MOST_TICKS = 4
REACH = 0.12
FINE = 0.04
"""Height of an axis, as a share, from which on its ticks need no decimals."""
LETTERS = 26
"""Of a title, as many as fit a panel."""
CHOSEN, TRIED, GIVEN = "chosen", "tried", "given"


def records(compared: Compared) -> list[Record]:
    """Return the score on the validation rows at each learning rate that was tried, or given.

    learning_rate (peak), score (mean over seeds), low and high (lowest and highest seed), metric
    (the score's name), mark (chosen, tried, or given), collapsed (trials that learned nothing),
    seeds, band_low and band_high (one standard error below the best mean, and that mean; null where
    the rate was given) and panel.

    Of a method whose rate was given the study's own trainings are shown. Their records know the
    accuracy on validation rows alone: beside searches by another score they have no record, and
    where no method searched the chart is of accuracy.
    """
    searched = next(iter(compared.searches.values()), None)
    metric = searched.metric if searched else "accuracy"
    made = []
    for method, of_method in compared.runs.items():
        if method in compared.searches:
            of = _tried(compared.searches[method])
        elif metric == "accuracy":
            of = [_given(of_method)]
        else:
            continue
        used = next(one for one in of if one["mark"] != TRIED)
        made += [
            {
                "method": method,
                **record,
                "metric": SCORES[metric].name,
                "panel": f"{method} ({used['mark']} {rate(used['learning_rate'])})",
                "color": compared.colors[method],
            }
            for record in of
        ]
    return made


def _tried(search: Search) -> list[Record]:
    choice = choose(search.trials, search.metric, search.rule)
    best = choice.best.mean
    return [
        {
            "learning_rate": one.rate,
            **_spread(one.scores),
            "mark": CHOSEN if one is choice.chosen else TRIED,
            "collapsed": len(one.collapsed),
            "band_low": round(best - choice.standard_error, 4),
            "band_high": round(best, 4),
        }
        for one in choice.tried
    ]


def _given(of_method: Sequence[Run]) -> Record:
    return {
        "learning_rate": float(of_method[0].record.parameters["method"]["learning_rate"]),
        **_spread([run.record.accuracy.validation for run in of_method]),
        "mark": GIVEN,
        "collapsed": None,
        "band_low": None,
        "band_high": None,
    }


def _spread(scores: Sequence[float]) -> dict[str, Any]:
    return {
        "score": round(float(np.mean(scores)), 4),
        "low": round(min(scores), 4),
        "high": round(max(scores), 4),
        "seeds": len(scores),
    }


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """A panel for each method: means with whiskers to the seeds, the chosen or given rate full.

    Where rates fail, the axis ends `REACH` below the best of the least method: on one that reached
    down to guessing, a standard error would not be seen. What lies below is marked at its foot.
    """
    panels = grouped(records, "method")
    rows = -(-len(panels) // 2)
    height = min(TALLEST, 0.35 + 1.4 * rows)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(rows, 2, sharey=True, squeeze=False)
    for axes, method in zip(grid.flat, (m for m in look if m in panels), strict=False):
        _panel(axes, panels[method], look[method])
    hide_spare(grid, used=len(panels))
    bests = [max(record["score"] for record in of) for of in panels.values()]
    low = max(min(r["low"] for r in records), min(bests) - REACH)
    high = max(r["high"] for r in records)
    room = 0.08 * (high - low) or 0.01
    grid[0, 0].set_ylim(low - room, high + room)
    decimals = 0 if high - low > FINE else 1
    grid[0, 0].yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    grid[0, 0].yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=decimals))
    for axes, method in zip(grid.flat, (m for m in look if m in panels), strict=False):
        below = [r["learning_rate"] for r in panels[method] if r["score"] < low - room]
        axes.plot(below, [0.0] * len(below), "v", color=look[method].color, markersize=4,
                  transform=axes.get_xaxis_transform(), clip_on=False, in_layout=False,
                  zorder=5)  # fmt: skip
    figure.supxlabel("peak learning rate", fontsize=8.5)
    figure.supylabel(f"{records[0]['metric']} on validation rows", fontsize=8.5)
    return figure


def _panel(axes: Axes, of_method: list[Record], style: Look) -> None:
    rates = [record["learning_rate"] for record in of_method]
    if of_method[0]["band_low"] is not None:
        axes.axhspan(of_method[0]["band_low"], of_method[0]["band_high"], color=BAND, linewidth=0)
    axes.plot(rates, [r["score"] for r in of_method], color=style.color, linewidth=1, zorder=2)
    for record in of_method:
        mean, used = record["score"], record["mark"] != TRIED
        axes.errorbar(
            record["learning_rate"], mean, yerr=[[mean - record["low"]], [record["high"] - mean]],
            fmt=style.marker, color=style.color, markersize=6 if used else 4,
            markerfacecolor=style.color if used else "white",
            markeredgecolor=INK if used else style.color, markeredgewidth=0.7, capsize=2,
            linewidth=0.9, zorder=4 if used else 3,
        )  # fmt: skip
        if used:
            axes.axvline(record["learning_rate"], color=GREY, linewidth=0.6, linestyle=(0, (3, 2)),
                         zorder=1)  # fmt: skip
    axes.set_xscale("log")
    room = max((max(rates) / min(rates)) ** 0.07, 1.2 if len(rates) > 1 else 4.0)
    low, high = min(rates) / room, max(rates) * room
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(_ticks(rates, low=low, high=high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: rate(value)))
    axes.grid(axis="y")
    name, panel = of_method[0]["method"], of_method[0]["panel"]
    axes.set_title(panel if len(panel) <= LETTERS else panel.replace(f"{name} ", f"{name}\n", 1))


def _ticks(rates: Sequence[float], *, low: float, high: float) -> list[float]:
    """Return the rates to write: powers of ten, four at most, else the lowest and the highest."""
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    if len(rates) == 1 or len(powers) < 2:
        return sorted({rates[0], rates[-1]})
    return [10.0**power for power in powers[:: -(-len(powers) // MOST_TICKS)]]
