"""Rows + the model's tokenizer -> token ids, truncated, once for all methods.

in:  data/subset
out: data/encoded/{train,validation,test}.parquet, manifest.json, tokenizer/
"""

from __future__ import annotations

from fairtune.core import errors, files, params, paths
from fairtune.data import tokenization
from fairtune.runs import token_cache


def main() -> None:
    """Tokenize the three splits and write them."""
    study = params.load()
    subset = files.read_json(paths.SUBSET / paths.MANIFEST, made_by="subset")
    tokenizer = tokenization.load_tokenizer(study.model)
    tokenization.check_length(tokenizer, study.encode.max_length)
    with files.fresh_folder(paths.ENCODED) as folder:
        splits = {}
        for name in paths.SPLITS:
            table = files.read_table(paths.SUBSET / f"{name}.parquet", made_by="subset")
            rows = table.to_pydict()
            made = tokenization.encode(tokenizer, rows["text"], max_length=study.encode.max_length)
            path = folder / f"{name}.parquet"
            token_cache.write(path, row_ids=rows["row_id"], labels=rows["label"], ids=made.ids)
            splits[name] = tokenization.summary(made) | {"sha256": token_cache.read(path).sha256()}
            print(f"encode: {name}: {splits[name]['tokens']:,} tokens of {len(made.ids):,} rows")
        tokenizer.save_pretrained(folder / paths.TOKENIZER)
        manifest = {
            "model": study.model.name,
            "revision": study.model.revision,
            "max_length": study.encode.max_length,
            "pad_token_id": tokenizer.pad_token_id,
            "tokenizer_sha256": tokenization.folder_hash(folder / paths.TOKENIZER),
            "subset_sha256": subset["sha256"],
            "labels": subset["labels"],
            "splits": splits,
        }
        files.write_json(folder / paths.MANIFEST, manifest)


if __name__ == "__main__":
    errors.run(main)
