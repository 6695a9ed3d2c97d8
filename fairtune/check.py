"""Check what DVC reads before any stage does, so that a mistake there is one line too.

usage: python -m fairtune.check

DVC makes the trainings of `seeds` and `methods`, and follows the links in data/sources. Of a number
where a list should be, or of a link to what has gone, it says nothing that names the key.
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import argparse

from fairtune.core import params, paths, sources


def check() -> None:
    """Check the parameters and the paths in them; take away links that lead nowhere.

    Raises:
        UserError: a key, a value or a path is not right.
    """
    study = params.load()
    for place in (paths.CORPUS, paths.MODEL):
        if place.is_symlink() and not place.exists():
            place.unlink()
    sources.local_path(study.data.source, key="data.source")
    sources.local_path(study.model.name, key="model.name")


def main() -> None:
    """Check, and say nothing where all is right."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    check()


if __name__ == "__main__":
    errors.run(main)
