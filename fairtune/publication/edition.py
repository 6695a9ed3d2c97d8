"""Write a study whole: its runs as they are, and all that follows from them computed from them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairtune.core import params, paths
from fairtune.core.errors import UserError
from fairtune.core.files import fresh_folder, write_json
from fairtune.core.params import Params
from fairtune.publication import cost_alone
from fairtune.publication.part import Part
from fairtune.publication.place import CHARTS, MANIFESTS, PAPER, TWIN, at
from fairtune.publication.union import Union
from fairtune.report import cost_alone as without
from fairtune.report.families import FACTORS
from fairtune.report.latencies import SERVING, read_serving
from fairtune.report.paper import report
from fairtune.report.study import SWEEP, Evidence, is_of, read, read_sweep
from fairtune.runs.record import Runs
from fairtune.runs.search import read_searches
from fairtune.runs.store import read_runs
from fairtune.verification.figures import files as figures_of

SAME = ("data", "subset", "model", "encode")
"""Sections of params.yaml by which a study is known where another is to take its place."""


def publish(union: Union, place: Path) -> None:
    """Write a study in place of what the folder held of it before, whole or not at all.

    Raises:
        UserError: the folder holds another study, or a file of the study is not right.
    """
    _replaceable(place, union.parts[0].study)
    with fresh_folder(place) as folder:
        write(union, folder)


def _replaceable(place: Path, study: Params) -> None:
    """Refuse to take the place of another study.

    Raises:
        UserError: the folder holds one, or something else.
    """
    if not place.exists():
        return
    if not (place / paths.PARAMS).is_file():
        raise UserError(f"{place}: holds no study; give another NAME, or remove the folder")
    there = params.load(place / paths.PARAMS).model_dump(include=set(SAME))
    here = study.model_dump(include=set(SAME))
    for section in SAME:
        for key, value in here[section].items():
            if there[section][key] != value:
                raise UserError(
                    f"{place}: holds another study: {section}.{key} is {there[section][key]} "
                    f"there, and {value} here; give another NAME, or remove the folder"
                )


def write(union: Union, folder: Path, *, charts: Path | None = None) -> None:
    """Fill an empty folder with a study.

    Args:
        union: its parts.
        folder: for it.
        charts: folder of those for the paper, in place of those drawn, where it has all of them.

    Raises:
        UserError: a file of the study is not right.
    """
    factors = FACTORS.absolute()
    _inputs(union, folder)
    with contextlib.chdir(folder):
        study = params.load()
        runs = read_runs(list(study.methods), study.seeds)
        for path, content in following(runs, study, costs_only=union.reason is not None):
            write_json(path, content)
        evidence = read(study, factors=factors)
    _report(union, evidence, folder, charts)


def following(runs: Runs, study: Params, *, costs_only: bool) -> Iterator[tuple[Path, Any]]:
    """Yield each file of metrics/ and plots/ with what follows from the runs of this folder.

    Args:
        runs: of the study.
        study: its parameters.
        costs_only: whether its scores say nothing.
    """
    for path, _, content in figures_of(runs, study.compare, read_searches(study.methods)):
        yield path, cost_alone.without_scores(path, content) if costs_only else content


def _inputs(union: Union, folder: Path) -> None:
    """Copy what a study is computed from."""
    (folder / paths.PARAMS).write_text(union.text, encoding="utf-8")
    first = union.parts[0].folder
    for path in MANIFESTS:
        _copy(first / path, folder / path)
    for (method, seed), part in union.of.items():
        for file in paths.RUN_FILES:
            here = paths.run_folder(method, seed) / file
            _copy(part.folder / here, folder / here)
    for path, have in _optional(union):
        _copy(have[0].folder / path, folder / path)
    if union.reason is not None:
        cost_alone.write(folder, union.reason)


def _optional(union: Union) -> Iterator[tuple[Path, list[Part]]]:
    """Yield each file that a study need not have, with the parts that have it, if any."""
    for path in (
        SWEEP,
        SERVING,
        *(paths.RUNS / method / paths.SEARCH_FILE for method in union.methods),
    ):
        have = [part for part in union.parts if (part.folder / path).is_file()]
        have = [part for part in have if _own(part, path)]
        if have:
            yield path, have


def _own(part: Part, path: Path) -> bool:
    """Return whether a file was measured of this study, and does not lie there from another."""
    with at(part.folder):
        if path == SWEEP:
            return is_of(read_sweep(), part.study)
        serving = read_serving() if path == SERVING else None
        return serving is None or any(serving.of(record) for record in part.records)


def of_others(union: Union) -> list[str]:
    """Return which measurements are left out as they are of another study, a line each."""
    own = dict(_optional(union))
    return [
        f"{path} is of another study, and was left out"
        for path in (SWEEP, SERVING)
        if path not in own and any((part.folder / path).is_file() for part in union.parts)
    ]


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)


def _report(union: Union, evidence: Evidence, folder: Path, charts: Path | None) -> None:
    """Write the charts and the report; the templates are those of the working folder."""
    if union.reason is not None:
        twin = without.report(evidence, union.reason, charts=folder / CHARTS)
    else:
        pdf, twin = report(evidence, charts=folder / CHARTS, notebook=False, figures=charts)
        (folder / PAPER).write_bytes(pdf)
    (folder / TWIN).write_text(twin, encoding="utf-8")


def first_kept(union: Union) -> list[str]:
    """Return of which files the parts differ, with the part whose file is kept."""
    said = []
    for path, have in _optional(union):
        if len({(part.folder / path).read_bytes() for part in have}) > 1:
            others = ", ".join(str(part.folder) for part in have[1:])
            said.append(f"{path} is that of {have[0].folder}; {others} have others")
    return said
