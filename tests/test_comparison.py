"""The flat metrics and the comparison made of the runs."""

from __future__ import annotations

import dataclasses
import json
from operator import attrgetter
from pathlib import Path

import pytest

from fairtune.analysis import comparison, costs, metrics
from fairtune.charts import accuracy
from fairtune.charts.records import Compared
from fairtune.charts.style import looks
from fairtune.core.errors import UserError
from fairtune.core.params import Compare
from fairtune.report import tables
from fairtune.runs.record import Run
from fairtune.runs.store import read_run
from stages import compare
from tests.reports import evidence_of, write_study
from tests.studies import make_runs, write_runs

KEYS = {
    "accuracy",
    "accuracy_ci95",
    "macro_f1",
    "trainable_parameters",
    "train_seconds",
    "gpu_memory_mib",
    "gpu_allocated_mib",
    "host_memory_mib",
}
RULES = Compare(palette=["#000000"], resamples=1_000)


def compared(runs: dict) -> dict:
    found = comparison.verdicts(runs, RULES)
    return comparison.comparison(runs, found, rules=RULES)


def test_metrics_have_the_keys_of_the_contract() -> None:
    for runs in make_runs().values():
        assert set(metrics.metrics(runs)) == KEYS


def test_a_further_metric_is_one_entry_that_reaches_the_file_the_table_and_the_chart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = metrics.Metric(
        key="error_rate",
        measure=lambda runs: 1 - float(runs[0].predictions.correct.mean()),
        higher_is_better=False,
        heading="Errors (%)",
        show=metrics.hundredths,
        drawn_as="error rate",
    )
    runs = make_runs(rows=1000, accuracy={"lora": 0.9})
    assert metrics.metrics(runs["lora"], extra=[errors])["error_rate"] == pytest.approx(0.1)
    compared = Compared(runs=runs, verdicts=[], palette=["#000000"], margin=0.01)
    drawn = accuracy.records(compared, extra=[errors])
    assert list(dict.fromkeys(record["metric"] for record in drawn)) == ["accuracy", "error rate"]
    figure = accuracy.draw(drawn, looks(drawn))
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == ["accuracy on the test set", "error rate on the test set"]
    monkeypatch.setattr(tables, "table", lambda metric: (*metrics.table(metric), errors))
    found = evidence_of(runs)
    with_errors = {
        name: dict(of_method, error_rate=0.1) for name, of_method in found.metrics.items()
    }
    shown = tables.metrics(dataclasses.replace(found, metrics=with_errors))
    assert shown.header[-1] == "Errors (%)"
    assert {row[-1] for row in shown.rows} == {"10.0"}


def test_a_metric_says_which_way_is_better() -> None:
    better = {metric.key for metric in metrics.table() if metric.higher_is_better}
    assert better == {"accuracy", "macro_f1"}


def test_charts_tables_and_text_show_the_same_memory() -> None:
    everywhere = {"gpu_memory_mib": "GPU mem. (MiB)", "host_memory_mib": "Host mem. (MiB)"}
    for gpu, (key, heading) in zip((True, False), everywhere.items(), strict=True):
        found = evidence_of(make_runs(gpu=gpu))
        assert found.memory.key == costs.memory_of_runs(make_runs(gpu=gpu)).key == key
        assert tables.metrics(found).header[-1] == heading
        assert found.costs["memory"].axis in {r["panel"] for r in found.tables["pareto"]}
        assert found.tables["memory"][0]["panel"].startswith(f"{found.memory.name} ")


def test_the_recommendation_and_the_advice_weigh_time_and_memory_alike() -> None:
    found = evidence_of(make_runs())
    lora = found.metrics["lora"]
    assert found.weight("lora") == pytest.approx(lora["train_seconds"] * lora["gpu_memory_mib"])
    assert [cost.key for cost in costs.COSTS if cost.weighed] == ["training_time", "memory"]


def test_a_cost_is_read_from_the_record_under_its_field() -> None:
    run = make_runs()["lora"][0]
    read = {
        cost.key: attrgetter(cost.field)(run.record)
        for cost in costs.costs(found_memory(run)).values()
    }
    assert read == {
        "training_time": run.record.times.train_seconds,
        "memory": run.record.memory.gpu_memory_mib,
        "parameters": run.record.counts.trainable,
        "shipped": run.record.shipped_mib,
    }


def found_memory(run: Run) -> costs.MemoryCounter:
    return costs.memory_of_runs({"lora": [run]})


def test_memory_that_was_not_measured_is_null_and_never_zero() -> None:
    found = metrics.metrics(make_runs(gpu=False)["lora"])
    assert found["gpu_memory_mib"] is None
    assert found["gpu_allocated_mib"] is None
    assert found["host_memory_mib"] > 0


def test_accuracy_is_the_mean_over_seeds_with_its_interval() -> None:
    runs = make_runs(seeds=(1, 2, 3), rows=1000, accuracy={"lora": 0.9}, seed_spread=0.01)["lora"]
    found = metrics.metrics(runs)
    assert found["accuracy"] == pytest.approx(0.9, abs=0.001)
    assert 0.015 < found["accuracy_ci95"] < 0.06


def test_a_training_that_is_no_better_than_the_commonest_class_is_named() -> None:
    runs = make_runs(seeds=(1, 2, 3))
    assert compared(runs)["unlearned"] == {}
    runs["qlora"][1] = make_runs(seeds=(1, 2, 3), accuracy={"qlora": 0.51})["qlora"][1]
    assert compared(runs)["unlearned"] == {"qlora": [2]}


def test_the_comparison_warns_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, accuracy={"qlora": 0.5})
    monkeypatch.chdir(tmp_path)
    compare.main()
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1
    assert printed[0].startswith(
        "compare: warning: methods.qlora with seeds [42] learned nothing: "
    )
    assert json.loads((tmp_path / "metrics/comparison.json").read_text())["unlearned"] == {
        "qlora": [42]
    }


@pytest.mark.parametrize(("accuracy", "failed"), [(0.36, True), (0.45, False)])
def test_chance_is_that_of_the_classes_at_hand(accuracy: float, failed: bool) -> None:
    runs = make_runs(classes=3, rows=600, accuracy={"ia3": accuracy})
    assert ("ia3" in compared(runs)["unlearned"]) is failed


def test_all_six_pairs_are_compared_and_the_file_is_plain_json() -> None:
    content = compared(make_runs(seeds=(1, 2, 3)))
    assert list(content["pairs"]) == [
        "full_vs_lora",
        "full_vs_qlora",
        "full_vs_ia3",
        "lora_vs_qlora",
        "lora_vs_ia3",
        "qlora_vs_ia3",
    ]
    json.dumps(content, allow_nan=False)


def test_a_clear_winner_is_named_and_holds_the_first_rank() -> None:
    content = compared(
        make_runs(
            rows=1000,
            accuracy={"full": 0.98, "lora": 0.8, "qlora": 0.8, "ia3": 0.8},
            seeds=(1, 2, 3),
        )
    )
    pair = content["pairs"]["full_vs_lora"]
    assert (pair["verdict"], pair["winner"], pair["loser"]) == ("better", "full", "lora")
    assert content["methods"]["full"]["best_rank"] == content["methods"]["full"]["worst_rank"] == 1


def test_methods_that_cannot_be_told_apart_share_their_ranks() -> None:
    content = compared(make_runs(rows=200, accuracy=dict.fromkeys(("full", "lora"), 0.9)))
    pair = content["pairs"]["full_vs_lora"]
    assert pair["verdict"] == "cannot tell"
    assert pair["winner"] is pair["loser"] is None
    assert pair["detectable"] > pair["difference"]
    assert content["methods"]["full"]["worst_rank"] > 1


def test_quality_takes_in_f1_calibration_brier_and_length() -> None:
    found = compared(make_runs())["methods"]["full"]
    assert 0 < found["macro_f1"] <= 1
    assert 0 <= found["calibration_error"] <= 1
    assert 0 <= found["brier"] <= 2
    assert len(found["accuracy_by_tokens"]) == 4


def test_one_method_alone_is_summed_up_without_pairs() -> None:
    content = compared(make_runs(methods=("lora",)))
    assert content["pairs"] == {}
    assert content["methods"]["lora"]["best_rank"] == 1


def test_runs_tested_on_other_rows_are_refused() -> None:
    runs = make_runs(rows=100)
    runs["lora"] = make_runs(rows=120)["lora"]
    with pytest.raises(UserError, match="runs/lora: tested on other rows"):
        comparison.verdicts(runs, RULES)


def test_broken_predictions_name_the_stage_that_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_runs(tmp_path, make_runs(methods=("lora",)))
    path = Path("runs/lora/42/predictions.parquet")
    monkeypatch.chdir(tmp_path)
    path.write_text("no Parquet")
    with pytest.raises(UserError, match=rf"{path}: not valid Parquet; .*--force -s record@lora`"):
        read_run("lora", 42)
    path.unlink()
    with pytest.raises(UserError, match=rf"{path}: not found; run `dvc repro record@lora`"):
        read_run("lora", 42)
