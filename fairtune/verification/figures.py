"""Every figure of runs/, metrics/ and plots/ computed anew, and held against the files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairtune.analysis import comparison, fairness, metrics
from fairtune.charts import gallery
from fairtune.charts.records import Compared
from fairtune.core import paths, task
from fairtune.core.files import read_json
from fairtune.core.params import Compare
from fairtune.runs.record import Runs

# Processors round the last digits of a sum otherwise; a figure is printed with four.
RELATIVE, ABSOLUTE = 1e-6, 1e-9
ABSENT = "not there"


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """A figure that does not follow from the runs."""

    file: str
    key: str
    """Its way from the top of the file, with dots."""
    found: Any
    expected: Any


def mismatches(runs: Runs, rules: Compare) -> list[Mismatch]:
    """Return the figures that do not follow from the predictions and costs of the runs.

    Raises:
        UserError: a file is missing or is not JSON, or the runs do not match one another.
    """
    found = [
        Mismatch(
            file=str(paths.run_folder(name, run.record.seed) / paths.RECORD),
            key="accuracy.test",
            found=run.record.accuracy.test,
            expected=task.score(run.predictions.correct),
        )
        for name, of_method in runs.items()
        for run in of_method
        if not _equal(run.record.accuracy.test, task.score(run.predictions.correct))
    ]
    for path, expected in _of_methods(runs) + _of_comparison(runs, rules):
        stage = "compare"
        if path.parent == paths.METRICS and path.stem in runs:
            stage = f"score@{path.stem}"
        found += _differing(str(path), "", read_json(path, made_by=stage), expected)
    return found


def _of_methods(runs: Runs) -> list[tuple[Path, Any]]:
    return [
        (paths.METRICS / f"{name}.json", metrics.metrics(of_method))
        for name, of_method in runs.items()
    ]


def _of_comparison(runs: Runs, rules: Compare) -> list[tuple[Path, Any]]:
    fairness.check(runs)
    verdicts = comparison.verdicts(runs, rules)
    content = comparison.comparison(runs, verdicts, rules=rules)
    compared = Compared(runs=runs, verdicts=verdicts, palette=rules.palette, margin=rules.margin)
    tables = dict(gallery.tables(compared))
    content["differences"] = tables.pop("differences")
    files: dict[Path, Any] = {paths.METRICS / "comparison.json": content}
    files |= {paths.PLOTS / f"{name}.json": table for name, table in tables.items()}
    return list(files.items())


def _differing(file: str, key: str, found: Any, expected: Any) -> Iterator[Mismatch]:
    """Yield what differs between two JSON values, with its key."""
    if isinstance(found, dict) and isinstance(expected, dict):
        ours = {str(name): value for name, value in expected.items()}
        for name in dict.fromkeys([*ours, *found]):
            yield from _differing(
                file, _joined(key, name), found.get(name, ABSENT), ours.get(name, ABSENT)
            )
    elif isinstance(found, list) and isinstance(expected, list | tuple):
        if len(found) != len(expected):
            yield Mismatch(
                file=file, key=_joined(key, "length"), found=len(found), expected=len(expected)
            )
            return
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from _differing(file, _joined(key, str(place)), one, other)
    elif not _equal(found, expected):
        yield Mismatch(file=file, key=key, found=found, expected=expected)


def _equal(found: Any, expected: Any) -> bool:
    numbers = (isinstance(one, int | float) for one in (found, expected))
    if all(numbers) and not isinstance(found, bool) and not isinstance(expected, bool):
        return math.isclose(found, expected, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return type(found) is type(expected) and bool(found == expected)


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
