"""All runs -> the verdicts on the methods and the tables behind the charts.

in:  runs
out: metrics/comparison.json, plots/*.json
"""

from __future__ import annotations

from fairtune.core import errors  # isort: skip (it answers Ctrl-C while the others are loaded)

from typing import Any

from fairtune.analysis.formats import percent, points
from fairtune.charts.gallery import compare
from fairtune.core import files, params, paths
from fairtune.runs.store import read_runs


def warnings(content: dict[str, Any]) -> list[str]:
    """Return what the user should know of trainings that failed, and of unequal classes."""
    said = [
        f"methods.{name} with seeds {seeds} learned nothing: its predictions are not associated "
        "with the labels; a lower learning_rate may help"
        for name, seeds in content["unlearned"].items()
    ]
    said += [
        f"methods.{name} with seed {seed} is {points(gap)} {'above' if gap > 0 else 'below'} its "
        "method's other trainings"
        for name, gaps in content["outlying"].items()
        for seed, gap in gaps.items()
    ]
    if content["unequal_classes"] and content["metric"] == "accuracy":
        said.append(
            f"the classes are unequal ({percent(content['commonest_class'])} of the test rows are "
            "of one), and accuracy counts the rare ones little; compare.metric: macro_f1, "
            "balanced_accuracy or matthews weighs them"
        )
    return said


def main() -> None:
    """Compare the methods, or refuse where their runs do not match."""
    study = params.load()
    runs = read_runs(list(study.methods), study.seeds)
    content, tables = compare(runs, rules=study.compare)
    for warning in warnings(content):
        print(f"compare: warning: {warning}")
    files.write_json(paths.METRICS / "comparison.json", content)
    for name, table in tables.items():
        files.write_json(paths.PLOTS / f"{name}.json", table)


if __name__ == "__main__":
    errors.run(main)
