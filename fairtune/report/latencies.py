"""How fast the forms of a trained model answer on the processor: what `fairtune.latency` left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import ValidationError

from fairtune.core import paths
from fairtune.core.errors import UserError
from fairtune.runs.part import Part
from fairtune.runs.record import RunRecord

SERVING = paths.METRICS / "serving.json"
COMMAND = "python -m fairtune.latency"
FormServed = Literal["as trained", "merged", "ONNX"]
"""An adapter beside its model or the whole model, as it was trained; the adapter merged; a graph of
the merged model for ONNX Runtime."""


class Served(Part):
    """One form of a trained model on the processor; figures are None where it cannot be had."""

    method: str
    seed: int
    training: str
    """Fingerprint of the training."""
    form: FormServed
    precision: str | None
    """What it computes in."""
    latency_ms: float | None
    """Median time of one row alone."""
    rows_per_second: float | None
    """Rows over the median time of all their batches."""
    note: str
    """Why it cannot be had, or what is to be known of it; may be empty."""


class Serving(Part):
    """All forms on one processor, from the same test rows."""

    device: str
    """Name of the processor."""
    threads: int
    versions: Mapping[str, str]
    rows: int
    """Test rows that throughput is measured on, the split's first."""
    single_rows: int
    """Of these, the first, each of which is predicted alone for the latency."""
    points: Sequence[Served]

    def of(self, record: RunRecord) -> list[Served]:
        """Return what was measured of a training; nothing where it has been trained anew since."""
        training = fingerprint(record)
        return [point for point in self.points if point.training == training]


def fingerprint(record: RunRecord) -> str:
    """Return what tells a training from any other, also from one with the same settings."""
    known = [
        record.method,
        record.seed,
        record.data.subset_sha256,
        record.data.order_sha256,
        record.head_sha256,
        record.counts.trainable,
        record.times.train_seconds,
        record.accuracy.test,
    ]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def read_serving() -> Serving | None:
    """Read what `python -m fairtune.latency` measured; None where it was not run.

    Raises:
        UserError: the file is not what it writes.
    """
    if not SERVING.exists():
        return None
    try:
        return Serving.model_validate_json(SERVING.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(
            f"{SERVING}: {where}: {first['msg']}; run `{COMMAND}` again, or delete the file"
        ) from None
