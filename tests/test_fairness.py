"""Runs that differ in what they should share are not compared."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from fairtune.analysis import fairness
from fairtune.analysis.quiet import set_apart
from fairtune.core.errors import UserError
from fairtune.core.params import Compare
from fairtune.runs.record import Run
from tests.studies import make_runs


def changed(run: Run, part: str, **values: Any) -> Run:
    """Return a run whose record differs in one part."""
    new = getattr(run.record, part).model_copy(update=values)
    return dataclasses.replace(run, record=run.record.model_copy(update={part: new}))


def test_runs_that_share_everything_pass() -> None:
    fairness.check(make_runs(seeds=(1, 2)))


@pytest.mark.parametrize(
    ("part", "values", "named"),
    [
        ("device", {"precision": "fp32"}, "precision"),
        ("device", {"name": "another GPU"}, "name of the device"),
        ("data", {"subset_sha256": "0"}, "training, validation and test rows"),
        ("data", {"order_sha256": "0"}, "order of the training rows"),
        ("data", {"padded_lengths": [512]}, "lengths that batches are padded to"),
        ("data", {"padded_tokens": 1}, "tokens with padding"),
        ("data", {"steps": 7}, "optimizer steps"),
        ("execution", {"optimizer": "SGD"}, "optimizer"),
        ("execution", {"captured_steps": 0}, "replay as CUDA graphs"),
        ("execution", {"captured_steps": 7}, "steps replayed as CUDA graphs"),
    ],
)
def test_a_difference_that_is_not_declared_is_refused_by_name(
    part: str, values: dict[str, Any], named: str
) -> None:
    runs = make_runs(seeds=(1, 2))
    runs["lora"][1] = changed(runs["lora"][1], part, **values)
    with pytest.raises(UserError, match=f"differ in: {named}.*lora with seed 2"):
        fairness.check(runs)


MIXED = Compare(allow_mixed_devices=True, palette=["#000000"])


@pytest.mark.parametrize(
    "values", [{"name": "another GPU"}, {"driver": "1.2"}, {"name": "another GPU", "threads": 3}]
)
def test_devices_of_several_kinds_pass_where_the_study_allows_them(values: dict[str, Any]) -> None:
    runs = make_runs(seeds=(1, 2))
    runs["lora"][1] = changed(runs["lora"][1], "device", **values)
    with pytest.raises(UserError, match=r"one kind, or set compare\.allow_mixed_devices to true"):
        fairness.check(runs)
    apart = set_apart(runs, MIXED)
    fairness.check(apart)
    found = fairness.manifest(apart)
    assert not {"name of the device", "driver", "CPU threads"} & set(found["identical"])
    assert found["mixed_devices"]["lora"]["2"] == values.get(
        "name", found["mixed_devices"]["full"]["1"]
    )
    assert found["other_use_of_the_gpu"] is None
    assert fairness.manifest(runs)["mixed_devices"] is None


def test_a_study_of_several_kinds_is_one_though_every_run_shared_its_gpu_besides() -> None:
    held = "processes [7] held 70000 MiB"
    runs = make_runs(seeds=(1, 2))
    runs = {name: [changed(one, "device", busy=held) for one in of] for name, of in runs.items()}
    runs["lora"][1] = changed(runs["lora"][1], "device", name="another GPU")
    apart = set_apart(runs, MIXED)
    fairness.check(apart)
    found = fairness.manifest(apart)
    assert found["mixed_devices"]["lora"]["2"] == "another GPU"
    assert found["other_use_of_the_gpu"] == {name: dict.fromkeys("12", held) for name in runs}


@pytest.mark.parametrize("values", [{"precision": "fp32"}, {"type": "cpu"}])
def test_what_moves_scores_must_be_the_same_on_devices_of_several_kinds(
    values: dict[str, Any],
) -> None:
    runs = make_runs(seeds=(1, 2))
    runs["lora"][1] = changed(runs["lora"][1], "device", **values)
    with pytest.raises(UserError, match="the runs differ in"):
        fairness.check(set_apart(runs, MIXED))


def test_a_method_that_cannot_be_captured_is_to_be_trained_like_the_others() -> None:
    runs = make_runs()
    other = {"captured_steps": 0, "eager_steps": 564}
    assert runs["lora"][0].record.execution.captured_steps
    runs["ia3"][0] = changed(runs["ia3"][0], "execution", **other)
    with pytest.raises(UserError, match=r"set train.cuda_graphs to 'off'"):
        fairness.check(runs)


FAILED = "capture failed: CUDA out of memory. Tried to allocate 2.00 GiB"


@pytest.mark.parametrize(
    ("note", "busy", "remedy"),
    [
        ("the adapter works on each step's gradients", None, "has False; set train.cuda_graphs"),
        (FAILED, None, "lower train.batch_size or encode.max_length, or set train.cuda_graphs"),
        ("capture failed: CUBLAS_STATUS_ALLOC_FAILED when calling", None, "lower train.batch_size"),
        (
            FAILED,
            "processes [7] held 70000 MiB",
            "while others used the GPU: train it alone, `dvc repro --force train@ia3-2`",
        ),
    ],
)
def test_what_to_do_about_a_run_without_graphs_follows_from_why_it_has_none(
    note: str, busy: str | None, remedy: str
) -> None:
    runs = make_runs(seeds=(1, 2))
    eager = {"captured_steps": 0, "eager_steps": 564, "note": note}
    runs["ia3"][1] = changed(runs["ia3"][1], "execution", **eager)
    runs["ia3"][1] = changed(runs["ia3"][1], "device", busy=busy)
    with pytest.raises(UserError, match=re.escape(remedy)):
        fairness.check(runs)


def test_unlike_hosts_of_equal_gpus_and_what_works_before_a_training_may_differ() -> None:
    runs = make_runs(seeds=(1, 2))
    one = changed(runs["lora"][1], "device", threads=64)
    versions = one.record.versions | {"dvc": "9.9", "datasets": "9.9", "tokenizers": "9.9"}
    record = one.record.model_copy(update={"versions": versions})
    runs["lora"][1] = dataclasses.replace(one, record=record)
    fairness.check(runs)
    assert fairness.manifest(runs)["identical"]["CPU threads"] is None


def test_on_a_processor_its_threads_must_be_the_same() -> None:
    runs = make_runs(gpu=False)
    runs["lora"][0] = changed(runs["lora"][0], "device", threads=64)
    with pytest.raises(UserError, match="differ in: CPU threads"):
        fairness.check(runs)


def test_another_version_of_a_library_is_named_with_both_versions() -> None:
    runs = make_runs()
    record = runs["ia3"][0].record
    versions = record.versions | {"torch": "9.9.9"}
    other = record.model_copy(update={"versions": versions})
    runs["ia3"][0] = dataclasses.replace(runs["ia3"][0], record=other)
    with pytest.raises(UserError, match=r"library versions: .*torch .*torch 9\.9\.9"):
        fairness.check(runs)


def test_another_first_head_of_the_same_seed_is_refused() -> None:
    runs = make_runs()
    other = runs["qlora"][0].record.model_copy(update={"head_sha256": "0"})
    runs["qlora"][0] = dataclasses.replace(runs["qlora"][0], record=other)
    with pytest.raises(UserError, match="first weights of the head"):
        fairness.check(runs)


def test_the_manifest_holds_what_is_shared_and_each_methods_own_block() -> None:
    manifest = fairness.manifest(make_runs(seeds=(1, 2)))
    assert set(fairness.IDENTICAL) == set(manifest["identical"])
    assert set(manifest["by_design"]) == {"full", "lora", "qlora", "ia3"}
    assert manifest["by_design"]["qlora"]["quantize"] == "nf4"
    assert "adapter" not in manifest["by_design"]["full"]
    assert set(manifest["identical_by_seed"]["order of the training rows"]) == {"1", "2"}
