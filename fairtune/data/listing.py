"""List the files of a dataset, a folder or one of the Hub, and what its card says of them.

`datasets` finds them, as it does for anyone; we read them, since it takes cells for numbers, dates
and gaps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel
from datasets.data_files import DataFilesDict, get_data_patterns
from huggingface_hub import cached_assets_path, constants, hf_hub_download

from fairtune.core import files
from fairtune.core.errors import UserError
from fairtune.core.params import Data
from fairtune.data.compression import PACKED
from fairtune.data.hub import new_builder

KINDS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
TEXT = {"csv", "json"}
NOTE = "files.json"
# Settings of a card that we follow, that change no cell, or that ask for what we do anyway.
FOLLOWED = {"name", "version", "data_dir", "data_files", "description", "features", "sep"}
FOLLOWED |= {"delimiter"}
WITHOUT_EFFECT = {
    *(
        "batch_size",
        "block_size",
        "chunksize",
        "engine",
        "float_precision",
        "fragment_scan_options",
    ),
    *("memory_map", "newlines_in_values", "on_mixed_types", "parse_agent_traces", "use_threads"),
    *("verbose", "warn_bad_lines", "error_bad_lines", "mangle_dupe_cols", "low_memory"),
}
OURS: dict[str, tuple[Any, ...]] = {
    "encoding": ("utf-8", "utf8", "UTF-8", "utf-8-sig"),
    "header": (0,),
    "keep_default_na": (False,),
    "na_filter": (False,),
}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of a dataset, of one kind, by split."""

    kind: str
    """csv (TSV too), json or parquet."""
    splits: dict[str, list[str]]
    """Paths, from the root of a Hub dataset or absolute."""
    separator: str | None
    """What the card says stands between cells."""
    classes: dict[str, list[str]]
    """Names of classes by the column in which they are numbered, as the card gives them."""
    commit: str | None = None
    """Of a Hub dataset."""

    def files(self, data: Data, split: str) -> list[Path]:
        """Return the files of a split on this machine; those of the Hub are fetched.

        Raises:
            UserError: the dataset has no such split.
        """
        if split not in self.splits:
            key = "split" if split == data.split else "test_split"
            raise UserError(
                f"data.{key}: '{split}' is not right: of text files, a split is read as a whole; "
                f"give one of {', '.join(self.splits)}"
            )
        if self.commit is None:
            return [Path(file) for file in self.splits[split]]
        return [
            Path(hf_hub_download(data.source, file, repo_type="dataset", revision=self.commit))
            for file in self.splits[split]
        ]


def of_folder(path: Path, data: Data) -> Listing | None:
    """Return the files of a folder; None where they are of a kind that we do not read ourselves.

    Raises:
        UserError: there are several kinds of files, or the card says how they are to be read.
    """
    found = _listing(new_builder(str(path), data), data)
    if found is not None:
        _check_kinds(path, found, data)
    return found


def of_hub(name: str, data: Data) -> Listing | None:
    """Return the text files of a Hub dataset; None where it is made of others.

    What a commit holds is noted beside the libraries' own copies: the Hub is asked once, and need
    not be there later.

    Raises:
        UserError: the card says how the files are to be read, or names files that lie elsewhere; or
            without the Hub there are other commits alone.
    """
    note = _note(name, data)
    found = _noted(note)
    pinned = re.fullmatch("[0-9a-f]{40}", data.revision or "")
    if constants.HF_HUB_OFFLINE:
        if found is None:
            _name_others(note, data)
    elif found is None or not pinned:
        found = _found(name, data)
        if found is not None and note is not None:
            files.write_json(note, asdict(found))
    return found if found is not None and found.kind in TEXT else None


def _found(name: str, data: Data) -> Listing | None:
    """Return the files of a Hub dataset as the Hub tells them."""
    builder = new_builder(name, data)
    found = _listing(builder, data)
    if found is None:
        return None
    commit = str(builder.hash)
    inside = {
        split: [file.partition(f"@{commit}/")[2] for file in of_split]
        for split, of_split in found.splits.items()
    }
    if found.kind in TEXT and not all(all(of_split) for of_split in inside.values()):
        raise UserError(
            f"data.source: the card of '{name}' names files that lie elsewhere, which are not "
            "read; fetch them, and give their path"
        )
    return Listing(**asdict(found) | {"splits": inside, "commit": commit})


def _note(name: str, data: Data) -> Path | None:
    """Return where the files of a commit are noted; None where nothing can be written."""
    revision = data.revision or constants.DEFAULT_REVISION
    about = f"{revision}--{data.config}" if data.config else revision
    try:
        return cached_assets_path("fairtune", namespace=name, subfolder=about) / NOTE
    except OSError:  # others may have filled the cache for us to read
        return None


def _noted(note: Path | None) -> Listing | None:
    if note is None or not note.is_file():
        return None
    try:
        return Listing(**json.loads(note.read_text("utf-8")))
    except (TypeError, ValueError):  # of another version
        return None


def _name_others(note: Path | None, data: Data) -> None:
    """Refuse a revision that is not on this machine, where others are."""
    paths = note.parent.parent.glob(f"*/{NOTE}") if note else ()
    commits = {found.commit for path in paths if (found := _noted(path)) and found.kind in TEXT}
    if commits:
        raise UserError(
            f"data.revision: '{data.revision or constants.DEFAULT_REVISION}' of '{data.source}' is "
            "not on this machine, and the Hugging Face Hub cannot be reached; connect, or set the "
            f"revision to {' or '.join(sorted(map(str, commits)))}"
        )


def _listing(builder: datasets.DatasetBuilder, data: Data) -> Listing | None:
    kind, config = str(builder.name), builder.config
    if kind not in KINDS.values() or getattr(config, "field", None):
        return None
    unknown = sorted(_unusual(config))
    if unknown and kind in TEXT:
        raise UserError(
            f"data.source: the card of '{data.source}' sets {', '.join(unknown)} for its files, "
            "which is not followed; give a CSV file with a header, or JSONL or Parquet"
        )
    if unknown:
        return None
    features = builder.info.features or {}
    return Listing(
        kind=kind,
        splits={
            str(split): [str(file) for file in of_split]
            for split, of_split in (config.data_files or {}).items()
        },
        separator=getattr(config, "sep", None),
        classes={
            column: list(feature.names)
            for column, feature in features.items()
            if isinstance(feature, ClassLabel)
        },
    )


def _unusual(config: datasets.BuilderConfig) -> Iterable[str]:
    """Yield the settings that would have us read other cells than we do."""
    for setting in fields(config):
        value = getattr(config, setting.name)
        usual = () if setting.default is MISSING else (setting.default,)
        if setting.name in FOLLOWED | WITHOUT_EFFECT or value in usual:
            continue
        if value not in OURS.get(setting.name, ()):
            yield setting.name


def _check_kinds(path: Path, found: Listing, data: Data) -> None:
    """Refuse a folder of several kinds of files, of which `datasets` takes the commonest alone."""
    cards = [path / name for name in ("README.md", ".huggingface.yaml")]
    if any(card.is_file() and "configs:" in card.read_text("utf-8") for card in cards):
        return  # it lists the files
    patterns = get_data_patterns(str(path))
    for of_split in DataFilesDict.from_patterns(patterns, base_path=str(path)).values():
        for file in of_split:
            if (kind := _kind(file)) and kind != found.kind:
                raise UserError(
                    f"data.source: '{data.source}' holds files of several kinds, '{file}' beside "
                    f"{found.kind} files, and one kind is read; take it out, or give one file"
                )


def _kind(file: str) -> str | None:
    """Return the kind of a file by its ending, packed or not."""
    path = Path(file)
    path = Path(path.stem) if path.suffix.lower() in PACKED else path
    return KINDS.get(path.suffix.lower())
