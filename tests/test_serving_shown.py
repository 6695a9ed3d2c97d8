"""The report says what each form of serving costs, and what was not measured and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fairtune.core.errors import UserError
from fairtune.report import cost_alone, latencies, serving, typeset
from fairtune.report.markup import markdown_text
from fairtune.report.study import Evidence
from fairtune.report.values import all_tables, context
from fairtune.report.wording import NONE
from tests.reports import make_evidence, make_serving
from tests.studies import METHODS, make_runs

REASON = "merging into 4-bit weights would change them"


def cells(found: Evidence) -> dict[str, list[str]]:
    table = all_tables(found)["serving"]
    assert table.header == ["Form", *(f"`{name}`" for name in METHODS)]
    return {row[0]: row[1:] for row in table.rows}


def note(found: Evidence) -> str:
    return str(markdown_text(all_tables(found)["serving"].note)).replace("\\", "")


def with_merge(found: Evidence, name: str, reason: str) -> Evidence:
    """Return the evidence where a method's adapter could not be merged."""
    lack = {"merged_latency_ms": None, "merged_samples_per_second": None, "merge": reason}
    records = [
        record.model_copy(update={"inference": record.inference.model_copy(update=lack)})
        for record in found.records[name]
    ]
    return replace(found, records={**found.records, name: records})


def test_without_a_measurement_the_trainings_speak_and_onnx_is_not_measured() -> None:
    found = with_merge(make_evidence(), "qlora", REASON)
    assert cells(found) == {
        "As trained (ms)": ["6.2"] * 4,
        "Merged (ms)": [NONE, "5.0", "n/a", "5.0"],
        "As trained (rows/s)": ["2,100.0"] * 4,
        "Merged (rows/s)": [NONE, "2,310.0", "n/a", "2,310.0"],
        "ONNX, CPU (ms)": ["n/a"] * 4,
        "ONNX, CPU (rows/s)": ["n/a"] * 4,
    }
    said = note(found)
    assert f"Merged is n/a for `qlora`: {REASON}." in said
    assert "ONNX is n/a: python -m fairtune.latency was not run." in said
    assert "NVIDIA H200 in bf16" in said
    assert serving.said(found) == ""


def test_what_was_measured_on_the_processor_stands_beside_it() -> None:
    found = make_evidence(served=True)
    rows = cells(found)
    assert rows["As trained, CPU (ms)"] == ["31.7", "32.7", "33.7", "34.7"]
    assert rows["Merged, CPU (ms)"] == [NONE, "24.7", "n/a", "26.7"]
    assert rows["ONNX, CPU (ms)"] == ["15.7", "16.7", "17.7", "n/a"]
    assert rows["ONNX, CPU (rows/s)"] == ["75.3", "76.3", "77.3", "n/a"]
    said = note(found)
    assert f"Merged on the CPU is n/a for `qlora`: {REASON}." in said
    assert "ONNX on the CPU is n/a for `ia3`: torch cannot export it." in said
    assert "A processor, two threads" in said
    assert "first 128 test rows, of which the first 10 alone" in said
    assert serving.said(found).startswith(
        "On the CPU one row alone is fastest in these forms: `full` ONNX (15.7 ms; as trained "
        "31.7), `lora` ONNX (16.7 ms; as trained 32.7 and merged 24.7)"
    )


def test_a_training_made_anew_since_is_not_measured() -> None:
    found = make_evidence(served=True)
    record = found.records["lora"][0]
    times = record.times.model_copy(update={"train_seconds": 1.234})
    anew = replace(
        found, records={**found.records, "lora": [record.model_copy(update={"times": times})]}
    )
    assert cells(anew)["ONNX, CPU (ms)"] == ["15.7", "n/a", "17.7", "n/a"]
    assert "On the CPU it is n/a for `lora`: it was not measured of this training" in note(anew)
    assert "`lora`" not in serving.said(anew)


def test_runs_that_shared_the_gpu_have_no_figure() -> None:
    found = make_evidence(seeds=(1, 2), shared={"lora": [1, 2]})
    assert cells(found)["As trained (ms)"] == ["6.2", "n/a", "6.2", "6.2"]
    assert "It is n/a for `lora`, whose runs all shared the GPU." in note(found)


def test_a_study_for_its_costs_alone_has_the_table_too() -> None:
    values = cost_alone.values(make_evidence(served=True), "weights are random")
    assert values["tables"]["serving"].rows
    assert "ONNX (15.7 ms" in values["served"]


@pytest.mark.parametrize("broken", ['{"points": [', "[1, 2]", '{"device": "x"}'])
def test_a_broken_file_names_what_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert latencies.read_serving() is None
    (tmp_path / "metrics").mkdir()
    latencies.SERVING.write_text(broken)
    with pytest.raises(UserError, match=r"serving.json: .*run `python -m fairtune.latency` again"):
        latencies.read_serving()


def test_what_is_written_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metrics").mkdir()
    records = {name: [run.record for run in of] for name, of in make_runs().items()}
    made = make_serving(records)
    latencies.SERVING.write_text(made.model_dump_json())
    assert latencies.read_serving() == made
    assert [point.form for point in made.of(records["full"][0])] == ["as trained", "ONNX"]


def test_the_paper_and_its_twin_have_the_table() -> None:
    values = context(make_evidence(served=True))
    for source in (typeset.typst_source(values), typeset.markdown(values)):
        assert "ONNX, CPU (ms)" in source
        assert "On the CPU one row alone is fastest in these forms" in source
    assert "<tab-serving>" in typeset.typst_source(values)


def test_a_reason_that_holds_everywhere_is_given_once() -> None:
    assert note(with_merge(make_evidence(served=True), "qlora", REASON)).count(REASON) == 1
