"""The sweep: every point in a process of its own, one line each."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairtune.analysis.costs import decided_by
from fairtune.core.errors import UserError
from fairtune.core.method import Method
from fairtune.core.params import Params
from fairtune.scaling.grid import Point, points
from fairtune.scaling.isolation import LONGEST_NOTE, Isolation
from fairtune.scaling.point import OWN, Machine, Size
from fairtune.scaling.summary import Outcome, summary

PROBE, ENCODERS = "fairtune.scaling.probe", "fairtune.scaling.encoders"
LIMIT = 90.0
"""Seconds that a point may take, the loading of its model included."""
PATIENCE, PAUSE = 300.0, 5.0
"""Seconds that a whole sweep waits for a GPU that others use, and between two looks at it."""

Report = Callable[[str], None]
Keep = Callable[[dict[str, Any]], None]


@dataclass(kw_only=True)
class Sweep:
    """Measures points, each size of each method once, however many axes it lies on."""

    study: Params
    machine: Machine
    isolation: Isolation
    folder: Path
    """For checkpoints and scratch files."""
    tell: Report
    limit: float
    keep: Keep
    """Takes what is known after each size, so that nothing is lost if the sweep is ended."""
    patience: float = PATIENCE
    """Seconds that the rest of the sweep may wait for a GPU that others use."""
    sleep: Callable[[float], None] = time.sleep
    known: dict[tuple[Size, str], Outcome] = field(default_factory=dict)

    def run(self, places: Sequence[Point]) -> None:
        """Measure all, and say so in one line each.

        Raises:
            UserError: the parameters are not right.
        """
        sizes = list(dict.fromkeys(place.size for place in places))
        total = len(sizes) * len(self.study.methods)
        for size in sizes:
            made = self._checkpoint(size.encoder)
            for name, method in self.study.methods.items():
                outcome = made or self._measure(size, name, method)
                self.known[size, name] = outcome
                what = f"{size.encoder} encoder, {size.rows} rows, {size.batch_size} x "
                self.tell(
                    f"scaling: {len(self.known)} of {total}: {name}, {what}{size.max_length} "
                    f"tokens: {_told(outcome)}"
                )
            done = [place for place in places if (place.size, name) in self.known]
            self.keep(summary(self.machine, done, self.known))
            if size.encoder != OWN:
                shutil.rmtree(self.folder / size.encoder, ignore_errors=True)

    def _checkpoint(self, name: str) -> Outcome | None:
        """Write the weights of an encoder that is not the study's; return why it failed."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        if name == OWN:
            return None
        outcome = self.isolation.call(
            ENCODERS, "write_encoder", limit=self.limit, study=self.study.model, name=name,
            folder=folder,
        )  # fmt: skip
        return None if outcome[0] == "done" else ("note", outcome[1])

    def _measure(self, size: Size, name: str, method: Method) -> Outcome:
        kind, content = self._once(size, name, method)
        # A notebook or another study may hold the GPU for a while, and a gap would stay for good.
        while kind == "busy" and self.patience > 0:
            self.tell(f"scaling: waits for the GPU: {content}")
            self.sleep(PAUSE)
            self.patience -= PAUSE
            kind, content = self._once(size, name, method)
        # A block may fit the study's own family of encoders alone.
        if kind == "mistake" and size.encoder == OWN:
            raise UserError(content)
        return (kind, content) if kind == "done" else ("note", content[:LONGEST_NOTE])

    def _once(self, size: Size, name: str, method: Method) -> Outcome:
        return self.isolation.call(
            PROBE, "measure", limit=self.limit, study=self.study, method=method, name=name,
            size=size, folder=self.folder / size.encoder,
        )  # fmt: skip


def _told(outcome: Outcome) -> str:
    kind, content = outcome
    if kind != "done":
        return str(content)
    return f"{content.pass_seconds:.2f} s, {1000 * content.step_seconds:.1f} ms a step"


def sweep(
    study: Params,
    *,
    tell: Report = print,
    limit: float = LIMIT,
    keep: Keep = lambda found: None,
) -> dict[str, Any]:
    """Measure all points, and predict the memory of each.

    Args:
        study: its methods, its encoder and its training settings.
        tell: takes a line for each point.
        limit: seconds that a point may take.
        keep: takes what was found so far, after each size of all methods.

    Raises:
        UserError: the sweep cannot start, or the parameters are not right.
    """
    isolation = Isolation(tell=tell)
    kind, machine = isolation.call(PROBE, "describe", study=study)
    if kind == "mistake":
        raise UserError(machine)
    if kind != "done":
        raise UserError(f"the sweep cannot start: {machine}")
    places = list(points(machine.encoders, on_gpu=machine.type == "cuda"))
    whose = {"of": decided_by(study)}
    with tempfile.TemporaryDirectory() as folder:
        made = Sweep(
            study=study, machine=machine, isolation=isolation, folder=Path(folder), tell=tell,
            limit=limit, keep=lambda found: keep(found | whose | {"complete": False}),
        )  # fmt: skip
        made.run(places)
    return summary(machine, places, made.known) | whose | {"complete": True}
