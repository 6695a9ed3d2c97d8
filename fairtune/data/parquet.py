"""Read columns of Parquet files; those that a study does not need are not looked at."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Features

from fairtune.core.errors import UserError
from fairtune.core.params import Data
from fairtune.data.table import Table, check_columns, wanted


def read(path: Path, data: Data) -> Table:
    """Read the columns of a file that the study needs.

    Raises:
        UserError: the file has no rows, or a column is not there or not of its kind.
    """
    if path.stat().st_size == 0:
        raise UserError(f"data.source: '{path}' is empty: it has no rows")
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        check_columns(schema.names, data, source=str(path))
        if file.metadata.num_rows == 0:
            raise UserError(f"data.source: '{path}' is empty: it has no rows")
        check_text(schema.field(data.text_column).type, data)
        try:
            table = file.read(columns=wanted(data))
            columns = {name: table.column(name).to_pylist() for name in wanted(data)}
        except UnicodeDecodeError as error:
            raise UserError(f"data.source: '{path}' is not UTF-8 text; convert it") from error
    return Table(columns=columns, classes=_classes(schema, data.label_column))


def check_text(kind: pa.DataType, data: Data) -> None:
    """Refuse a text column that holds something else."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (is_text or pa.types.is_string_view(kind)):
        raise UserError(
            f"data.text_column: '{data.text_column}' of '{data.source}' holds {kind}, not text"
        )


def _classes(schema: pa.Schema, column: str) -> list[str] | None:
    """Return the names of a column's numbered classes, where `datasets` wrote the file."""
    alone = pa.schema([schema.field(column)], metadata=schema.metadata)
    feature = Features.from_arrow_schema(alone)[column]
    return list(feature.names) if isinstance(feature, ClassLabel) else None
