"""Every figure of runs/, metrics/ and plots/ computed anew, and held against the files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairtune.analysis import metrics, rates
from fairtune.analysis.quiet import set_apart
from fairtune.charts.gallery import compare
from fairtune.core import paths, task
from fairtune.core.files import read_json
from fairtune.core.params import Compare
from fairtune.runs.record import Runs
from fairtune.runs.search import Search

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


def mismatches(
    runs: Runs, rules: Compare, searches: Mapping[str, Search] | None = None
) -> list[Mismatch]:
    """Return the figures that do not follow from the predictions, costs and trials of the runs.

    Args:
        runs: method -> one run a seed.
        rules: how the methods are set side by side.
        searches: method -> the search of its learning rate, of those that searched.

    Raises:
        UserError: a file is missing or is not JSON, or the runs do not match one another.
    """
    given = searches or {}
    found = [*of_records(runs), *of_searches(runs, given)]
    for path, stage, expected in files(runs, rules, given):
        found += differing(str(path), "", read_json(path, made_by=stage), expected)
    return found


def of_records(runs: Runs) -> Iterator[Mismatch]:
    """Yield the accuracies of the runs' records that do not follow from their predictions."""
    for name, of_method in runs.items():
        for run in of_method:
            record = str(paths.run_folder(name, run.record.seed) / paths.RECORD)
            share = task.score(run.predictions.correct)
            yield from differing(record, "accuracy.test", run.record.accuracy.test, share)


def of_searches(runs: Runs, searches: Mapping[str, Search]) -> Iterator[Mismatch]:
    """Yield what searches say that their trials do not, and runs at another rate than was chosen.

    Args:
        runs: method -> one run a seed.
        searches: method -> the search of its learning rate, of those that searched.
    """
    for name, search in searches.items():
        yield from _of_search(name, search)
        for run in runs[name]:
            record = str(paths.run_folder(name, run.record.seed) / paths.RECORD)
            used = run.record.parameters["method"]["learning_rate"]
            key = "parameters.method.learning_rate"
            yield from differing(record, key, used, search.learning_rate)


def _of_search(name: str, search: Search) -> Iterator[Mismatch]:
    """Yield what a search says of its trials that does not follow from them."""
    choice = rates.choose(search.trials, search.metric, search.rule)
    expected = {
        "best": choice.best.rate,
        "standard_error": round(choice.standard_error, 6),
        "learning_rate": choice.chosen.rate,
        "on_edge": choice.edge is not None,
        "collapsed": [[one.rate, seed] for one in choice.tried for seed in one.collapsed],
    }
    found = {key: getattr(search, key) for key in expected}
    found["collapsed"] = [list(pair) for pair in sorted(search.collapsed)]
    yield from differing(str(paths.run_folder_of(name) / paths.SEARCH_FILE), "", found, expected)


def files(
    runs: Runs, rules: Compare, searches: Mapping[str, Search]
) -> Iterator[tuple[Path, str, Any]]:
    """Yield each file, the stage that writes it, and what that would write."""
    content, tables = compare(runs, rules=rules, searches=searches)
    for name, of_method in set_apart(runs, rules).items():
        figures = metrics.metrics(of_method, metric=rules.metric)
        yield paths.METRICS / f"{name}.json", f"score@{name}", figures
    yield paths.METRICS / "comparison.json", "compare", content
    for name, table in tables.items():
        yield paths.PLOTS / f"{name}.json", "compare", table


def differing(file: str, key: str, found: Any, expected: Any) -> Iterator[Mismatch]:
    """Yield what differs between two JSON values, with its key.

    Args:
        file: that holds the value found, for the answer.
        key: of the value; empty for the whole file.
        found: the value there.
        expected: what it should be.
    """
    if isinstance(found, dict) and isinstance(expected, dict):
        ours = {str(name): value for name, value in expected.items()}
        for name in dict.fromkeys([*ours, *found]):
            yield from differing(
                file, _joined(key, name), found.get(name, ABSENT), ours.get(name, ABSENT)
            )
    elif isinstance(found, list) and isinstance(expected, list | tuple):
        if len(found) != len(expected):
            yield Mismatch(
                file=file, key=_joined(key, "length"), found=len(found), expected=len(expected)
            )
            return
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from differing(file, _joined(key, str(place)), one, other)
    elif not _equal(found, expected):
        yield Mismatch(file=file, key=key, found=found, expected=expected)


def _equal(found: Any, expected: Any) -> bool:
    numbers = (isinstance(one, int | float) for one in (found, expected))
    if all(numbers) and not isinstance(found, bool) and not isinstance(expected, bool):
        return math.isclose(found, expected, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return type(found) is type(expected) and bool(found == expected)


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
