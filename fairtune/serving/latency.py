"""Measure how fast each form of a trained model answers on the processor, from the same rows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from fairtune.core import disk, origins
from fairtune.core.errors import UserError
from fairtune.core.params import Params
from fairtune.report.latencies import FormServed, Served, Serving, fingerprint
from fairtune.runs.token_cache import Encoded
from fairtune.serving.artefact import Artefact, find
from fairtune.serving.classify import load_classifier
from fairtune.serving.export import Examiner, examine
from fairtune.serving.onnx_export import on_processor, written
from fairtune.serving.onnx_graph import NEEDED
from fairtune.training.inference import LATENCY_ROWS, Stopwatch, merged, slice_rows

ROWS = 128
"""Test rows that throughput is measured on: those that a training on a GPU measures it on."""
PASSES = 3
"""Passes over them, of which the median counts."""
CPU = "cpu"
DEQUANTIZED = (
    "ONNX holds the adapter merged into the pretrained model's own weights, not those in 4 bits"
)


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Times models on some rows, each as its device computes."""

    rows: Encoded
    batch_size: int
    pad_token_id: int

    def speed(self, model: Any, device: Any) -> tuple[float, float]:
        """Return the milliseconds of one row alone, and the rows a second in batches."""
        watch = Stopwatch(
            model,
            self.rows,
            batch_size=self.batch_size,
            pad_token_id=self.pad_token_id,
            device=device,
        )
        alone = watch.latency_ms()
        seconds = median(watch.timed(self.rows, self.batch_size) for _ in range(PASSES))
        return alone, round(len(self.rows) / seconds, 1)


def measure(study: Params, said: Callable[[str], None]) -> Serving:
    """Measure every method of a study, the first seed of each.

    Args:
        study: the parameters.
        said: is told what was measured, a line each.

    Raises:
        UserError: a training, the test rows or a pretrained model is not there.
    """
    pinned = origins.pinned(study)
    found = [find(pinned, name) for name in study.methods]
    points = []
    for artefact in found:
        for point in forms(artefact):
            points.append(point)
            said(line(point))
    examiner = on_processor(found[0], examine(found[0], CPU))
    rows = min(ROWS, len(examiner.rows))
    return Serving(
        device=examiner.device.name,
        threads=examiner.device.threads,
        versions={name: version(name) for name in ("torch", "transformers", *NEEDED)},
        rows=rows,
        single_rows=min(LATENCY_ROWS, rows),
        points=points,
    )


def forms(artefact: Artefact) -> Iterator[Served]:
    """Yield each form of a training with what it takes: as trained, merged, and as a graph.

    Raises:
        UserError: its files or the test rows are not there.
    """
    examiner = on_processor(artefact, examine(artefact, CPU))
    clock = Clock(
        rows=slice_rows(examiner.rows, ROWS),
        batch_size=examiner.batch_size,
        pad_token_id=examiner.pad_token_id,
    )
    # As `fairtune.predict` has it: the kernels and the precision of the training.
    classifier = load_classifier(artefact, wanted=CPU)
    device = classifier.device
    yield _point(
        artefact, "as trained", device.precision, speed=clock.speed(classifier.model, device)
    )
    model, how = merged(classifier.model)
    if how == "merged":
        yield _point(artefact, "merged", device.precision, speed=clock.speed(model, device))
    elif artefact.form == "adapter":
        yield _point(artefact, "merged", None, note=how)
    del classifier, model
    yield _graph(artefact, examiner, clock)


def _graph(artefact: Artefact, examiner: Examiner, clock: Clock) -> Served:
    """Return what the graph takes, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with disk.writing(Path(folder)):
                made = written(artefact, examiner, Path(folder))
        except UserError as error:
            return _point(artefact, "ONNX", None, note=str(error))
        speed = clock.speed(made.graph, examiner.device)
        note = DEQUANTIZED if artefact.method.quantize else ""
        return _point(artefact, "ONNX", examiner.device.precision, speed=speed, note=note)


def _point(
    artefact: Artefact,
    form: FormServed,
    precision: str | None,
    *,
    speed: tuple[float, float] | None = None,
    note: str = "",
) -> Served:
    return Served(
        method=artefact.record.method,
        seed=artefact.record.seed,
        training=fingerprint(artefact.record),
        form=form,
        precision=precision,
        latency_ms=None if speed is None else speed[0],
        rows_per_second=None if speed is None else speed[1],
        note=note,
    )


def line(point: Served) -> str:
    """Return what was measured, for the terminal."""
    if point.latency_ms is None:
        return f"{point.method}, {point.form}: n/a: {point.note}"
    return (
        f"{point.method}, {point.form}: {point.latency_ms:,.1f} ms for one row alone, "
        f"{point.rows_per_second:,.1f} rows a second"
    )
