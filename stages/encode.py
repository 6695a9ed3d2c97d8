"""Rows + the model's tokenizer -> token ids, cut to length, once for all methods.

in:  data/subset, the encoder that ``model.name`` names
out: data/encoded/{train,validation,test}.parquet, manifest.json, tokenizer/
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairtune.core import ahead, files, origins, params, paths

# The rest where it is used: this process may give way to one that has it imported.
if TYPE_CHECKING:
    from fairtune.data import tokenization


def encode(
    texts: Mapping[str, Sequence[str]], tokenizer: Any, *, wanted: params.Encode
) -> dict[str, tokenization.Tokens]:
    """Return the token ids of each split's texts."""
    from fairtune.data import tokenization

    return {
        split: tokenization.encode(
            tokenizer, of_split, max_length=wanted.max_length, keep=wanted.keep
        )
        for split, of_split in texts.items()
    }


def main(_started: float = 0.0) -> None:
    """Tokenize the three splits and write them.

    Args:
        _started: when that was asked for, as a fork is told; only trainings make use of it.
    """
    from fairtune.data import tokenization

    study = origins.pinned(params.load())
    subset = files.read_json(paths.SUBSET / paths.MANIFEST, made_by="subset")
    tokenizer = tokenization.load_tokenizer(study.model)
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        print(f"encode: batches are filled up with {tokenization.padding(tokenizer)}")
    tokenization.check_length(tokenizer, study.encode.max_length)
    rows = {split: read_rows(split) for split in paths.SPLITS}
    texts = {split: of_split["text"] for split, of_split in rows.items()}
    made = encode(texts, tokenizer, wanted=study.encode)
    with files.fresh_folder(paths.ENCODED) as folder:
        hashes = {split: write_split(folder, split, rows[split], made[split].ids) for split in rows}
        tokenizer.save_pretrained(folder / paths.TOKENIZER)
        hashes[paths.TOKENIZER] = tokenization.folder_hash(folder / paths.TOKENIZER)
        manifest = tokenization.manifest(study, subset, made, hashes=hashes, tokenizer=tokenizer)
        files.write_json(folder / paths.MANIFEST, manifest)
    for split, tokens in manifest["splits"].items():
        print(f"encode: {split}: {tokens['tokens']:,} tokens of {tokens['rows']:,} rows")


def read_rows(split: str) -> dict[str, list[Any]]:
    """Read the columns of one split of the subset."""
    from fairtune.core import parquet

    table = parquet.read_table(paths.SUBSET / f"{split}.parquet", made_by="subset")
    columns: dict[str, list[Any]] = table.to_pydict()
    return columns


def write_split(folder: Path, split: str, rows: dict[str, list[Any]], ids: list[list[int]]) -> str:
    """Write the token cache of one split; return its hash."""
    from fairtune.runs import token_cache

    path = folder / f"{split}.parquet"
    row_ids, labels, groups = rows["row_id"], rows["label"], rows.get("group")
    token_cache.write(path, row_ids=row_ids, labels=labels, ids=ids, groups=groups)
    return token_cache.read(path).sha256()


def start_process() -> None:
    """Go on in a fork of the run's preloaded process, where there is one, or in this process."""
    ahead.go_on("stages.encode")
    main()


if __name__ == "__main__":
    errors.run(start_process)
