"""The trials of all methods -> each method's learning rate, the ranges extended where need be.

in:  data/search, data/encoded
out: data/rates/METHOD/rate.json and, where it was searched, search.json
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import sys
import time

from fairtune.core import files, params, paths, rates
from fairtune.preload import client, owner
from fairtune.runs.search import Search

STARTED = time.perf_counter()


def main(started: float = STARTED) -> None:
    """Choose the rate of each method, and write it."""
    study = params.load()
    found: dict[str, Search] = {}
    told: list[str] = []
    if any(block.searched for block in study.methods.values()):
        from fairtune.analysis.search import doubts, figures
        from fairtune.core import origins
        from fairtune.rates import extending

        found = extending.searched(origins.pinned(study))
        told = doubts({name: figures(search) for name, search in found.items()})
    with files.fresh_folder(paths.RATES) as folder:
        for name, block in study.methods.items():
            search = found.get(name)
            rates.write(folder / name, search.learning_rate if search else block.rate)
            if search:
                content = search.model_dump(mode="json")
                files.write_json(folder / name / paths.SEARCH_FILE, content)
    for search in found.values():
        print(
            f"rates: {search.method}: {search.learning_rate:g} of {search.range[0]:g} to "
            f"{search.range[1]:g} ({len(search.trials)} trials)"
        )
    for line in told:
        print(f"rates: warning: {line}", file=sys.stderr)


def start_process() -> None:
    """Choose in a fork of the run's preloaded process where trials may be run, or in this one."""
    study = params.load()
    status = None
    if any(block.searched for block in study.methods.values()):
        status = client.elsewhere("stages.rates", "main", started=STARTED)
    if status is None:
        owner.end_with(owner.runners())
        main()
    else:
        sys.exit(status)


if __name__ == "__main__":
    errors.run(start_process)
