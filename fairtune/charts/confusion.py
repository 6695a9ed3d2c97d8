"""Confusion: a grid of classes for each method; of many classes, the commonest errors alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fairtune.analysis.formats import number, percent
from fairtune.analysis.quality import confusion_matrix
from fairtune.charts.names import distinct, for_page, plain, shorten, shown
from fairtune.charts.records import Compared, Record
from fairtune.charts.style import INK, TALLEST, WIDTH, Look, grouped, hide_spare

Counts = NDArray[np.int64]
MATRIX_CLASSES = 20
"""Of more classes a grid is too fine to read."""
COMMONEST = 20
"""Errors that are drawn of so many classes."""
NAME_ON_PAGE = 28
"""Letters of the name of a class of a pair, in `dvc plots`."""


def records(compared: Compared) -> list[Record]:
    """Return method, actual, predicted, count, share (of the actual class) and label.

    Counts are summed over seeds. A class without test rows keeps its cells, with the share left
    null. Where a name is long, the further keys actual_short and predicted_short hold what the axes
    show. Of more than `MATRIX_CLASSES` classes, or where grids for all methods would not fit on a
    page, only the errors that are commonest over all methods have records, with the further keys
    pair (actual → predicted) and panel (which errors these are); where nothing is wrong there are
    none.
    """
    first = next(iter(compared.runs.values()))[0]
    names = distinct(for_page(shown(name)) for name in first.record.data.labels)
    counts = {
        method: confusion_matrix(
            of_method[0].predictions.labels,
            np.stack([run.predictions.predicted for run in of_method]),
            len(names),
        )
        for method, of_method in compared.runs.items()
    }
    if len(names) > MATRIX_CLASSES or _size(names, len(counts))[1] > TALLEST:
        return _commonest(counts, names)
    made = [
        _record(method, of_method, names, actual, predicted)
        for method, of_method in counts.items()
        for actual, predicted in np.ndindex(len(names), len(names))
    ]
    if max(map(len, names)) > NAME:
        drawn = dict(zip(names, shorten(names, NAME), strict=True))
        short = {f"{key}_short": key for key in ("actual", "predicted")}
        made = [one | {key: drawn[one[full]] for key, full in short.items()} for one in made]
    return made


def _record(
    method: str, counts: Counts, names: Sequence[str], actual: int, predicted: int
) -> Record:
    of_class, count = int(counts[actual].sum()), int(counts[actual, predicted])
    share = round(count / of_class, 4) if of_class else None
    return {
        "method": method,
        "actual": names[actual],
        "predicted": names[predicted],
        "count": count,
        "share": share,
        "label": "" if share is None else percent(share),
    }


def _commonest(counts: Mapping[str, Counts], names: Sequence[str]) -> list[Record]:
    """Return a record for each method and each of the commonest errors, the commonest first."""
    errors = np.sum(list(counts.values()), axis=0)
    np.fill_diagonal(errors, 0)
    order = np.argsort(-errors, axis=None, kind="stable")[:COMMONEST]
    cells = [divmod(int(cell), len(names)) for cell in order if errors.flat[cell]]
    these, of_all = int(sum(errors[cell] for cell in cells)), int(errors.sum())
    panel = (
        f"the {len(cells)} commonest confusions (actual → predicted) of {len(names)} classes: "
        f"{number(these)} of {number(of_all)} errors ({percent(these / max(of_all, 1))})"
    )
    within = sorted({one for cell in cells for one in cell})
    drawn = dict(zip(within, shorten([names[one] for one in within], NAME_ON_PAGE), strict=True))
    pairs = [" → ".join(drawn[one] for one in cell) for cell in cells]
    return [
        _record(method, of_method, names, *cell) | {"pair": pair, "panel": panel}
        for method, of_method in counts.items()
        for pair, cell in zip(pairs, cells, strict=True)
    ]


def caption(records: Sequence[Record]) -> str:
    """Return what the figure shows, as a sentence."""
    if records and "panel" in records[0]:
        panel = records[0]["panel"]
        return (
            f"{panel[:1].upper()}{panel[1:]}, all methods and seeds together. A cell has a "
            "method's errors of this kind, shaded by their share of the rows of the actual class."
        )
    return "Confusion of each method, all seeds together."


PRINTED_CLASSES, COARSE_CLASSES = 4, 12
NAME, NAME_OF_PAIR = 20, 17
"""Letters of the name of a class that are drawn."""


def _size(names: Sequence[str], methods: int) -> tuple[int, float]:
    """Return the columns and the height, in inches, of the grids of all methods."""
    # Each name needs its line: many classes get a panel as wide as the column.
    columns = 2 if len(names) <= COARSE_CLASSES else 1
    letter = 0.06 if len(names) <= PRINTED_CLASSES else 0.05
    below = letter * min(NAME, max(map(len, names))) if _upright(names) else 0.0
    panel = max(1.25, 0.15 + 0.08 * len(names))
    return columns, 0.3 + panel * -(-methods // columns) + below


def _upright(names: Sequence[str]) -> bool:
    """Return whether the names below a grid stand upright, as they have no room side by side."""
    return len(names) > 2 or max(map(len, names)) > 8


def draw(records: list[Record], look: Mapping[str, Look]) -> Figure:
    """A grid for each method, shaded and labelled by the share of the actual class."""
    if "pair" in records[0]:
        return _draw_pairs(records, list(look))
    panels = grouped(records, "method")
    names = list(dict.fromkeys(plain(record["actual"]) for record in records))
    columns, height = _size(names, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
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
    cells = [
        (names.index(plain(record["actual"])), names.index(plain(record["predicted"])), record)
        for record in records
    ]
    for row, column, record in cells:
        if record["share"] is not None:
            shares[row, column] = record["share"]
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1.15, aspect="auto")
    labels = shorten(names, NAME)
    axes.set_xticks(range(len(names)), labels, rotation=90 if _upright(names) else 0)
    axes.set_yticks(range(len(names)), labels)
    axes.tick_params(length=0, labelsize=_letters_of(len(names)))
    axes.spines[:].set_visible(False)
    if len(names) > PRINTED_CLASSES:
        return
    for row, column, record in cells:
        count = f"\n({record['count']:,})" if len(names) == 2 else ""
        axes.text(
            column, row, record["label"].rstrip("%" if len(names) > 2 else "") + count,
            ha="center", va="center", fontsize=7.5,
            color="white" if (record["share"] or 0) > 0.55 else INK,
        )  # fmt: skip


def _letters_of(classes: int) -> float:
    """Return the size of the names of the classes, in points."""
    return 8 if classes <= PRINTED_CLASSES else 6 if classes <= COARSE_CLASSES else 5.5


def _draw_pairs(records: list[Record], methods: list[str]) -> Figure:
    """A row for each error and a column for each method, shaded by the share of the class."""
    pairs = list(dict.fromkeys((record["actual"], record["predicted"]) for record in records))
    shares = np.full((len(pairs), len(methods)), np.nan)
    cells = [
        (pairs.index((r["actual"], r["predicted"])), methods.index(r["method"]), r) for r in records
    ]
    for row, column, record in cells:
        if record["share"] is not None:
            shares[row, column] = record["share"]
    narrow = len(methods) > 4
    upright = sum(len(method) + 2 for method in methods) > 24
    below = 0.06 * max(map(len, methods)) if upright else 0.12
    figure = Figure(figsize=(WIDTH, 0.5 + 0.135 * len(pairs) + below), layout="constrained")
    figure.suptitle(plain(records[0]["panel"]).replace(": ", ":\n"), fontsize=8)
    axes = figure.subplots()
    most = np.nanmax(shares, initial=0.01)
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1.15 * most, aspect="auto")
    within = list(dict.fromkeys(plain(name) for pair in pairs for name in pair))
    drawn = dict(zip(within, shorten(within, NAME_OF_PAIR), strict=True))
    labels = [" → ".join(drawn[plain(name)] for name in pair) for pair in pairs]
    axes.set_yticks(range(len(pairs)), labels, fontsize=6.5)
    axes.set_xticks(range(len(methods)), methods, rotation=90 if upright else 0)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for row, column, record in cells:
        share = "" if record["share"] is None or narrow else f" ({record['share']:.0%})"
        axes.text(
            column, row, f"{record['count']:,}{share}", ha="center", va="center", fontsize=6,
            color="white" if (record["share"] or 0) > 0.55 * most else INK,
        )  # fmt: skip
    return figure
