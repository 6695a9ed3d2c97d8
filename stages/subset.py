"""Corpus -> stratified, seeded, disjoint train / validation / test rows and a manifest.

in:  the source that ``data.source`` names
out: data/subset/{train,validation,test}.parquet, data/subset/manifest.json
"""

from __future__ import annotations

from fairtune import data, errors, files, layout, params


def main() -> None:
    """Draw the rows and write them."""
    study = params.load()
    splits = data.draw(study.data, study.subset)
    with files.fresh_folder(layout.SUBSET) as folder:
        for name, rows in splits.named().items():
            rows.to_parquet(folder / f"{name}.parquet")
        manifest = data.manifest(splits, study.data, study.subset)
        files.write_json(folder / layout.MANIFEST, manifest)
    counts = ", ".join(f"{len(rows)} {name}" for name, rows in splits.named().items())
    print(f"subset: {counts}; dropped {manifest['dropped']}")


if __name__ == "__main__":
    errors.run(main)
