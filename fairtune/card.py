"""Write the model card of a training: what the model is, how good, what it cost, how to load it.

usage: python -m fairtune.card METHOD [SEED] [--out FILE]
in:    models/METHOD/SEED, metrics, runs, params.yaml
out:   the card, in the Hub's format
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import argparse
from pathlib import Path

from fairtune.core import disk, origins, params
from fairtune.serving.artefact import check_place, find
from fairtune.serving.card import write_card


def arguments() -> argparse.Namespace:
    """Return method, seed or None, and the file or None."""
    parser = argparse.ArgumentParser(prog="python -m fairtune.card")
    parser.description = "Write the model card of a training, in the Hub's format."
    parser.add_argument("method", metavar="METHOD", help="of params.yaml")
    parser.add_argument("seed", metavar="SEED", nargs="?", type=int, help="default: the first")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: standard output")
    return parser.parse_args()


def main() -> None:
    """Print the card, or write it to a file."""
    asked = arguments()
    study = origins.pinned(params.load())
    artefact = find(study, asked.method, asked.seed)
    text = write_card(study, artefact, form=artefact.form)
    if asked.out is None:
        print(text)
        return
    check_place(asked.out)
    with disk.writing(asked.out, alone=True):
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    errors.run(main)
