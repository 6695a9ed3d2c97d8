"""All charts: their records for `dvc plots` and, drawn from these, the printed figures as SVG.

A chart is a module of this package that has `records` and `draw`; its name is the chart's name in
`plots/`, in the report and in its figure's file. `dvc plots show` draws the records through the
templates in .dvc/plots. The same records give the same bytes: no date, no random ids.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import matplotlib
from matplotlib.figure import Figure

import fairtune.charts
from fairtune.analysis import comparison, fairness
from fairtune.analysis.quiet import set_apart
from fairtune.analysis.scores import SCORES
from fairtune.charts.fonts import Fonts, fonts_for
from fairtune.charts.records import Compared, Record
from fairtune.charts.style import STYLE, Look, looks
from fairtune.core.params import Compare
from fairtune.runs.record import Runs
from fairtune.runs.search import Search

Tables = dict[str, list[Record]]


class Chart(Protocol):
    """What a chart's module holds."""

    def records(self, compared: Compared) -> list[Record]:
        """Return what the chart shows, flat; empty where the study has nothing for it."""

    def draw(self, records: list[Record], look: Mapping[str, Look]) -> Figure:
        """Draw the records, each method in its look."""


@functools.cache
def charts() -> dict[str, Chart]:
    """Return every chart by its name."""
    package = fairtune.charts
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    modules = {name: importlib.import_module(f"{package.__name__}.{name}") for name in names}
    return {
        name: cast("Chart", module)
        for name, module in modules.items()
        if hasattr(module, "records") and hasattr(module, "draw")
    }


def tables(compared: Compared) -> Tables:
    """Return every chart's records by the name of the chart."""
    return {name: chart.records(compared) for name, chart in charts().items()}


def compare(
    runs: Runs, *, rules: Compare, searches: Mapping[str, Search] | None = None
) -> tuple[dict[str, Any], Tables]:
    """Return the verdicts with what stands beside them, and each chart's records by its name.

    Args:
        runs: method -> one run a seed.
        rules: metric, margin, resamples and palette.
        searches: method -> the search of its learning rate, of those that searched.

    Raises:
        UserError: the runs do not match.
    """
    runs = set_apart(runs, rules)
    fairness.check(runs)
    verdicts = comparison.verdicts(runs, rules)
    content = comparison.comparison(runs, verdicts, rules=rules, searches=searches)
    compared = Compared(
        runs=runs,
        verdicts=verdicts,
        palette=rules.palette,
        margin=rules.margin,
        score=SCORES[rules.metric],
        failed=content["unlearned"],
        searches=searches or {},
    )
    drawn = tables(compared)
    # The verdicts are one of DVC's plots (as metrics they would fill `dvc metrics show`), and each
    # of these is drawn: theirs is the chart of the differences.
    return content | {"differences": drawn.pop("differences")}, drawn


def fonts_of(tables: Mapping[str, Sequence[Record]]) -> Fonts:
    """Return the fonts that have the letters of all records."""
    return fonts_for(
        value
        for records in tables.values()
        for record in records
        for value in record.values()
        if isinstance(value, str)
    )


@contextmanager
def styled(tables: Mapping[str, Sequence[Record]]) -> Iterator[None]:
    """Give figures made and saved in this block the printed look, in fonts for these records."""
    families = {"font.family": fonts_of(tables).families}
    with matplotlib.rc_context(STYLE | families), warnings.catch_warnings():
        # The stage `report` names the letters that no font has.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def draw_all(
    tables: Mapping[str, list[Record]], folder: Path, *, order: str = "accuracy"
) -> list[Path]:
    """Draw each table that has a figure into ``folder`` as <name>.svg; return the files.

    Methods keep their order and look in all figures.

    Args:
        tables: the records by the chart's name.
        folder: of the figures.
        order: the table whose order and colours count: one in which no method is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    look = looks(tables[order])
    files = []
    with styled(tables):
        for name, chart in charts().items():
            if not tables.get(name):
                continue
            figure = chart.draw(tables[name], look)
            files.append(folder / f"{name}.svg")
            figure.savefig(files[-1], metadata={"Date": None, "Creator": None})
    return files
