"""Read labelled texts from a file, a folder, a package or the Hub.

A corpus is a `datasets.Dataset` with the columns row_id (string), text (string) and label: a
string as read, a ClassLabel once cleaned (`fairtune.data.cleaning`).
"""

from __future__ import annotations

import glob
import re
import tempfile
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel, Dataset, Features, Value
from huggingface_hub import constants

from fairtune.core.errors import UserError, chain, did_you_mean, one_line
from fairtune.core.params import Data
from fairtune.core.sources import local_path, reading, reason
from fairtune.core.terminal import at_terminal

READERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
TEXT = {"string", "large_string"}
COLUMNS = ("row_id", "text", "label")
# What the readers raise, or say, about a file without rows.
NO_ROWS = {
    "EmptyDataError",
    "StopIteration",
    "SchemaInferenceError",
    'Instruction "train" corresponds to no data!',
    "BatchSize must be greater than 0, got 0",
    "Parquet file size is 0 bytes",
}


def read(data: Data, split: str) -> Dataset:
    """Read one split of the source as row_id, text and label, in the source's order.

    Raises:
        UserError: the source cannot be had or read, or a column is not there or not of its kind.
    """
    rows = _load(data, split)
    columns = {key: getattr(data, key) for key in ("text_column", "label_column")}
    for key, column in [*columns.items(), *(("where", column) for column in data.where)]:
        if column not in rows.column_names:
            raise UserError(
                f"data.{key}: '{data.source}' has no column '{column}'; "
                f"{did_you_mean(column, rows.column_names)}"
            )
    kept = _matching(rows, data)
    texts, labels = _texts(rows, data), _labels(rows, data)
    return Dataset.from_dict(
        {
            "row_id": [f"{split}/{index}" for index in kept],
            "text": [texts[index] for index in kept],
            "label": [labels[index] for index in kept],
        },
        features=Features(dict.fromkeys(COLUMNS, Value("string"))),
    )


def _load(data: Data, split: str) -> Dataset:
    """Load the source; a local one leaves no copy in the cache of `datasets`."""
    # What goes wrong is said once, by `reading`.
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    if not at_terminal():
        datasets.disable_progress_bars()
    path = local_path(data.source, key="data.source")
    with reading(data.source, data.revision, key="data.source") as name:
        if path is None:
            rows = _from_hub(name, data, split)
            _check_commit(rows, data)
            return rows
        with tempfile.TemporaryDirectory() as cache:
            if path.is_dir():
                return _from_hub(name, data, split, cache_dir=cache, keep_in_memory=True)
            return _from_file(path, data, cache_dir=cache, keep_in_memory=True)


def _from_hub(name: str, data: Data, split: str, **options: Any) -> Dataset:
    """Load one split of a Hub dataset, or of a folder in the Hub's format."""
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
        what = one_line(error)
        if "split" in what.lower():
            key = "split" if split == data.split else "test_split"
            raise UserError(f"data.{key}: '{data.source}': {what}") from error
        if "config" in what.lower():
            raise UserError(f"data.config: '{data.source}': {what}") from error
        raise


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


def _from_file(path: Path, data: Data, **options: Any) -> Dataset:
    """Load a CSV, TSV, JSONL or Parquet file."""
    ending = path.suffix.lower()
    if ending not in READERS:
        raise UserError(f"data.source: '{path}' ends in none of {', '.join(READERS)}")
    if data.test_split is not None:
        raise UserError(
            f"data.test_split: '{data.test_split}' is not right: the file '{path}' has no splits; "
            "drop the key, or give a folder with a file for each split"
        )
    if READERS[ending] == "csv":
        # pandas would take the words NA, None and null for gaps, and a text of digits for a number.
        options |= {"sep": "\t" if ending == ".tsv" else ",", "converters": {data.text_column: str}}
        options |= {"keep_default_na": False, "na_values": [""]}
    try:
        return datasets.load_dataset(
            READERS[ending], data_files=glob.escape(str(path)), split="train", **options
        )
    except Exception as error:
        links = list(chain(error))
        if any(isinstance(link, UnicodeDecodeError) for link in links):
            raise UserError(f"data.source: '{path}' is not UTF-8 text; convert it") from error
        words = {type(link).__name__ for link in links} | {reason(error)}
        if NO_ROWS & words:
            raise UserError(f"data.source: '{path}' is empty: it has no rows") from error
        raise


def _matching(rows: Dataset, data: Data) -> list[int]:
    """Return the numbers of the rows that `data.where` keeps."""
    kept = list(range(len(rows)))
    for column, value in data.where.items():
        values = _values(rows, column, data)
        kept = [index for index in kept if values[index] == value]
        if not kept:
            raise UserError(f"data.where: no row of '{data.source}' has {column} = {value!r}")
    return kept


def _values(rows: Dataset, column: str, data: Data) -> list[Any]:
    try:
        values: list[Any] = rows[column][:]
    except UnicodeDecodeError as error:  # JSON and Parquet are decoded only now
        raise UserError(f"data.source: '{data.source}' is not UTF-8 text; convert it") from error
    return values


def _texts(rows: Dataset, data: Data) -> list[str | None]:
    """Return the column of texts as it is."""
    kind = getattr(rows.features[data.text_column], "dtype", "lists")
    if kind not in TEXT:
        raise UserError(
            f"data.text_column: '{data.text_column}' of '{data.source}' holds {kind}, not text"
        )
    return _values(rows, data.text_column, data)


def _labels(rows: Dataset, data: Data) -> list[str | None]:
    """Return the column of labels as text: 1, 1.0 and '1' are the same class."""
    feature = rows.features[data.label_column]
    values = _values(rows, data.label_column, data)
    if isinstance(feature, ClassLabel):
        # Rows without a label carry -1 in the Hub's format.
        return [None if n is None or n < 0 else feature.int2str(n) for n in values]
    return [_label(value, data) for value in values]


def _label(value: Any, data: Data) -> str | None:
    match value:
        case None:
            return None
        case bool() | str():
            return str(value).strip() or None
        case int() | float() if value == value and float(value).is_integer():
            return str(int(value))
        case float() if value != value:  # not a number: a gap in a column of numbers
            return None
    raise UserError(
        f"data.label_column: '{data.label_column}' of '{data.source}' holds {value!r}; "
        "a class is a string or a whole number"
    )
