"""What the study reads from outside -> a link to it, or the Hub's commit, for DVC to watch.

in:  the corpus that ``data.source`` names, the encoder that ``model.name`` names
out: data/sources/corpus, data/sources/model
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

from fairtune.core import ahead, origins, params, paths


def sources(study: params.Params) -> list[str]:
    """Tie the corpus and the model to their places; return warnings."""
    data, model = study.data, study.model
    warnings = [
        origins.tie(data.source, data.revision, kind="dataset", place=paths.CORPUS),
        origins.tie(model.name, model.revision, kind="model", place=paths.MODEL),
    ]
    return [warning for warning in warnings if warning]


def main() -> None:
    """Tie them, and say what is not pinned."""
    study = params.load()
    ahead.import_for_trainings()
    warnings = sources(study)
    print(f"sources: '{study.data.source}' and '{study.model.name}'")
    for warning in warnings:
        print(f"sources: warning: {warning}")


if __name__ == "__main__":
    errors.run(main)
