"""Read columns through `datasets`: of the Hub, of a folder in its format, of a Parquet file."""

from __future__ import annotations

import glob
import re
import tempfile
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset
from huggingface_hub import constants

from fairtune.core.errors import UserError, one_line
from fairtune.core.params import Data
from fairtune.core.quiet import at_terminal
from fairtune.data.table import Table, check_columns, wanted

TEXT = {"string", "large_string"}


def quiet() -> None:
    """Let `datasets` say nothing: what goes wrong is said once, by us."""
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    if not at_terminal():
        datasets.disable_progress_bars()


def read_hub(name: str, data: Data, split: str) -> Table:
    """Read one split of a Hub dataset."""
    rows = _load(name, data, split)
    _check_commit(rows, data)
    return _table(rows, data)


def read_folder(path: Path, data: Data, split: str) -> Table:
    """Read one split of a folder in the Hub's format; nothing is left in the library's cache."""
    with tempfile.TemporaryDirectory() as cache:
        rows = _load(str(path), data, split, cache_dir=cache, keep_in_memory=True)
    return _table(rows, data)


def read_parquet(path: Path, data: Data) -> Table:
    """Read a Parquet file; columns that the study does not need are left alone."""
    if path.stat().st_size == 0:
        raise UserError(f"data.source: '{path}' is empty: it has no rows")
    file = pq.ParquetFile(path)
    check_columns(file.schema_arrow.names, data, source=data.source)
    if file.metadata.num_rows == 0:
        raise UserError(f"data.source: '{path}' is empty: it has no rows")
    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset(
            "parquet",
            data_files=glob.escape(str(path)),
            split="train",
            columns=wanted(data),
            cache_dir=cache,
            keep_in_memory=True,
        )
    return _table(rows, data)


def text_files(path: Path, data: Data, split: str) -> tuple[list[Path], str | None] | None:
    """Return the CSV, TSV or JSON files of a split of a folder, and the separator of its card.

    None where the folder holds files of another kind, or its card says how they are to be read.
    """
    with tempfile.TemporaryDirectory() as cache:
        try:
            builder = datasets.load_dataset_builder(str(path), data.config, cache_dir=cache)
        except ValueError as error:
            _name_key(error, data, split)
            raise
    splits = builder.config.data_files or {}
    if builder.name not in {"csv", "json"} or getattr(builder.config, "field", None):
        return None
    if split not in splits and re.search(r"[\[+]", split):
        key = "split" if split == data.split else "test_split"
        raise UserError(
            f"data.{key}: '{split}' is not right: of a folder of text files, a split is read as a "
            f"whole; give one of {', '.join(map(str, splits))}"
        )
    files = [Path(file) for file in splits.get(split, [])]
    if not files or not all(file.is_file() for file in files):
        return None
    return files, getattr(builder.config, "sep", None)


def _load(name: str, data: Data, split: str, **options: Any) -> Dataset:
    try:
        return datasets.load_dataset(
            name,
            data.config,
            split=split,
            revision=data.revision,
            # The split is hashed by its content. Hub metadata is often out of date.
            verification_mode="no_checks",
            **options,
        )
    except ValueError as error:
        _name_key(error, data, split)
        raise


def _name_key(error: ValueError, data: Data, split: str) -> None:
    """Raise the error with the key that it is about, where it is about one."""
    what = one_line(error)
    if "split" in what.lower():
        key = "split" if split == data.split else "test_split"
        raise UserError(f"data.{key}: '{data.source}': {what}") from error
    if "config" in what.lower():
        raise UserError(f"data.config: '{data.source}': {what}") from error


def _check_commit(rows: Dataset, data: Data) -> None:
    """Refuse another commit than the one asked for.

    Without the Hub, `datasets` takes the newest copy in its cache, whatever the revision, and our
    manifest would then name a commit that the rows are not of. A copy's folder is its commit.
    """
    commits = {Path(file["filename"]).parent.name for file in rows.cache_files}
    pinned = data.revision and re.fullmatch("[0-9a-f]{40}", data.revision)
    if constants.HF_HUB_OFFLINE and pinned and commits != {data.revision}:
        raise UserError(
            f"data.revision: the copy of '{data.source}' on this machine is of another commit than "
            f"'{data.revision}', and the Hugging Face Hub cannot be reached; connect, or set the "
            f"revision to {' or '.join(sorted(commits))}"
        )


def _table(rows: Dataset, data: Data) -> Table:
    check_columns(rows.column_names, data, source=data.source)
    kind = getattr(rows.features[data.text_column], "dtype", "lists")
    if kind not in TEXT:
        raise UserError(
            f"data.text_column: '{data.text_column}' of '{data.source}' holds {kind}, not text"
        )
    label = rows.features[data.label_column]
    try:
        columns = {name: rows[name][:] for name in wanted(data)}
    except UnicodeDecodeError as error:  # Parquet is decoded only now
        raise UserError(f"data.source: '{data.source}' is not UTF-8 text; convert it") from error
    return Table(columns=columns, classes=label.names if isinstance(label, ClassLabel) else None)
