"""Rows + the model's tokenizer -> token ids, truncated, once for all methods.

in:  data/subset
out: data/encoded/{train,validation,test}.parquet, manifest.json, tokenizer/
"""

from __future__ import annotations

from fairtune import encoded, errors, files, layout, params, tokens


def main() -> None:
    """Tokenize the three splits and write them."""
    study = params.load()
    subset = files.read_json(layout.SUBSET / layout.MANIFEST, made_by="subset")
    tokenizer = tokens.load_tokenizer(study.model)
    tokens.check_length(tokenizer, study.encode.max_length)
    with files.fresh_folder(layout.ENCODED) as folder:
        splits = {}
        for name in layout.SPLITS:
            table = files.read_table(layout.SUBSET / f"{name}.parquet", made_by="subset")
            rows = table.to_pydict()
            made = tokens.encode(tokenizer, rows["text"], max_length=study.encode.max_length)
            path = folder / f"{name}.parquet"
            encoded.write(path, row_ids=rows["row_id"], labels=rows["label"], ids=made.ids)
            splits[name] = tokens.summary(made) | {"sha256": encoded.read(path).sha256()}
            print(f"encode: {name}: {splits[name]['tokens']:,} tokens of {len(made.ids):,} rows")
        tokenizer.save_pretrained(folder / layout.TOKENIZER)
        manifest = {
            "model": study.model.name,
            "revision": study.model.revision,
            "max_length": study.encode.max_length,
            "pad_token_id": tokenizer.pad_token_id,
            "tokenizer_sha256": tokens.folder_hash(folder / layout.TOKENIZER),
            "subset_sha256": subset["sha256"],
            "labels": subset["labels"],
            "splits": splits,
        }
        files.write_json(folder / layout.MANIFEST, manifest)


if __name__ == "__main__":
    errors.run(main)
