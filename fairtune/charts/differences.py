"""Differences between the methods: one row a pair, its intervals and its verdict."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fairtune.analysis.comparison import pair_figures
from fairtune.analysis.verdicts import PairVerdict
from fairtune.charts.records import Compared, Record
from fairtune.charts.style import INK, TALLEST, WIDTH, Look

BAND, WHISKER = "#e3e1d3", "#0072B2"


def records(compared: Compared) -> list[Record]:
    """Return what is drawn of each pair, shares between 0 and 1.

    pair, metric (the score's name), difference, low, high (simultaneous 95% interval),
    equivalence_low, equivalence_high (90%, which equivalence is read from), verdict, winner (or
    null), label (the verdict as it is printed), detectable and margin.
    """
    kept = (
        "difference", "low", "high", "equivalence_low", "equivalence_high", "verdict", "winner",
        "detectable",
    )  # fmt: skip
    made = []
    for verdict in compared.verdicts:
        figures = pair_figures(verdict)
        made.append({
            "pair": f"{verdict.method_a} - {verdict.method_b}",
            "metric": compared.score.name,
            **{key: figures[key] for key in kept},
            "label": verdict_label(verdict),
            "margin": compared.margin,
        })  # fmt: skip
    return made


def verdict_label(verdict: PairVerdict) -> str:
    """Return a verdict in few words; that of too few seeds is on trained models alone."""
    if not verdict.winner:
        return verdict.verdict
    seeds = verdict.comparison.seeds
    runs = "" if verdict.comparison.covers_seeds else " (this run)" if seeds == 1 else " (these)"
    return f"{verdict.winner} better{runs}"


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """Dots with their 95% intervals (thick: 90%), in points; the band is the margin."""
    # Twelve methods have 66 pairs, which must fit on a page.
    line = min(0.24, (TALLEST - 0.55) / len(records))
    letters = min(8.5, 0.8 * 72 * line)
    figure = Figure(figsize=(WIDTH, 0.55 + line * len(records)), layout="constrained")
    axes = figure.subplots()
    margin = 100 * records[0]["margin"]
    axes.axvspan(-margin, margin, color=BAND, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.8)
    for row, record in enumerate(records):
        middle, low, high = (100 * record[key] for key in ("difference", "low", "high"))
        # A verdict without a winner is drawn hollow, so that grey print keeps it apart.
        fill = WHISKER if record["winner"] else "white"
        axes.errorbar(
            middle, row, xerr=[[middle - low], [high - middle]], fmt="o", color=WHISKER,
            markersize=min(5, 30 * line), markerfacecolor=fill, markeredgecolor=INK,
            markeredgewidth=0.6, capsize=min(3, 18 * line), linewidth=1.2, zorder=3,
        )  # fmt: skip
        inner = [100 * record["equivalence_low"], 100 * record["equivalence_high"]]
        axes.plot(inner, [row, row], color=WHISKER, linewidth=3.2, solid_capstyle="butt", zorder=2)
        axes.annotate(
            record["label"], (1.02, row), xycoords=("axes fraction", "data"), va="center",
            annotation_clip=False, fontsize=letters,
        )  # fmt: skip
    axes.set_yticks(
        range(len(records)),
        [record["pair"].replace(" - ", " − ") for record in records],
        fontsize=letters,
    )
    axes.set_ylim(len(records) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(_signed))
    axes.set_xlabel(
        f"difference in {records[0]['metric']}, points (band: margin)\n"
        "95% intervals of all pairs together (thick: 90%)"
    )
    return figure


def _signed(points: float, _: int | None = None) -> str:
    """Return a tick with its sign; zero has none."""
    return f"{points:+g}".replace("-", "−") if points else "0"
