"""Write a run to a folder and read it back, from the workspace or from wherever its bytes lie.

A run is three files: `run.json` (the record), `history.json` (the loss curve) and
`predictions.parquet`. A training writes them beside its weights; `record` puts them where they are
read, in `runs/<method>/<seed>`, which Git keeps.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from fairtune.core.errors import UserError
from fairtune.core.files import read_json, write_json
from fairtune.core.parquet import numbers, read_table
from fairtune.core.paths import HISTORY, PREDICTIONS, RECORD, run_folder, training_folder
from fairtune.runs.predictions import Predictions
from fairtune.runs.record import Run, RunRecord

SCHEMA = pa.schema(
    [
        ("row_id", pa.string()),
        ("label", pa.int32()),
        ("predicted", pa.int32()),
        ("tokens", pa.int32()),
        ("probabilities", pa.list_(pa.float32())),
    ]
)
GROUP = pa.field("group", pa.string())
"""A further column, last, where rows were drawn in groups."""
# Git keeps these files for ever: half as large as by default (500 rows of two classes: 6.6 KB).
# Row ids and probabilities are all different, so that a dictionary of them only adds.
SMALL: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 19,
    "use_dictionary": ["label", "predicted"],
    "use_byte_stream_split": ["probabilities.list.element"],
}


def write_run(
    folder: Path, record: RunRecord, history: list[dict[str, float]], predictions: Predictions
) -> None:
    """Write the record, the loss curve and the predictions."""
    write_json(folder / HISTORY, history)
    write_predictions(folder / PREDICTIONS, predictions)
    # Through pydantic's JSON mode, which turns NaN into null.
    write_json(folder / RECORD, json.loads(record.model_dump_json()))


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as Parquet: row_id, label, predicted, tokens, probabilities, maybe group.

    The column of groups is there only where there are groups.
    """
    rows = predictions.probabilities.astype(np.float32)
    columns = {
        "row_id": predictions.row_ids,
        "label": predictions.labels,
        "predicted": predictions.predicted,
        "tokens": predictions.tokens,
        "probabilities": list(rows),
    }
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    table, options = pa.table(arrays, schema=SCHEMA), SMALL
    if predictions.groups is not None:
        table = table.append_column(GROUP, pa.array(predictions.groups, GROUP.type))
        options = SMALL | {"use_dictionary": [*SMALL["use_dictionary"], GROUP.name]}
    pq.write_table(table, path, **options)


def read_run(method: str, seed: int) -> Run:
    """Read one run of the workspace, as Git keeps it.

    Raises:
        UserError: a file is missing or is not what this version writes.
    """
    return _read(run_folder(method, seed), stage=f"record@{method}")


def read_training(method: str, seed: int) -> Run:
    """Read one run as the training left it, beside its weights.

    Raises:
        UserError: a file is missing or is not what this version writes.
    """
    return _read(training_folder(method, seed), stage=f"train@{method}-{seed}")


def _read(folder: Path, *, stage: str) -> Run:
    def made_by(file: str) -> str:
        # Forced without `-s`, DVC would do all the stages before this one again.
        return f"-s {stage}" if (folder / file).exists() else stage

    record = read_json(folder / RECORD, made_by=made_by(RECORD))
    history = read_json(folder / HISTORY, made_by=made_by(HISTORY))
    table = read_table(folder / PREDICTIONS, made_by=made_by(PREDICTIONS))
    return _made_of(record, history, table, place=str(folder), remedy=f"run `dvc repro {stage}`")


def parse_run(read: Callable[[str], bytes], *, place: str, remedy: str) -> Run:
    """Make a run of its files' bytes, which `read` returns by the file's name.

    Args:
        read: returns the bytes of `run.json` and its like.
        place: where they lie, for errors.
        remedy: what to do where they are not right.

    Raises:
        UserError: a file is not what this version writes.
    """

    def parsed(file: str, parse: Callable[[bytes], Any]) -> Any:
        content = read(file)
        try:
            return parse(content)
        except (ValueError, pa.ArrowException, OSError) as error:
            raise UserError(f"{place}/{file}: not a run's; {remedy}") from error

    return _made_of(
        parsed(RECORD, json.loads),
        parsed(HISTORY, json.loads),
        parsed(PREDICTIONS, lambda content: pq.ParquetFile(io.BytesIO(content)).read()),
        place=place,
        remedy=remedy,
    )


def _made_of(content: Any, history: Any, table: pa.Table, *, place: str, remedy: str) -> Run:
    """Return a run of what its three files hold.

    Raises:
        UserError: they do not hold what this version writes.
    """
    try:
        record = RunRecord.model_validate(content)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(
            f"{place}/{RECORD}: {key} is not what this version writes; {remedy}"
        ) from error
    return Run(
        record=record,
        history=history,
        predictions=_predictions(table, place=f"{place}/{PREDICTIONS}", remedy=remedy),
    )


def _predictions(table: pa.Table, *, place: str, remedy: str) -> Predictions:
    grouped = GROUP.name in table.schema.names
    expected = SCHEMA.append(GROUP) if grouped else SCHEMA
    if not table.schema.equals(expected) or any(column.null_count for column in table.columns):
        raise UserError(f"{place}: its columns are not what this version writes; {remedy}")
    lists = table.column("probabilities").combine_chunks()
    width = np.unique(np.diff(numbers(lists.offsets)))
    if len(table) == 0 or len(width) != 1:
        raise UserError(f"{place}: not a list of probabilities for each row; {remedy}")
    return Predictions(
        row_ids=table.column("row_id").to_pylist(),
        labels=numbers(table.column("label")).astype(np.int64),
        probabilities=numbers(lists.values).reshape(len(table), -1),
        tokens=numbers(table.column("tokens")).astype(np.int64),
        groups=table.column(GROUP.name).to_pylist() if grouped else None,
    )


def read_runs(methods: Sequence[str], seeds: Sequence[int]) -> dict[str, list[Run]]:
    """Read all runs of a study: method -> one run for each seed, in the order given."""
    return {method: [read_run(method, seed) for seed in seeds] for method in methods}
