"""The token cache on disk: one Parquet file a split, and in memory: flat arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fairtune.core.errors import UserError
from fairtune.core.parquet import numbers, read_table

SCHEMA = pa.schema(
    [("row_id", pa.string()), ("label", pa.int32()), ("input_ids", pa.list_(pa.int32()))]
)


GROUP = pa.field("group", pa.string())
"""A further column, last, where rows were drawn in groups."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Token ids of one split.

    Row `i` is `tokens[offsets[i]:offsets[i + 1]]`.
    """

    row_ids: list[str]
    labels: NDArray[np.int64]
    """Class of each row, shape (rows,)."""
    tokens: NDArray[np.int32]
    """Ids of all rows, one after another, shape (sum of lengths,)."""
    offsets: NDArray[np.int64]
    """Where each row begins, and the end of the last, shape (rows + 1,)."""
    groups: list[str] | None = None
    """Group of each row, where rows were drawn in groups."""

    @classmethod
    def of(
        cls,
        ids: Sequence[Sequence[int] | NDArray[np.int32]],
        *,
        row_ids: Sequence[str] | None = None,
        labels: Sequence[int] | NDArray[np.int64] | None = None,
        groups: list[str] | None = None,
    ) -> Encoded:
        """Return rows whose token ids lie in lists; without labels each is of class 0.

        Args:
            ids: token ids of each row; one row at least.
            row_ids: names of the rows; empty where there are none.
            labels: class of each row, shape (rows,).
            groups: group of each row.
        """
        return cls(
            row_ids=[""] * len(ids) if row_ids is None else list(row_ids),
            labels=np.asarray([0] * len(ids) if labels is None else labels, dtype=np.int64),
            tokens=np.concatenate([np.asarray(row, dtype=np.int32) for row in ids]),
            offsets=np.cumsum([0, *map(len, ids)]),
            groups=groups,
        )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens in each row, shape (rows,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.row_ids)

    def row(self, index: int) -> NDArray[np.int32]:
        """Return the token ids of one row."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def sha256(self) -> str:
        """Return the hash of ids, groups, labels and tokens, in order."""
        digest = hashlib.sha256("\n".join([*self.row_ids, *(self.groups or [])]).encode())
        for array in (self.labels, self.tokens, self.offsets):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def write(
    path: Path,
    *,
    row_ids: Sequence[str],
    labels: Sequence[int],
    ids: list[list[int]],
    groups: Sequence[str] | None = None,
) -> None:
    """Write one split; the column of groups only where there are groups."""
    table = pa.table(
        [pa.array(row_ids), pa.array(labels, pa.int32()), pa.array(ids, pa.list_(pa.int32()))],
        schema=SCHEMA,
    )
    if groups is not None:
        table = table.append_column(GROUP, pa.array(groups, GROUP.type))
    pq.write_table(table, path)


def read(path: Path) -> Encoded:
    """Read one split.

    Raises:
        UserError: the file is missing or is not the token cache.
    """
    table = read_table(path, made_by="encode").combine_chunks()
    grouped = GROUP.name in table.schema.names
    if not table.schema.equals(SCHEMA.append(GROUP) if grouped else SCHEMA):
        raise UserError(f"{path}: not the token cache; run `dvc repro --force encode`")
    lists = table.column("input_ids").combine_chunks()
    return Encoded(
        row_ids=table.column("row_id").to_pylist(),
        labels=numbers(table.column("label")).astype(np.int64),
        tokens=numbers(lists.values).astype(np.int32),
        offsets=numbers(lists.offsets).astype(np.int64),
        groups=table.column(GROUP.name).to_pylist() if grouped else None,
    )
