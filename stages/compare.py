"""All runs -> the verdicts on the methods and the tables behind the charts.

in:  runs
out: metrics/comparison.json, plots/*.json
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

from fairtune.charts.gallery import compare
from fairtune.core import files, params, paths
from fairtune.runs.store import read_runs


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
