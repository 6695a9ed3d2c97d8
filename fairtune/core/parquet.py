"""Read the pipeline's tables; apart from its other files, as importing pyarrow takes long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fairtune.core.disk import obstacle
from fairtune.core.errors import UserError


def read_table(path: Path, *, made_by: str) -> pa.Table:
    """Read a Parquet file of an earlier stage.

    Raises:
        UserError: the file is missing or is not Parquet; names the stage that makes it.
    """
    try:
        # `pq.read_table` would load pyarrow.dataset and pandas, which take longer than the reading.
        with pq.ParquetFile(path) as file:
            return file.read()
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run `dvc repro {made_by}`") from None
    except (pa.ArrowInvalid, OSError) as error:
        if obstacle(error):
            raise
        raise UserError(f"{path}: not valid Parquet; run `dvc repro --force {made_by}`") from error


def numbers(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Return a column of numbers without gaps as an array of their type; it may be read-only.

    pyarrow's own `to_numpy` would load pandas, which takes longer than the reading.
    """
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(whole)
