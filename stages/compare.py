"""All runs -> the verdicts on the methods and the tables behind the charts.

in:  models, data/encoded
out: metrics/comparison.json, plots/*.json
"""

from __future__ import annotations

from fairtune.analysis import comparison, fairness
from fairtune.charts import differences, gallery
from fairtune.core import errors, files, params, paths
from fairtune.runs import token_cache
from fairtune.runs.store import read_runs


def main() -> None:
    """Compare the methods, or refuse where their runs do not match."""
    study = params.load()
    runs = read_runs(list(study.methods), study.seeds)
    fairness.check(runs)
    verdicts = comparison.verdicts(runs, study.compare)
    lengths = token_cache.read(paths.ENCODED / "test.parquet").lengths.tolist()
    content = comparison.comparison(runs, verdicts, lengths=lengths, rules=study.compare)
    # The same differences as records, for the chart.
    content["differences"] = differences.records(verdicts, margin=study.compare.margin)
    for name, seeds in content["unlearned"].items():
        print(
            f"compare: warning: methods.{name} with seeds {seeds} is no better than naming the "
            "commonest class; a lower learning_rate may help"
        )
    files.write_json(paths.METRICS / "comparison.json", content)
    tables = gallery.tables(runs, palette=study.compare.palette, verdicts=verdicts)
    for name, table in tables.items():
        files.write_json(paths.PLOTS / f"{name}.json", table)


if __name__ == "__main__":
    errors.run(main)
