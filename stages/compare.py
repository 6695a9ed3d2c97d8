"""All runs -> the verdicts on the methods and the tables behind the charts.

in:  models, data/encoded
out: metrics/comparison.json, plots/*.json
"""

from __future__ import annotations

from fairtune import comparison, encoded, errors, fairness, files, layout, params, plots, results


def main() -> None:
    """Compare the methods, or refuse where their runs do not match."""
    study = params.load()
    runs = results.read_runs(list(study.methods), study.seeds)
    fairness.check(runs)
    verdicts = comparison.verdicts(runs, study.compare)
    lengths = encoded.read(layout.ENCODED / "test.parquet").lengths.tolist()
    content = comparison.comparison(runs, verdicts, lengths=lengths, rules=study.compare)
    for name, seeds in content["unlearned"].items():
        print(
            f"compare: warning: methods.{name} with seeds {seeds} is no better than naming the "
            "commonest class; a lower learning_rate may help"
        )
    files.write_json(layout.METRICS / "comparison.json", content)
    tables = plots.tables(runs, palette=study.compare.palette, verdicts=verdicts)
    for name, table in tables.items():
        files.write_json(layout.PLOTS / f"{name}.json", table)


if __name__ == "__main__":
    errors.run(main)
