"""The tables behind the charts: what is in them, and what must never be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from fairtune.runs.record import Memory, Run
from tests.studies import METHODS, PALETTE, make_runs, make_tables


def with_memory(run: Run, **changes: Any) -> Run:
    """Return the run with other memory counters."""
    memory = Memory.model_validate(run.record.memory.model_dump() | changes)
    record = run.record.model_copy(update={"memory": memory})
    return Run(record=record, history=run.history, predictions=run.predictions)


def methods_in(records: Sequence[dict[str, Any]]) -> list[str]:
    names = [record.get("method") or record["pair"] for record in records]
    return list(dict.fromkeys(name for one in names for name in one.split(" - ")))


@pytest.mark.parametrize("gpu", [True, False])
def test_every_table_has_records_of_like_keys_in_the_methods_order(gpu: bool) -> None:
    methods = ("qlora", "full", "ia3", "lora")
    made = make_tables(make_runs(methods=methods, seeds=(1, 2), gpu=gpu))
    for name, records in made.items():
        assert methods_in(records) == list(methods), name
        assert len({frozenset(record) for record in records}) == 1, name


def test_a_fifth_method_appears_in_every_table_and_colours_start_again() -> None:
    made = make_tables(make_runs(methods=(*METHODS, "vera")))
    for name, records in made.items():
        assert methods_in(records)[-1] == "vera", name
    assert [record["color"] for record in made["accuracy"]] == [*PALETTE, PALETTE[0]]


def test_figures_are_rounded_where_they_arise() -> None:
    for name, records in make_tables(make_runs(seeds=(1, 2, 3), rows=333)).items():
        for key, number in (item for record in records for item in record.items()):
            # A learning rate is a setting and no figure.
            if isinstance(number, float) and key != "learning_rate":
                assert len(repr(number).split(".")[1]) <= 4, (name, number)


def test_the_tables_are_json_without_nan() -> None:
    runs = make_runs(rows=3, classes=5, gpu=False)
    json.dumps(make_tables(runs), allow_nan=False)


def test_accuracy_has_an_interval_around_it() -> None:
    runs = make_runs(accuracy={"lora": 0.9}, rows=1000)
    lora = make_tables(runs)["accuracy"][1]
    assert lora["share"] == 0.9
    assert lora["low"] < 0.9 < lora["high"]
    assert lora["label"] == "90.0%"


def test_the_encoder_the_head_and_the_adapter_stand_apart() -> None:
    counts = {
        (r["method"], r["part"]): r["parameters"] for r in make_tables(make_runs())["parameters"]
    }
    assert counts["full", "encoder"] == 124_055_040
    assert counts["full", "head"] == counts["lora", "head"] == 592_130
    assert counts["lora", "adapter"] == 294_912
    assert counts["ia3", "adapter"] == 64_512


def test_a_part_that_a_method_does_not_train_has_no_record() -> None:
    records = make_tables(make_runs())["parameters"]
    assert all(record["parameters"] > 0 for record in records), "log axis"
    assert {r["part"] for r in records if r["method"] == "full"} == {"head", "encoder"}


def test_memory_is_the_gpus_where_every_run_has_it() -> None:
    runs = make_runs(seeds=(1, 2))
    records = make_tables(runs)["memory"]
    assert records[0]["panel"].startswith("GPU memory of the process")
    used = [run.record.memory.gpu_memory_mib or 0 for run in runs["full"]]
    assert records[0]["memory_mib"] == pytest.approx(sum(used) / 2, abs=0.06)


def test_host_memory_says_that_it_is_the_hosts_and_why() -> None:
    made = make_tables(make_runs(gpu=False))
    for record in made["memory"]:
        assert record["panel"].startswith("host memory")
        assert "no CUDA device" in record["panel"]
    assert "host memory (MiB)" in {record["panel"] for record in made["pareto"]}


def test_one_run_without_its_gpu_memory_puts_all_on_another_counter() -> None:
    runs = make_runs(seeds=(1, 2))
    lost = {"gpu_memory_mib": None, "unavailable": {"gpu_memory_mib": "not told"}}
    runs["lora"][1] = with_memory(runs["lora"][1], **lost)
    panels = {record["panel"] for record in make_tables(runs)["memory"]}
    assert len(panels) == 1
    assert "that tensors occupy, as torch counts it" in panels.pop()
    runs["lora"][1] = with_memory(runs["lora"][1], **lost, gpu_allocated_mib=None)
    assert "host memory" in make_tables(runs)["memory"][0]["panel"]


def test_no_memory_is_ever_given_as_zero() -> None:
    for gpu in (True, False):
        made = make_tables(make_runs(gpu=gpu))
        for name in ("memory", "memory_breakdown"):
            assert all(record["memory_mib"] > 0 for record in made[name]), name


def test_activations_are_shown_only_where_they_were_measured() -> None:
    rest = "activations and other"
    measured = make_tables(make_runs())["memory_breakdown"]
    of_full = [record for record in measured if record["method"] == "full"]
    assert sum(r["memory_mib"] for r in of_full) == pytest.approx(of_full[0]["total_mib"], abs=0.3)
    assert rest in {record["part"] for record in of_full}
    predicted = make_tables(make_runs(gpu=False))["memory_breakdown"]
    assert rest not in {record["part"] for record in predicted}
    assert "no activations" in predicted[0]["panel"]


def test_the_loss_is_the_mean_over_seeds_at_steps_that_all_seeds_have() -> None:
    runs = make_runs(methods=("full",), seeds=(1, 2))
    first, second = runs["full"]
    del second.history[-1]
    records = make_tables(runs)["loss"]
    assert records[-1]["step"] == second.history[-1]["step"]
    assert records[0]["loss"] == pytest.approx(
        (first.history[0]["loss"] + second.history[0]["loss"]) / 2, abs=1e-4
    )


def test_a_loss_that_is_not_a_number_is_left_out() -> None:
    runs = make_runs(methods=("full",))
    runs["full"][0].history[3]["loss"] = float("nan")
    steps = [record["step"] for record in make_tables(runs)["loss"]]
    assert runs["full"][0].history[3]["step"] not in steps


def test_the_front_is_given_for_each_cost_and_names_are_written_once() -> None:
    records = make_tables(make_runs(seeds=(1, 2, 3), rows=2000))["pareto"]
    costs = list(dict.fromkeys(record["cost"] for record in records))
    assert costs == ["training_time", "memory", "parameters", "shipped"]
    for cost in costs:
        points = [record for record in records if record["cost"] == cost]
        assert {p["status"] for p in points} <= {"on the front", "possibly dominated", "dominated"}
        names = "\n".join(text for p in points for text in (p["above"], p["below"]) if text)
        assert sorted(names.split("\n")) == sorted(METHODS)


def test_confusion_counts_every_row_of_every_seed() -> None:
    records = make_tables(make_runs(seeds=(1, 2), rows=300, classes=3))["confusion"]
    of_ia3 = [record for record in records if record["method"] == "ia3"]
    assert len(of_ia3) == 9
    assert sum(record["count"] for record in of_ia3) == 600
    for actual in ("class_0", "class_1", "class_2"):
        shares = [record["share"] for record in of_ia3 if record["actual"] == actual]
        assert sum(shares) == pytest.approx(1, abs=0.001)


def test_a_class_without_test_rows_has_no_share() -> None:
    records = make_tables(make_runs(rows=3, classes=4))["confusion"]
    assert {r["share"] for r in records if r["actual"] == "class_3"} == {None}


def test_calibration_holds_every_prediction_once() -> None:
    records = make_tables(make_runs(seeds=(1, 2), rows=500))["calibration"]
    for method in METHODS:
        bins = [record for record in records if record["method"] == method]
        assert sum(record["count"] for record in bins) == 1000
        assert all(record["count"] > 0 for record in bins)
