"""Hold the runs of the workspace against those committed, and the metrics against the runs.

usage: python -m fairtune.verify [REV] [--json]
in:    params.yaml, runs/ here and at REV (default HEAD), metrics/, plots/

Exits with 0 where the runs are the same or in agreement, with 1 where they are in conflict or a
figure does not follow from them, with 2 where they cannot be compared.
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import argparse
import json
import sys
from collections.abc import Sequence

from fairtune.core import params
from fairtune.core.errors import UserError
from fairtune.core.params import Params
from fairtune.runs.search import read_searches
from fairtune.runs.store import read_runs
from fairtune.verification import answer, committed
from fairtune.verification.agreement import check_all
from fairtune.verification.answer import Answer
from fairtune.verification.figures import mismatches


def verify(study: Params, revision: str) -> Answer:
    """Compare a study's runs with those committed at a revision, and its figures with its runs.

    Raises:
        UserError: there is no such revision, no run in both, or a run is missing or broken.
    """
    there = committed.committed(revision)
    runs = read_runs(list(study.methods), study.seeds)
    pairs = {
        method: [
            (there.read(method, run.record.seed), run)
            for run in of_method
            if run.record.seed in there.seeds.get(method, [])
        ]
        for method, of_method in runs.items()
    }
    if not any(pairs.values()):
        raise UserError(
            f"{revision}: no run there has a method and seed of params.yaml; committed are "
            f"{', '.join(there.seeds)}"
        )
    left_out = {
        method: [seed for seed in seeds if method not in study.methods or seed not in study.seeds]
        for method, seeds in there.seeds.items()
    }
    unchecked, figures = "", []
    try:
        figures = mismatches(runs, study.compare, read_searches(study.methods))
    except UserError as error:  # what the runs say of the committed ones stands all the same
        unchecked = str(error)
    return Answer(
        revision=revision,
        commit=there.commit,
        checks=check_all(pairs),
        left_out={method: seeds for method, seeds in left_out.items() if seeds},
        figures=figures,
        unchecked=unchecked,
    )


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the revision, and whether the answer is for a program."""
    parser = argparse.ArgumentParser(
        prog="python -m fairtune.verify", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("revision", metavar="REV", nargs="?", default="HEAD", help="default: HEAD")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser.parse_args(words)


def main() -> None:
    """Print the answer and exit with its status."""
    given = arguments()
    try:
        found = verify(params.load(), given.revision)
    except UserError as error:
        print(f"fairtune: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(answer.UNCOMPARED)
    if given.json:
        print(json.dumps(answer.as_json(found), indent=2, ensure_ascii=False))
    else:
        print(answer.text(found))
    sys.exit(found.status)


if __name__ == "__main__":
    errors.run(main)
