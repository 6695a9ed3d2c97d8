"""What `make repro` says at its start: on what the trainings run, and about how long."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fairtune import check
from fairtune.core import params, paths
from fairtune.core.method import RateRange
from fairtune.hardware import device, speed
from fairtune.training import promise, work
from tests import tiny

QLORA = {"learning_rate": 0.01, "adapter": "lora", "quantize": "nf4", "targets": ["query"]}
CPU = device.Choice(type="cpu", name="x", precision="fp32", reason="", threads=2)
GPU = device.Choice(type="cuda", name="NVIDIA H100", precision="bf16", reason="", threads=8)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> params.Params:
    """The tiny study, in the folder that the test works in."""
    monkeypatch.chdir(tmp_path)
    tiny.write_study(
        tmp_path,
        {
            "methods.qlora": QLORA,
            "subset": {"train": 800, "validation": 300, "test": 500},
            "train.epochs": 3,
            "encode.max_length": 192,
        },
    )
    (tmp_path / "encoder").mkdir()
    config = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
    (tmp_path / "encoder/config.json").write_text(json.dumps(config | {"intermediate_size": 1536}))
    return params.load()


def seconds(study: params.Params, *methods: str, lengths: float = 192.0) -> float:
    size = promise.model_size(study)
    assert size is not None
    of_splits = dict.fromkeys(paths.SPLITS, lengths)
    return promise.seconds(study, methods, size=size, lengths=of_splits, rate=1e9)


def test_a_training_takes_its_steps_and_the_passes_over_the_other_rows(
    study: params.Params,
) -> None:
    row = 2 * 192 * 6 * (4 * 384**2 + 2 * 384 * 1536 + 2 * 192 * 384) / 1e9
    evaluations = promise.EVALUATION * (3 * 300 + 500) * row
    for method, passes in (("full", 3.0), ("lora", 2.0), ("qlora", 2.4)):
        whole = passes * 3 * 800 * row + evaluations + promise.SECONDS_OF_A_STAGE
        assert seconds(study, method) == pytest.approx(whole)
    assert seconds(study, "full", "lora", "lora") == pytest.approx(
        seconds(study, "full") + 2 * seconds(study, "lora")
    )


def test_fewer_tokens_and_fewer_validations_take_less(study: params.Params) -> None:
    assert seconds(study, "lora", lengths=96.0) < seconds(study, "lora") / 1.9
    once = study.model_copy(
        update={"train": study.train.model_copy(update={"validate_every_epoch": False})}
    )
    size = promise.model_size(study)
    assert size is not None
    saved = 2 * promise.EVALUATION * size.forward(300, 192) / 1e9
    assert seconds(study, "lora") - seconds(once, "lora") == pytest.approx(saved)


def test_the_embedded_study_on_two_avx2_cores_is_told_within_a_seventh(
    study: params.Params,
) -> None:
    """By its records: seconds of training, and of the evaluations, at the rate of a probe."""
    subset = study.subset.model_copy(update={"train": 1200, "test": 2000})
    train = study.train.model_copy(update={"epochs": 1})
    study = study.model_copy(update={"subset": subset, "train": train})
    lengths = {"train": 94.5, "validation": 94.2, "test": 94.1}
    size = promise.model_size(study)
    assert size is not None
    took = {"full": (75.6, 36.2), "lora": (52.4, 38.8), "qlora": (60.8, 35.3)}
    for method, (trained, evaluated) in took.items():
        told = promise.seconds(study, [method], size=size, lengths=lengths, rate=99.4e9)
        assert told == pytest.approx(trained + evaluated + 6.0, rel=1 / 7)


def test_rows_are_as_long_as_they_were_encoded_or_at_most(study: params.Params) -> None:
    assert promise.mean_lengths(study) == dict.fromkeys(paths.SPLITS, 192.0)
    manifest = {
        "max_length": 192,
        "splits": {split: {"mean_length": 171.5} for split in paths.SPLITS},
    }
    paths.ENCODED.mkdir(parents=True)
    (paths.ENCODED / paths.MANIFEST).write_text(json.dumps(manifest))
    assert promise.mean_lengths(study) == dict.fromkeys(paths.SPLITS, 171.5)
    (paths.ENCODED / paths.MANIFEST).write_text(json.dumps(manifest | {"max_length": 64}))
    assert promise.mean_lengths(study) == dict.fromkeys(paths.SPLITS, 192.0)


@pytest.mark.parametrize(
    ("time", "words"),
    [(3, "10 seconds"), (84, "80 seconds"), (119, "2 minutes"), (1590, "26 minutes"),
     (9000, "2.5 hours")],
)  # fmt: skip
def test_times_are_told_as_a_person_would(time: float, words: str) -> None:
    assert promise.rounded(time) == words


def test_the_probe_returns_a_positive_rate() -> None:
    size = work.Dimensions(layers=2, hidden=64, heads=4, queries=64, keys=64, inner=128)
    rate, had = promise.probed_rate(device.choose(tiny_train()), size, 16)
    assert rate > 0
    assert had > 0


def test_the_rate_is_the_layer_s_work_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "layer_seconds", lambda *_, **__: (0.5, 0.9))
    size = work.Dimensions(layers=9, hidden=64, heads=4, queries=64, keys=32, inner=128, gated=True)
    operations = 2 * 16 * (4 * 64**2 + 2 * 64 * 128 + 32 * 64)
    assert promise.probed_rate(CPU, size, 16) == (operations / 0.5, 0.9)


def tiny_train() -> params.Train:
    return params.Train(epochs=1, batch_size=8, device="cpu")


def test_it_says_the_cores_the_precision_and_the_time(
    study: params.Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "choose", lambda _: CPU)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(promise, "probed_rate", lambda *_: (1e10, 0.95))
    about = promise.rounded((seconds(study, "lora", "full") - 12) / 10 + 12)
    assert promise.promise(study, ["lora", "full"]) == (
        f"2 cores (AVX2), fp32: 2 trainings to run, about {about}"
    )
    both = promise.promise(searching(study), ["lora", "full"], ["lora"] * 6)
    assert "fp32: 6 trials and 2 trainings to run, about " in both
    monkeypatch.setattr(promise, "probed_rate", lambda *_: (1e10, 0.4))
    busy = promise.promise(study, ["lora", "full"])
    assert busy.endswith(f"about {about} if others go on using the cores")


def test_what_cannot_be_told_is_not_said(
    study: params.Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "choose", lambda _: GPU)
    assert promise.promise(study, ["lora"]) == "NVIDIA H100, bf16: 1 training to run"
    monkeypatch.setattr(device, "choose", lambda _: CPU)
    Path("encoder/config.json").unlink()
    assert "about" not in promise.promise(study, ["lora"])


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, []),
        ({"compare": [], "report": []}, []),
        ({"train@lora-1": [], "train@two_words-1": [], "compare": []}, ["lora", "two_words"]),
        ({"encode": [], "train@lora-1": []}, ["full", "lora", "qlora"]),
        ({"sources": []}, ["full", "lora", "qlora"]),
    ],
    ids=str,
)
def test_the_trainings_to_run_are_the_stale_and_all_where_rows_or_tokens_change(
    study: params.Params,
    monkeypatch: pytest.MonkeyPatch,
    status: dict[str, Any],
    expected: list[str],
) -> None:
    done = SimpleNamespace(returncode=0, stdout=json.dumps(status))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert check.stale(study) == (expected, [])


@pytest.mark.parametrize(
    ("status", "trials"), [({"search@lora": []}, 6), ({"search@full": []}, 0), ({"encode": []}, 6)]
)
def test_the_trials_to_run_are_those_of_methods_that_search(
    study: params.Params, monkeypatch: pytest.MonkeyPatch, status: dict[str, Any], trials: int
) -> None:
    done = SimpleNamespace(returncode=0, stdout=json.dumps(status))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert check.stale(searching(study))[1] == ["lora"] * trials


def searching(study: params.Params) -> params.Params:
    """Return the study with a range of rates for LoRA: three rates with two seeds."""
    block = study.method("lora").model_copy(update={"learning_rate": RateRange(search=(0.1, 0.2))})
    return study.model_copy(update={"methods": {**study.methods, "lora": block}})


def test_a_trial_takes_its_steps_and_the_passes_over_the_validation_rows(
    study: params.Params,
) -> None:
    size = promise.model_size(study)
    assert size is not None
    lengths, one = dict.fromkeys(paths.SPLITS, 192.0), size.forward(1, 192) / 1e9
    found = promise.seconds_of_trials(
        searching(study), ["lora"] * 6, size=size, lengths=lengths, rate=1e9
    )
    of_each = (2.0 * 3 * 800 + promise.EVALUATION * 3 * 300) * one + promise.SECONDS_OF_A_TRIAL
    assert found == pytest.approx(6 * of_each)


def test_nothing_is_said_where_nothing_is_to_be_trained(
    study: params.Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["check"])
    monkeypatch.setattr(check, "stale", lambda _: ([], []))
    check.main()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(check, "stale", lambda _: (["lora"], []))
    monkeypatch.setattr(promise, "promise", lambda *_: "2 cores")
    check.main()
    assert capsys.readouterr() == ("check: 2 cores\n", "")
