"""Corpus -> stratified, seeded, disjoint train / validation / test rows and a manifest.

in:  the source that ``data.source`` names
out: data/subset/{train,validation,test}.parquet, data/subset/manifest.json
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

from collections.abc import Mapping

from fairtune.core import ahead, files, origins, params, paths
from fairtune.data import corpus, splits


def subset(
    parts: Mapping[str, corpus.Part], data: params.Data, sizes: params.Subset
) -> splits.Splits:
    """Return the rows of the three splits, drawn from a corpus as it was read."""
    return splits.draw(parts, data, sizes)


def main() -> None:
    """Draw the rows and write them."""
    study = origins.pinned(params.load())
    ahead.import_for_trainings()
    drawn = subset(splits.read_corpus(study.data), study.data, study.subset)
    with files.fresh_folder(paths.SUBSET) as folder:
        for name, rows in drawn.named().items():
            rows.to_parquet(folder / f"{name}.parquet")
        manifest = splits.manifest(drawn, study.data, study.subset)
        files.write_json(folder / paths.MANIFEST, manifest)
    print(f"subset: {drawn.account()}")
    if drawn.doubt:
        print(f"subset: warning: {drawn.doubt}")


if __name__ == "__main__":
    errors.run(main)
