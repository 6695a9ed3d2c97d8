"""Write a run to its folder and read it back.

A run's folder holds `run.json` (the record), `history.json` (the loss curve),
`predictions.parquet` and `weights/`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from fairtune.core.errors import UserError
from fairtune.core.files import read_json, read_table, write_json
from fairtune.core.paths import HISTORY, PREDICTIONS, RECORD, run_folder
from fairtune.runs.predictions import Predictions
from fairtune.runs.record import Run, RunRecord


def write_run(
    folder: Path, record: RunRecord, history: list[dict[str, float]], predictions: Predictions
) -> None:
    """Write the record, the loss curve and the predictions."""
    write_json(folder / HISTORY, history)
    write_predictions(folder / PREDICTIONS, predictions)
    # Through pydantic's JSON mode, which turns NaN into null.
    write_json(folder / RECORD, json.loads(record.model_dump_json()))


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as Parquet: row_id, label, predicted, probabilities."""
    rows = predictions.probabilities.astype(np.float32)
    table = pa.table(
        {
            "row_id": predictions.row_ids,
            "label": pa.array(predictions.labels, pa.int32()),
            "predicted": pa.array(predictions.predicted, pa.int32()),
            "probabilities": pa.array(list(rows), pa.list_(pa.float32())),
        }
    )
    pq.write_table(table, path)


def read_run(method: str, seed: int) -> Run:
    """Read one run back.

    Raises:
        UserError: a file is missing or is not what this version writes.
    """
    folder = run_folder(method, seed)
    stage = f"train@{method}-{seed}"
    try:
        record = RunRecord.model_validate(read_json(folder / RECORD, made_by=stage))
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(
            f"{folder / RECORD}: {key} is not what this version writes; run `dvc repro {stage}`"
        ) from error
    table = read_table(folder / PREDICTIONS, made_by=stage)
    probabilities = table.column("probabilities").combine_chunks().values.to_numpy()
    return Run(
        record=record,
        history=read_json(folder / HISTORY, made_by=stage),
        predictions=Predictions(
            row_ids=table.column("row_id").to_pylist(),
            labels=table.column("label").to_numpy().astype(np.int64),
            probabilities=probabilities.reshape(len(table), -1),
        ),
    )


def read_runs(methods: Sequence[str], seeds: Sequence[int]) -> dict[str, list[Run]]:
    """Read all runs of a study: method -> one run for each seed, in the order given."""
    return {method: [read_run(method, seed) for seed in seeds] for method in methods}
