"""All runs -> the verdicts on the methods and the tables behind the charts.

in:  runs
out: metrics/comparison.json, plots/*.json
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

from typing import Any

from fairtune.analysis import comparison, fairness
from fairtune.charts import gallery
from fairtune.charts.records import Compared
from fairtune.core import files, params, paths
from fairtune.runs.record import Runs
from fairtune.runs.store import read_runs


def compare(runs: Runs, *, rules: params.Compare) -> tuple[dict[str, Any], gallery.Tables]:
    """Return the verdicts with what stands beside them, and each chart's records by its name.

    Args:
        runs: method -> one run a seed.
        rules: margin, resamples and palette.

    Raises:
        UserError: the runs do not match.
    """
    fairness.check(runs)
    verdicts = comparison.verdicts(runs, rules)
    content = comparison.comparison(runs, verdicts, rules=rules)
    compared = Compared(runs=runs, verdicts=verdicts, palette=rules.palette, margin=rules.margin)
    tables = gallery.tables(compared)
    # The verdicts are one of DVC's plots (as metrics they would fill `dvc metrics show`), and each
    # of these is drawn: theirs is the chart of the differences.
    return content | {"differences": tables.pop("differences")}, tables


def main() -> None:
    """Compare the methods, or refuse where their runs do not match."""
    study = params.load()
    runs = read_runs(list(study.methods), study.seeds)
    content, tables = compare(runs, rules=study.compare)
    for name, seeds in content["unlearned"].items():
        print(
            f"compare: warning: methods.{name} with seeds {seeds} is no better than naming the "
            "commonest class; a lower learning_rate may help"
        )
    files.write_json(paths.METRICS / "comparison.json", content)
    for name, table in tables.items():
        files.write_json(paths.PLOTS / f"{name}.json", table)


if __name__ == "__main__":
    errors.run(main)
