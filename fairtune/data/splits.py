"""Draw stratified, seeded, disjoint train / validation / test rows from a corpus."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from fairtune.core.errors import UserError
from fairtune.core.params import Data, Subset
from fairtune.core.paths import SPLITS
from fairtune.data import groups
from fairtune.data.cleaning import Dropped, clean
from fairtune.data.corpus import COLUMNS, GROUP, Part, read_part
from fairtune.data.doubt import doubtful
from fairtune.data.shares import shares


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Three disjoint draws from one corpus."""

    train: Dataset
    validation: Dataset
    test: Dataset
    read: int
    """Rows of the source, in all the splits read."""
    filtered: int
    """Rows left out as `data.where` asks."""
    dropped: Dropped
    shared: int = 0
    """Rows left out because their group has rows in the test split of its own."""
    doubt: str | None = None
    """What speaks against the labels being classes."""

    @property
    def left(self) -> int:
        """Rows that could be drawn."""
        return self.read - self.filtered - self.dropped.rows - self.shared

    def account(self) -> str:
        """Return where all rows of the source went, in words."""
        filtered = f", {self.filtered:,} not as data.where asks" if self.filtered else ""
        dropped = f", {self.dropped} dropped" if self.dropped.rows else ""
        shared = f", {self.shared:,} in groups of test rows left out" if self.shared else ""
        drawn = ", ".join(
            f"{len(rows):,} {name}"
            + (f" ({groups.number_of(rows):,} groups)" if self.grouped else "")
            for name, rows in self.named().items()
        )
        return (
            f"{self.read:,} rows read{filtered}{dropped}{shared}, {self.left:,} left: {drawn} drawn"
        )

    @property
    def grouped(self) -> bool:
        """Whether the rows were drawn in groups."""
        return GROUP in self.train.features

    def named(self) -> dict[str, Dataset]:
        """Return the three by name."""
        return {name: getattr(self, name) for name in SPLITS}


def read_corpus(data: Data) -> dict[str, Part]:
    """Read the splits of the source that rows are drawn from: one, or one more for the test rows.

    Raises:
        UserError: the source cannot be had or read, or a column is not there or not of its kind.
    """
    names = [data.split, data.test_split or data.split]
    return {split: read_part(data, split) for split in dict.fromkeys(names)}


def draw(corpus: Mapping[str, Part], data: Data, subset: Subset) -> Splits:
    """Clean the corpus and draw the three splits.

    The test rows are drawn first, then the validation rows: with the same seed, a study of fewer
    training rows has the same test and validation rows, and its training rows are among the others
    (where rows are in groups, the first alone, as long as there are groups enough).

    Raises:
        UserError: the classes or a number of rows are not right, or a split is left empty.
    """
    test_split = data.test_split or data.split
    rows = {split: part.rows for split, part in corpus.items()}
    pools, dropped = clean(rows, label_names=data.label_names)
    doubt = doubtful(pools[data.split])
    sizes: dict[str, dict[str, int]] = {split: {} for split in pools}
    sizes[test_split] |= {"test": subset.test}
    sizes[data.split] |= {"validation": subset.validation, "train": subset.train}
    parts: dict[str, Dataset] = {}
    shared = 0
    # The test rows come first, as their groups are left out of the others.
    for split in dict.fromkeys([test_split, *pools] if data.group_column else pools):
        where = f"split '{split}' of '{data.source}'"
        where += f" after dropping {dropped[split]}" if dropped[split].rows else ""
        if not len(pools[split]):
            key = "split" if split == data.split else "test_split"
            raise UserError(f"data.{key}: {where} has no rows left; {_remedy(dropped[split])}")
        pool = pools[split]
        if data.group_column and parts:
            pool = groups.apart(pool, parts["test"], where=where)
            shared = len(pools[split]) - len(pool)
            where += f" without {shared:,} rows in groups of test rows" if shared else ""
        # A test split whose groups are its own needs no whole groups: more of them tell more.
        whole = split == data.split or groups.common(pools[split], pools[data.split])
        try:
            parts |= divide(pool, sizes[split], seed=subset.seed, where=where, whole=whole)
        except UserError as error:
            raise UserError(f"{error}; {doubt}") if doubt else error from None
    read = sum(part.read for part in corpus.values())
    return Splits(
        **parts,
        read=read,
        filtered=read - sum(map(len, rows.values())),
        dropped=functools.reduce(Dropped.__add__, dropped.values()),
        shared=shared,
        doubt=doubt,
    )


def _remedy(dropped: Dropped) -> str:
    """Return what to do about a split of which nothing is left."""
    if dropped.empty > dropped.rows / 2:
        return "its rows have no text or no label: give a split that is labelled"
    return "its texts stand elsewhere too, or have several labels: give another split"


def divide(
    pool: Dataset,
    sizes: dict[str, int],
    *,
    seed: int,
    where: str = "the corpus",
    whole: bool = True,
) -> dict[str, Dataset]:
    """Draw disjoint sets of these sizes that hold the classes in the pool's proportions.

    Where the rows are in groups and these are to be taken `whole`, no group is in two sets.

    Raises:
        UserError: the pool has too few rows or groups, or too few of one class.
    """
    labels = np.array(pool["label"][:])
    names = pool.features["label"].names
    left = np.bincount(labels, minlength=len(names))
    _check(left, names, sizes, where=where)
    if GROUP in pool.features and whole:
        drawn = groups.draw(labels, pool[GROUP][:], sizes, names=names, seed=seed, where=where)
        return {name: pool.select(rows) for name, rows in drawn.items()}
    generator = np.random.default_rng(seed)
    queues = [generator.permutation(np.flatnonzero(labels == label)) for label in range(len(names))]
    parts = {}
    for later, (name, size) in zip(reversed(range(len(sizes))), sizes.items(), strict=True):
        share = shares(left, size, later=later)
        rows = np.concatenate([queue[:n] for queue, n in zip(queues, share, strict=True)])
        queues = [queue[n:] for queue, n in zip(queues, share, strict=True)]
        left = left - share
        parts[name] = pool.select(generator.permutation(rows))
    return parts


def _check(
    counts: NDArray[np.int64], names: list[str], sizes: dict[str, int], *, where: str
) -> None:
    """Refuse sizes that the pool cannot meet."""
    asked, there = sum(sizes.values()), int(counts.sum())
    if asked > there:
        keys = " + ".join(f"subset.{name}" for name in reversed(sizes))
        raise UserError(f"{keys}: {asked:,} rows are asked for; {where} has {there:,}")
    smallest = min(sizes, key=lambda name: sizes[name])
    if sizes[smallest] < len(names):
        raise UserError(
            f"subset.{smallest}: {sizes[smallest]} is too few; with {len(names)} classes, each "
            f"split needs {len(names)} rows or more"
        )
    rare = int(counts.argmin())
    if counts[rare] < len(sizes):
        raise UserError(
            f"data.label_column: class '{names[rare]}' has {counts[rare]} of the {there:,} rows; "
            f"each of {', '.join(reversed(sizes))} needs one: add rows to {where}, or leave the "
            "class out"
        )


def content_hash(rows: Dataset) -> str:
    """Return the SHA-256 of a split's ids, texts, labels and groups, in order."""
    digest = hashlib.sha256()
    columns = [rows[name] for name in (*COLUMNS, GROUP) if name in rows.features]
    for cells in zip(*columns, strict=True):
        digest.update(("\x1f".join(map(str, cells)) + "\x1e").encode())
    return digest.hexdigest()


def manifest(splits: Splits, data: Data, subset: Subset) -> dict[str, Any]:
    """Return what a reader needs to know about the draw, row ids included."""
    parts = splits.named()
    names: list[str] = splits.train.features["label"].names
    counts = {name: Counter(rows["label"]) for name, rows in parts.items()}
    hashes = {name: content_hash(rows) for name, rows in parts.items()}
    # The separator says how the file is written, and nothing of the rows.
    unsaid = {"separator"} if splits.grouped else {"separator", "group_column"}
    return {
        "source": data.model_dump(exclude=unsaid),
        "seed": subset.seed,
        "labels": names,
        "dropped": asdict(splits.dropped),
        "sha256": hashlib.sha256("".join(hashes.values()).encode()).hexdigest(),
        "splits": {
            name: {
                "rows": len(rows),
                **({"groups": groups.number_of(rows)} if splits.grouped else {}),
                "label_counts": {label: counts[name][n] for n, label in enumerate(names)},
                "sha256": hashes[name],
                "row_ids": list(rows["row_id"]),
            }
            for name, rows in parts.items()
        },
    }
