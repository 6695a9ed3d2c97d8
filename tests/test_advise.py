"""The advisor: what fits, how sure that is, and what comes nearest where nothing does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fairtune.advise import Limits, advise, arguments, main
from fairtune.core.errors import UserError
from fairtune.report.serving import quickest
from tests import commands
from tests.reports import ROOT, make_evidence, write_study

CLEAR = {"full": 0.96, "lora": 0.93, "qlora": 0.9, "ia3": 0.85}


def said(text: list[str]) -> str:
    return " ".join(text)


EQUAL = dict.fromkeys(CLEAR, 0.93)


def test_the_cheapest_that_is_proved_good_enough_is_chosen_with_a_runner_up() -> None:
    knobs = {"rows": 20_000, "accuracy": EQUAL, "seeds": (1, 2, 3), "seed_spread": 0.0}
    found = advise(make_evidence(agreement=0.99, **knobs), Limits())
    assert (found.choice, found.decision.settled) == ("lora", True)
    assert set(found.decision.passing) == set(CLEAR)
    assert found.runner_up not in (None, "lora")
    assert "We recommend `lora`" in said(found.text)


def test_where_nothing_is_proved_the_choice_is_provisional() -> None:
    found = advise(make_evidence(), Limits())
    assert (found.choice, found.decision.settled) == ("full", False)
    assert "The choice is not settled. Provisionally we take `full`" in said(found.text)
    assert "cannot tell their accuracies apart" in said(found.text)


def test_a_method_that_another_beats_comes_after_it() -> None:
    found = advise(make_evidence(rows=3000, accuracy=CLEAR), Limits())
    assert found.choice == "full"


def test_limits_rule_methods_out() -> None:
    found = advise(make_evidence(), Limits(max_seconds=16, max_memory_mib=4500))
    assert found.choice == "lora"
    assert found.runner_up is None
    reasons = {one.method: said(one.reasons) for one in found.judgements}
    assert "its GPU memory is" in reasons["full"]
    assert "its training time is" in reasons["qlora"]


def test_an_interval_that_holds_the_minimum_makes_a_method_uncertain() -> None:
    found = advise(make_evidence(), Limits(min_accuracy=0.93))
    assert {one.status for one in found.judgements} == {"uncertain"}
    assert "uncertain whether it fits" in said(found.text)


def test_a_sure_fit_comes_before_an_uncertain_one() -> None:
    found = advise(make_evidence(rows=2000, accuracy={"full": 0.95}), Limits(min_accuracy=0.935))
    assert found.choice == "full"


def test_where_nothing_fits_the_nearest_is_named_with_the_reasons() -> None:
    found = advise(make_evidence(), Limits(max_seconds=10))
    assert found.choice is None
    assert found.nearest == "lora"
    assert "No method fits. `lora` comes nearest." in said(found.text)
    assert len([line for line in found.text if "over 10.0 s" in line]) == 4


def test_without_a_gpu_the_limit_on_memory_is_held_against_host_memory() -> None:
    found = advise(make_evidence(gpu=False), Limits(max_memory_mib=3200))
    assert found.memory == "host memory"
    assert "GPU memory was not measured" in found.text[0]
    assert found.choice == "qlora"


def test_one_seed_is_said() -> None:
    assert "one seed" in said(advise(make_evidence(), Limits()).text)
    assert "one seed" not in said(advise(make_evidence(seeds=(1, 2, 3)), Limits()).text)


@pytest.mark.parametrize(
    "words", [["--max-seconds", "0"], ["--max-memory-mib", "-3"], ["--min-accuracy", "90"]]
)
def test_a_limit_that_cannot_be_meant_is_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match=words[0]):
        arguments(words)


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fairtune.advise", *words], cwd=folder, capture_output=True,
        text=True, check=False, env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip


def test_the_command_prints_words_for_people_and_json_for_programs(tmp_path: Path) -> None:
    write_study(tmp_path)
    limits = "--max-memory-mib 4000 --max-seconds 600 --min-accuracy 0.9"
    human = call(tmp_path, *limits.split())
    assert human.returncode == 0, human.stderr
    assert human.stdout.startswith("No method fits.")
    machine = json.loads(commands.run(main, tmp_path, "--max-seconds", "16", "--json").stdout)
    assert (machine["choice"], machine["settled"]) == ("lora", False)
    assert {one["method"] for one in machine["judgements"]} == {"full", "lora", "qlora", "ia3"}


def test_missing_metrics_give_one_line(tmp_path: Path) -> None:
    write_study(tmp_path)
    (tmp_path / "metrics/comparison.json").unlink()
    done = commands.run(main, tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "fairtune: metrics/comparison.json: not found; run `dvc repro compare`\n"
    )


def test_a_latency_is_kept_by_the_fastest_form_of_serving() -> None:
    found = make_evidence(served=True)
    answers = {name: quickest(of, found.serving) for name, of in found.records.items()}
    # On the GPU all take 6.2 ms as trained, and adapters 5.0 ms once they are merged.
    advice = advise(found, Limits(max_latency_ms=5.5), answers)
    reasons = {one.method: said(one.reasons) for one in advice.judgements}
    assert reasons["full"] == "its time of one row alone is 6.2 ms, over 5.5 ms"
    assert reasons["lora"] == ""
    assert advice.choice == "lora"
    assert "`lora` answers one row alone in 5.0 ms: merged, on the study's GPU." in advice.text


def test_on_a_processor_a_graph_may_be_what_answers_fast_enough() -> None:
    found = make_evidence(gpu=False)
    alone = {name: quickest(of, None) for name, of in found.records.items()}
    # As trained 88 ms, merged 70.4; graphs of all but the last method take less than 20.
    assert advise(found, Limits(max_latency_ms=20), alone).choice is None
    served = make_evidence(gpu=False, served=True)
    answers = {name: quickest(of, served.serving) for name, of in served.records.items()}
    advice = advise(served, Limits(max_latency_ms=20), answers)
    fits = {one.method for one in advice.judgements if one.status == "fits"}
    assert fits == {"full", "lora", "qlora"}
    assert any(text.endswith("ms: ONNX, on the CPU.") for text in advice.text)


def test_a_method_whose_latency_is_unknown_may_fit() -> None:
    found = make_evidence(methods=("full", "lora"), seeds=(1,), shared={"lora": [1]})
    answers = {name: quickest(of, None) for name, of in found.records.items()}
    assert answers["lora"] is None
    [_, lora] = advise(found, Limits(max_latency_ms=7), answers).judgements
    assert lora.status == "uncertain"


def test_the_command_reads_the_latency_from_the_runs(tmp_path: Path) -> None:
    write_study(tmp_path)
    done = commands.run(main, tmp_path, "--max-latency-ms", "5.5")
    assert done.returncode == 0, done.stderr
    assert "lora answers one row alone in 5.0 ms: merged, on the study's GPU." in done.stdout
    done = commands.run(main, tmp_path, "--max-latency-ms", "-1")
    assert "--max-latency-ms: -1 is not right; give more than 0" in done.stderr
