"""The runs of one method -> its metrics, flat, the same keys for every method.

usage: python -m stages.score METHOD
in:    models/METHOD
out:   metrics/METHOD.json
"""

from __future__ import annotations

import sys

from fairtune import errors, files, layout, params, results, scores


def main() -> None:
    """Write the metrics of one method."""
    study = params.load()
    if len(sys.argv) != 2:
        raise errors.UserError("usage: python -m stages.score METHOD")
    name = sys.argv[1]
    study.method(name)
    runs = [results.read_run(name, seed) for seed in study.seeds]
    files.write_json(layout.METRICS / f"{name}.json", scores.metrics(runs))


if __name__ == "__main__":
    errors.run(main)
