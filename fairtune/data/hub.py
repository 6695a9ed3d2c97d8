"""Read columns through `datasets`, of the Hub or of a folder in its format."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel, Dataset
from huggingface_hub import constants
from huggingface_hub.utils.tqdm import disable_progress_bars

from fairtune.core.errors import UserError, one_line
from fairtune.core.params import Data
from fairtune.core.quiet import at_terminal
from fairtune.data.parquet import check_text
from fairtune.data.table import Table, check_columns, wanted

# What `datasets` makes rows of by guessing what cells are.
GUESSED = {"csv", "json"}


def quiet() -> None:
    """Let `datasets` say nothing: what goes wrong is said once, by us."""
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    if not at_terminal():
        datasets.disable_progress_bars()
        disable_progress_bars()


def read_hub(name: str, data: Data, split: str) -> Table:
    """Read one split of a Hub dataset that is not made of text files."""
    rows = _load(name, data, split)
    _check_commit(rows, data)
    if constants.HF_HUB_OFFLINE and rows.info.builder_name in GUESSED:
        raise UserError(
            f"data.source: the copy of '{name}' on this machine was made by guesses at what its "
            "cells are, and the Hugging Face Hub cannot be reached; connect, or give a local path"
        )
    return _table(rows, data)


def read_folder(path: Path, data: Data, split: str) -> Table:
    """Read one split of a folder as `datasets` does; nothing is left in the library's cache."""
    with tempfile.TemporaryDirectory() as cache:
        rows = _load(str(path), data, split, cache_dir=cache, keep_in_memory=True)
    return _table(rows, data)


def new_builder(name: str, data: Data) -> datasets.DatasetBuilder:
    """Return what `datasets` would read a folder or a Hub dataset with; no rows are read yet.

    Raises:
        UserError: there is no such configuration, or the splits are of several kinds.
    """
    with tempfile.TemporaryDirectory() as cache:
        try:
            return datasets.load_dataset_builder(
                name, data.config, revision=data.revision, cache_dir=cache
            )
        except ValueError as error:
            _name_key(error, data, data.split)
            raise


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
    if "same data file format" in what:
        raise UserError(
            f"data.source: '{data.source}' holds files of several kinds; all splits must be of one "
            "kind: all CSV, all TSV, all JSONL or all Parquet"
        ) from error
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
    check_text(rows.data.schema.field(data.text_column).type, data)
    label = rows.features[data.label_column]
    columns = {name: rows[name][:] for name in wanted(data)}
    return Table(columns=columns, classes=label.names if isinstance(label, ClassLabel) else None)
