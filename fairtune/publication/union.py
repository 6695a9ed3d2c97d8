"""Parts of one study put together: other seeds or methods of it, on machines of one kind."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from fairtune.analysis import fairness
from fairtune.analysis.quiet import set_apart
from fairtune.core.errors import UserError
from fairtune.core.paths import PARAMS
from fairtune.publication import cost_alone
from fairtune.publication.part import Part
from fairtune.runs.record import RunRecord

WIDTH = 4096
"""Columns of params.yaml: no line of it is broken that was whole."""
SHOWN = 60
"""Characters of a value in an error."""
Fields = Mapping[str, Callable[[RunRecord], Any]]
FREE = {"seeds", "methods"}
"""Sections of params.yaml in which parts may differ."""


@dataclass(frozen=True, kw_only=True)
class Union:
    """A study to be published."""

    parts: Sequence[Part]
    text: str
    """Of its params.yaml."""
    of: Mapping[tuple[str, int], Part]
    """Method and seed -> the part that has this run, methods and seeds in the study's order."""
    reason: str | None
    """Why the study is of costs alone; None where it is not."""

    @property
    def methods(self) -> list[str]:
        """The methods, in their order."""
        return list(dict.fromkeys(method for method, _ in self.of))


def join(parts: Sequence[Part], *, reason: str | None = None) -> Union:
    """Put the parts of a study together.

    Args:
        parts: one or more.
        reason: why the study is of costs alone, where the parts do not say so.

    Raises:
        UserError: they do not fit; names the part, the field and the values.
    """
    first = parts[0]
    for part in parts[1:]:
        _same_study(first, part)
    for place, part in enumerate(parts):
        for other in parts[:place]:
            _same_method(other, part)
            _no_run_twice(other, part)
        _same_machine(first, parts[:place], part)
    of = _order(parts)
    runs: dict[str, list[Any]] = {}
    for (method, seed), part in of.items():
        runs.setdefault(method, []).append(
            next(run for run in part.runs[method] if run.record.seed == seed)
        )
    fairness.check(set_apart(runs, first.study.compare))
    return Union(
        parts=parts,
        text=first.text if len(parts) == 1 else _parameters(parts),
        of=of,
        reason=reason or first.reason,
    )


def _same_study(first: Part, part: Part) -> None:
    """Refuse another study: all of params.yaml but seeds and methods, and the manifests."""
    ours, theirs = _study(first), _study(part)
    for key in dict.fromkeys([*ours, *theirs]):
        _equal(part, first, key, theirs.get(key), ours.get(key))


def _study(part: Part) -> dict[str, Any]:
    found = dict(_flat(f"{PARAMS}: ", part.study.model_dump(mode="json", exclude=FREE)))
    for path, content in part.manifests.items():
        found |= dict(_flat(f"{path}: ", content))
    return found | {str(cost_alone.NOTE): part.reason}


def _same_method(other: Part, part: Part) -> None:
    """Refuse a method that the parameters or the runs of another part have otherwise."""
    for method in part.runs:
        if method not in other.runs:
            continue
        for place, ours, theirs in (
            (f"{PARAMS}: methods.{method}", other.study.methods[method].model_dump(mode="json"),
             part.study.methods[method].model_dump(mode="json")),
            (f"runs of {method}: method", _block(other, method), _block(part, method)),
        ):  # fmt: skip
            known, found = dict(_flat(f"{place}.", ours)), dict(_flat(f"{place}.", theirs))
            for key in dict.fromkeys([*known, *found]):
                _equal(part, other, key, found.get(key), known.get(key))


def _block(part: Part, method: str) -> Any:
    """Return what a method was trained with, which the parameters may leave to a search."""
    return part.runs[method][0].record.parameters[fairness.BY_DESIGN]


def _no_run_twice(other: Part, part: Part) -> None:
    for method, of_method in part.runs.items():
        known = {run.record.seed for run in other.runs.get(method, [])}
        for run in of_method:
            if run.record.seed in known:
                raise UserError(
                    f"{part.folder}: seeds: {method} with seed {run.record.seed} is in "
                    f"{other.folder} too; name each training once"
                )


def _same_machine(first: Part, others: Sequence[Part], part: Part) -> None:
    """Refuse runs that differ from another part's in what all share, or those of one seed."""
    base = next(first.records)
    fields = fairness.identical(mixed=first.study.compare.allow_mixed_devices)
    for record in part.records:
        _alike(part, record, first, base, fields)
        for other in others:
            twin = next((one for one in other.records if one.seed == record.seed), None)
            if twin is not None:
                _alike(part, record, other, twin, fairness.IDENTICAL_BY_SEED)


def _alike(part: Part, record: RunRecord, other: Part, base: RunRecord, fields: Fields) -> None:
    for name, read in fields.items():
        known, found = dict(_flat(name, read(base), ".")), dict(_flat(name, read(record), "."))
        for key in dict.fromkeys([*known, *found]):
            _equal(
                part, other, key, found.get(key), known.get(key),
                said=_run(record), other=_run(base),
            )  # fmt: skip


def _run(record: RunRecord) -> str:
    return f" ({record.method} with seed {record.seed})"


def _equal(
    part: Part, base: Part, key: str, theirs: Any, ours: Any, *, said: str = "", other: str = ""
) -> None:
    """Refuse another value.

    Raises:
        UserError: names the part, the field and both values.
    """
    if theirs != ours:
        raise UserError(
            f"{part.folder}: {key} is {_shown(theirs)}{said}, and in {base.folder} "
            f"{_shown(ours)}{other}; parts of one study differ in seeds and methods alone"
        )


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _flat(key: str, value: Any, mark: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the plain values and lists in nested mappings, keys joined by dots."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flat(f"{key}{mark}{name}", item, ".")
    else:
        yield key, value


def _order(parts: Sequence[Part]) -> dict[tuple[str, int], Part]:
    """Return the part that has each run, methods as they first occur and seeds ascending.

    Raises:
        UserError: a method lacks a seed.
    """
    methods = list(dict.fromkeys(method for part in parts for method in part.runs))
    seeds = list(dict.fromkeys(record.seed for part in parts for record in part.records))
    # A single part keeps its order: looks of a growing study follow it.
    seeds = seeds if len(parts) == 1 else sorted(seeds)
    has = {(record.method, record.seed): part for part in parts for record in part.records}
    for method in methods:
        lack = [seed for seed in seeds if (method, seed) not in has]
        if lack:
            where = ", ".join(str(part.folder) for part in parts)
            raise UserError(
                f"{where}: seeds: {method} has no run with seed {lack[0]}, which other methods "
                "have; name the part that holds it"
            )
    return {(method, seed): has[method, seed] for method in methods for seed in seeds}


def _parameters(parts: Sequence[Part]) -> str:
    """Return the first part's params.yaml with the seeds and methods of all."""
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = WIDTH, True
    document, *others = (yaml.load(part.text) for part in parts)
    seeds = sorted({record.seed for part in parts for record in part.records})
    known = list(document["seeds"])
    document["seeds"].extend(seed for seed in seeds if seed not in known)
    document["seeds"].sort()
    for other in others:
        for name, block in other["methods"].items():
            document["methods"].setdefault(name, block)
    made = io.StringIO()
    yaml.dump(document, made)
    return made.getvalue()
