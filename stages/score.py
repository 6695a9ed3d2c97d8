"""The runs of one method -> its metrics, flat, the same keys for every method.

usage: python -m stages.score METHOD
in:    runs/METHOD
out:   metrics/METHOD.json
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import sys

from fairtune.analysis import metrics
from fairtune.analysis.quiet import set_apart
from fairtune.core import files, params, paths
from fairtune.runs.store import read_run


def main() -> None:
    """Write the metrics of one method."""
    study = params.load()
    if len(sys.argv) != 2:
        raise errors.UserError("usage: python -m stages.score METHOD")
    name = sys.argv[1]
    study.method(name)
    runs = [read_run(name, seed) for seed in study.seeds]
    counting = set_apart({name: runs}, study.compare)[name]
    found = metrics.metrics(counting, metric=study.compare.metric)
    files.write_json(paths.METRICS / f"{name}.json", found)


if __name__ == "__main__":
    errors.run(main)
