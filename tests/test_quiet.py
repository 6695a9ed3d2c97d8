"""Studies as a GPU writes them, some runs of which shared it: costs come from the quiet runs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from dvc.render.converter.vega import VegaConverter

from fairtune.advise import Limits, advise
from fairtune.analysis import fairness, metrics
from fairtune.charts.gallery import draw_all
from fairtune.core import params
from fairtune.core.errors import UserError
from fairtune.readme import results
from fairtune.report import recommendation, typeset, wording
from fairtune.report.results import read_results
from fairtune.report.study import Evidence, read
from fairtune.report.values import context
from stages import compare, score
from tests.reports import ROOT, evidence_of, make_evidence, write_study
from tests.studies import COMPANY, METHODS, make_runs, make_tables, with_company

SEEDS = (1, 2, 3)
SOME = {"lora": [2], "qlora": [1, 2, 3]}
ALL = dict.fromkeys(METHODS, SEEDS)


def evidence(shared: dict[str, Any] | None = None, **knobs: Any) -> Evidence:
    return make_evidence(seeds=SEEDS, shared=shared, **knobs)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Evidence]:
    """Return what writes a study of a GPU and runs `score` and `compare` on it, for real."""

    def run(**knobs: Any) -> Evidence:
        write_study(tmp_path, seeds=SEEDS, **knobs)
        for folder in ("metrics", "plots"):
            shutil.rmtree(tmp_path / folder)
        monkeypatch.chdir(tmp_path)
        for name in METHODS:
            monkeypatch.setattr("sys.argv", ["stages.score", name])
            score.main()
        compare.main()
        return read(params.load())

    return run


def test_the_lengths_of_the_batches_follow_from_the_seed() -> None:
    runs = make_runs(seeds=SEEDS)
    lengths = {tuple(run.record.data.padded_lengths) for run in runs["lora"]}
    assert len(lengths) == len({run.record.data.padded_tokens for run in runs["lora"]}) == 3
    fairness.check(runs)
    found = fairness.manifest(runs)["identical_by_seed"]["lengths that batches are padded to"]
    assert found == {str(run.record.seed): run.record.data.padded_lengths for run in runs["full"]}


@pytest.mark.parametrize("shared", [{}, SOME, ALL], ids=["none", "some", "all"])
def test_a_study_of_several_seeds_on_a_gpu_goes_through_to_the_report(
    study: Callable[..., Evidence], shared: dict[str, Any]
) -> None:
    found = study(shared=shared)
    assert found.comparison["seeds"] == 3
    assert len(found.comparison["pairs"]) == 6
    assert {key: list(map(int, seeds)) for key, seeds in found.shared.items()} == {
        key: list(seeds) for key, seeds in shared.items()
    }
    draw_all(found.tables, Path("drawn"))
    pdf = typeset.pdf(typeset.typst_source(context(found), ROOT / "report/template"),
                      charts=Path("drawn"), templates=ROOT / "report/template")  # fmt: skip
    assert pdf.startswith(b"%PDF")
    twin = typeset.markdown(context(found), ROOT / "report/template")
    assert "None" not in twin.replace("None of them", "")


@pytest.mark.parametrize("shared", [{}, SOME, ALL], ids=["none", "some", "all"])
def test_dvc_finds_the_differences_and_no_stray_list_in_the_verdicts(
    study: Callable[..., Evidence], shared: dict[str, Any]
) -> None:
    study(shared=shared)
    content = json.loads(Path("metrics/comparison.json").read_text())
    name = "metrics/comparison.json"
    points, _ = VegaConverter(
        name, {name: content}, {"x": "difference", "y": "pair"}
    ).flat_datapoints("workspace")
    assert len(points) == 6
    assert all(point["pair"] and "difference" in point for point in points)


def test_an_empty_list_among_the_parameters_is_no_record_for_dvc() -> None:
    runs = make_runs(methods=("lora",))
    runs["lora"][0].record.parameters["method"]["modules_to_save"] = []
    assert "modules_to_save" not in fairness.manifest(runs)["by_design"]["lora"]


def test_a_shared_run_counts_for_accuracy_and_for_no_cost() -> None:
    quiet, shared = evidence(), evidence(SOME)
    for name in METHODS:
        for key in ("accuracy", "accuracy_ci95", "trainable_parameters"):
            assert shared.metrics[name][key] == quiet.metrics[name][key]
    assert shared.comparison["pairs"] == quiet.comparison["pairs"]
    kept = [run.record for run in make_runs(seeds=SEEDS)["lora"] if run.record.seed != 2]
    seconds = sum(record.times.train_seconds for record in kept) / 2
    used = sum(record.memory.gpu_memory_mib or 0 for record in kept) / 2
    assert shared.metrics["lora"]["train_seconds"] == pytest.approx(seconds, abs=0.06)
    assert shared.metrics["lora"]["gpu_memory_mib"] == pytest.approx(used, abs=0.06)
    for path in ("times.samples_per_second", "energy.total_wh", "inference.latency_ms"):
        mean = shared.mean(path, "lora")
        assert mean == pytest.approx(quiet.mean(path, "lora"), rel=0.05), path
        assert shared.mean(path, "qlora") is None
    assert shared.mean("shipped_mib", "qlora") == quiet.mean("shipped_mib", "qlora")


def test_a_method_whose_runs_were_all_shared_has_null_costs_and_never_zero() -> None:
    found = metrics.metrics(with_company(make_runs(seeds=SEEDS), SOME)["qlora"])
    costs = {key for key in found if key.endswith(("_mib", "_seconds"))}
    assert len(costs) == 4
    assert {found[key] for key in costs} == {None}


def test_the_memory_that_is_shown_is_chosen_by_the_quiet_runs() -> None:
    runs = with_company(make_runs(seeds=SEEDS), {"lora": [2]})
    memory = runs["lora"][1].record.memory.model_copy(update={"gpu_memory_mib": None})
    object.__setattr__(runs["lora"][1].record, "memory", memory)
    assert (
        make_tables(runs)["memory"][0]["panel"]
        == "GPU memory of the process, as nvidia-smi shows it"
    )
    assert evidence(SOME).memory.key == evidence(ALL).memory.key == "gpu_memory_mib"


def test_charts_say_how_many_runs_are_in_and_draw_what_was_measured() -> None:
    tables = make_tables(with_company(make_runs(seeds=SEEDS), SOME))
    for chart in ("training_time", "memory"):
        by_method = {record["method"]: record for record in tables[chart]}
        assert list(by_method) == ["full", "lora", "ia3"]
        assert by_method["lora"]["label"].endswith(" (2 of 3 runs)")
        assert "runs" not in by_method["full"]["label"]
        notes = {record["note"] for record in tables[chart]}
        assert len(notes) == 1, "the templates put unlike notes on unlike axes"
        assert notes.pop().endswith(
            " · other runs shared the GPU · qlora n/a: all runs shared the GPU"
        )
    assert {r["method"] for r in tables["memory_breakdown"]} == {"full", "lora", "ia3"}
    drawn = {(r["cost"], r["method"]) for r in tables["pareto"]}
    assert {cost for cost, method in drawn if method == "qlora"} == {"parameters", "shipped"}
    assert len(tables["accuracy"]) == 4


def test_where_every_run_was_shared_no_cost_is_drawn_and_predictions_are() -> None:
    tables = make_tables(with_company(make_runs(seeds=SEEDS), ALL))
    assert tables["training_time"] == tables["memory"] == []
    assert {record["cost"] for record in tables["pareto"]} == {"parameters", "shipped"}
    rest = {record["part"] for record in tables["memory_breakdown"]}
    assert "activations and other" not in rest
    assert "every run shared it" in tables["memory_breakdown"][0]["note"]


def test_the_tables_and_the_readme_say_how_many_runs_the_costs_are_of() -> None:
    found = evidence(SOME)
    block = results(found)
    assert (
        "Costs count only runs that had the GPU to themselves: `lora` 2 of 3 runs (1 shared the "
        "GPU) and `qlora` n/a (all 3 runs shared the GPU)."
    ) in block
    row = next(line for line in block.splitlines() if line.startswith("| `qlora`"))
    assert row.endswith("| n/a | n/a |")
    details = {row[0]: row[1:] for row in context(found)["tables"]["details"].rows}
    assert details["Energy (Wh)"][2] == details["Rows/s in training"][2] == "n/a"
    assert details["Size to ship (MiB)"][2] != "n/a"
    fairness_rows = dict(context(found)["tables"]["fairness"].rows)
    assert (
        f"`lora` with seed 2: {wording.literal(COMPANY)}" in fairness_rows["Other use of the GPU"]
    )
    assert "GPU to themselves" not in results(evidence())


def test_sentences_on_costs_leave_out_what_is_not_known() -> None:
    said = context(evidence(SOME))
    for cost in ("training_time", "memory"):
        assert said["extremes"][cost].endswith(
            " It is n/a for `qlora`, whose runs all shared the GPU."
        )
    assert "n/a" not in said["extremes"]["parameters"]
    of_qlora = next(one for one in said["trades"] if one.startswith("The costs of `qlora`"))
    assert "because all runs of `qlora` shared the GPU; the study cannot tell" in of_qlora
    assert said["storage"] == []
    assert "Its time and memory are n/a." in dict(said["use_cases"])["qlora"]
    assert said["recommendation"].count("The costs of `qlora`, whose runs all shared the GPU") == 1


def test_without_any_cost_nothing_is_recommended_by_cost() -> None:
    found = evidence(ALL)
    said = context(found)
    assert said["extremes"]["training_time"] == (
        "The training time is n/a: all runs of `full`, `lora`, `qlora` and `ia3` shared the GPU."
    )
    assert found.choice().cheapest is None
    assert said["recommendation"].count("The costs of `full`, `lora`, `qlora` and `ia3`") == 1
    assert said["breakdown"] == ""


def test_a_clear_winner_is_recommended_whatever_it_costs() -> None:
    accuracy = {"full": 0.8, "lora": 0.8, "qlora": 0.99, "ia3": 0.8}
    found = evidence(SOME, rows=2000, accuracy=accuracy)
    said = recommendation.recommendation(found)
    assert said.startswith("We recommend `qlora`")
    assert "training time n/a and GPU memory n/a" in said


def test_the_advice_copes_with_costs_that_are_not_known() -> None:
    advice = advise(evidence(SOME), Limits(max_seconds=16))
    judged = {one.method: one for one in advice.judgements}
    assert judged["qlora"].status == "uncertain"
    assert judged["qlora"].reasons == ["its training time is n/a: its runs all shared the GPU"]
    assert advice.choice == "lora"
    assert any(line.startswith("Costs count only runs") for line in advice.text)
    assert advise(evidence(ALL), Limits()).choice is not None


def test_verdicts_that_do_not_tell_which_run_was_shared_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path)
    path = tmp_path / "metrics/comparison.json"
    content = json.loads(path.read_text())
    content["fairness"]["other_use_of_the_gpu"] = ["processes [7] held 5000 MiB at the start"]
    path.write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="of an older version; run `dvc repro compare`"):
        read_results(params.load())


def of_two_devices(company: Mapping[str, Sequence[int]] | None = None) -> Evidence:
    """Return a study whose runs of LoRA are of another device, and may be."""
    runs = with_company(make_runs(seeds=SEEDS), company or {})
    for place, run in enumerate(runs["lora"]):
        device = run.record.device.model_copy(update={"name": "NVIDIA A100", "driver": "535.1"})
        record = run.record.model_copy(update={"device": device})
        runs["lora"][place] = dataclasses.replace(run, record=record)
    return evidence_of(runs, mixed=True)


def test_of_devices_of_several_kinds_no_cost_is_compared_and_scores_are() -> None:
    found = of_two_devices()
    assert found.mixed
    assert found.shared == {}
    assert found.uncosted == found.names
    for of_method in found.metrics.values():
        assert of_method["train_seconds"] is of_method["gpu_memory_mib"] is None
        assert of_method["accuracy"] is not None
        assert of_method["trainable_parameters"] is not None
    tables = found.tables
    assert tables["training_time"] == tables["memory"] == []
    assert {record["cost"] for record in tables["pareto"]} == {"parameters", "shipped"}
    assert "allows devices of several kinds" in tables["memory_breakdown"][0]["note"]
    assert {record["method"] for record in tables["accuracy"]} == set(METHODS)


def test_why_no_cost_is_compared_is_said_everywhere() -> None:
    found = of_two_devices()
    said = context(found)
    assert said["extremes"]["training_time"] == (
        "The training time is n/a: the study allows devices of several kinds."
    )
    assert said["facts"]["same_device"] == "devices of several kinds"
    assert said["facts"]["place"].startswith("two kinds of GPU, ")
    rows = dict(said["tables"]["fairness"].rows)
    assert "Name of the device" not in rows
    assert rows["Devices, not the same"].count("runs") == 2
    everything = results(found)
    assert "Costs are not compared: the study allows devices of several kinds." in everything
    assert "shared the GPU" not in str(said) + everything
    judged = advise(found, Limits(max_seconds=16)).judgements[0]
    assert judged.reasons == ["its training time is n/a: the study allows devices of several kinds"]


def test_a_run_that_shared_its_gpu_is_named_beside_devices_of_several_kinds() -> None:
    rows = dict(context(of_two_devices({"lora": [2]}))["tables"]["fairness"].rows)
    assert rows["Other use of the GPU"].startswith("`lora` with seed 2")
