"""Token ids + one method whose rate is to be searched -> every trial of its range, none for others.

usage: python -m stages.search METHOD
in:    data/encoded (the rows to train on and to validate on)
out:   data/search/METHOD.json
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

import sys
import time

from fairtune.core import files, params, paths
from fairtune.preload import client, owner

STARTED = time.perf_counter()


def arguments() -> tuple[params.Params, str]:
    """Return the study and the method to search for.

    Raises:
        UserError: no method is named, or one that the study does not have.
    """
    if len(sys.argv) != 2:
        raise errors.UserError("usage: python -m stages.search METHOD")
    study, name = params.load(), sys.argv[1]
    study.method(name)
    return study, name


def main(started: float = STARTED) -> None:
    """Run the trials of one method, and write them."""
    from fairtune.core import origins
    from fairtune.search import grid, run

    study, name = arguments()
    study = origins.pinned(study)
    asked = study.method(name).searched
    assert asked is not None
    splits, manifest = run.read_rows()
    rates = grid.rates(asked.low, asked.high, study.search.trials)
    found = run.run_trials(study, name, rates, splits=splits, manifest=manifest)
    files.write_json(paths.SEARCH / f"{name}.json", found.model_dump(mode="json"))
    print(f"search: {name}: {len(found.trials)} trials in {found.seconds:.0f} s")


def start_process() -> None:
    """Search in a fork of the run's preloaded process, where there is one, or in this process."""
    study, name = arguments()
    if study.method(name).searched is None:
        files.write_json(paths.SEARCH / f"{name}.json", {"method": name, "given": True})
        return
    status = client.elsewhere("stages.search", "main", started=STARTED)
    if status is None:
        owner.end_with(owner.runners())
        main()
    else:
        sys.exit(status)


if __name__ == "__main__":
    errors.run(start_process)
