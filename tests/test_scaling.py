"""The scaling sweep: its grid, a point by the trainings' own loop, and what cannot be measured."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fairtune.analysis.costs import decided_by
from fairtune.core.errors import UserError
from fairtune.core.method import Method
from fairtune.core.params import Model, Params
from fairtune.scaling import encoders, isolation, prediction
from fairtune.scaling import sweep as sweeping
from fairtune.scaling.grid import BASE, MODEL_SIZE, Point, points
from fairtune.scaling.isolation import OUT_OF_MEMORY, BusyError, Isolation, MeasureError
from fairtune.scaling.point import OWN, Cost, Encoder, Machine, Size
from fairtune.scaling.summary import summary
from fairtune.scaling.sweep import PATIENCE, PAUSE, Sweep
from tests import tiny

ROOT = Path(__file__).parent.parent
SMALL = Size(rows=16, max_length=16, batch_size=4)
OWN_ENCODER = Encoder(name=OWN, parameters=22_700_000, outputs=1000, longest=510)
LARGE_ENCODER = Encoder(name="large", parameters=354_000_000, outputs=9000, longest=8190)
HERE = __name__
"""Functions below are called apart, by this module's name."""


@pytest.fixture(scope="module")
def study(encoder: Callable[..., Path]) -> Params:
    """The tiny study, its encoder named by an absolute path."""
    return Params.model_validate(tiny.study({"model.name": str(encoder())}))


@pytest.fixture
def apart() -> Isolation:
    """Processes forked from the server, and a failure where they are not."""
    return Isolation(tell=pytest.fail)


def die(signal: int) -> None:
    os.kill(os.getpid(), signal)


def end(status: int) -> None:
    os._exit(status)


def wait(seconds: float) -> None:
    time.sleep(seconds)


def fail(kind: str) -> None:
    """Raise what torch, CUDA or fairtune would."""
    if kind == "wrapped":  # as the training loop does
        raise UserError("out of GPU memory at train.batch_size 8") from torch.OutOfMemoryError()
    errors: dict[str, Exception] = {
        "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        "host": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        "other": MeasureError("the loss became nan\nat step 3"),
        "busy": BusyError("processes [7] held 9 MiB of the GPU at the start"),
        "mistake": UserError("methods.lora.r: 'x' is not right"),
        "barred": RuntimeError("Cannot re-initialize CUDA in forked subprocess. To use CUDA ..."),
    }
    raise errors[kind]


@pytest.mark.parametrize("on_gpu", [False, True])
def test_each_point_varies_one_quantity_and_keeps_the_others(on_gpu: bool) -> None:
    made = list(points([OWN_ENCODER, LARGE_ENCODER], on_gpu=on_gpu))
    assert {place.axis for place in made} == {"rows", "max_length", "batch_size", MODEL_SIZE}
    assert len(made) == len(set(made))
    base = Size(**dict(zip(("rows", "max_length", "batch_size"), BASE[on_gpu], strict=True)))
    for place in made:
        if place.axis == MODEL_SIZE:
            assert replace(place.size, encoder=OWN) == base
        else:
            # A large batch has more rows, so that there are steps enough to time.
            rows = place.size.rows if place.axis == "batch_size" else base.rows
            assert place.size == replace(base, **{"rows": rows, place.axis: int(place.value)})
    values = [place.value for place in made if place.axis == MODEL_SIZE]
    assert values == [22.7, 354.0]


def test_a_gpu_gets_sizes_that_keep_it_busy_and_a_processor_does_not() -> None:
    sizes = {gpu: [p.size for p in points([OWN_ENCODER], on_gpu=gpu)] for gpu in (False, True)}
    assert min(size.tokens for size in sizes[True]) >= 2048
    assert max(size.rows for size in sizes[True]) == 8192
    assert max(size.rows * size.max_length for size in sizes[False]) <= 128 * 64
    assert all(size.rows >= 4 * size.batch_size for made in sizes.values() for size in made)


def test_no_text_is_longer_than_the_encoder_takes() -> None:
    def lengths(longest: int) -> list[float]:
        made = points([replace(OWN_ENCODER, longest=longest)], on_gpu=True)
        return [place.value for place in made if place.axis == "max_length"]

    assert lengths(510) == [128, 256]
    assert lengths(8190) == [128, 256, 512, 1024, 2048]
    assert lengths(64) == [64]


def test_a_gpu_gets_decoders_of_billions_of_parameters_and_a_processor_a_wide_encoder(
    study: Params,
) -> None:
    found = encoders.encoders(study.model, on_gpu=True)
    assert [one.name for one in found] == [OWN, "large", "1B", "3B"]
    # RoBERTa-large's 355.4 M less its head and pooler; Llama 3.2's sizes without the output matrix.
    assert [round(one.parameters / 1e6) for one in found[1:]] == [354, 1236, 3213]
    own, wide = encoders.encoders(study.model, on_gpu=False)
    assert wide.outputs == 2 * own.outputs
    # Two layers of four square matrices and two of twice the width, and the pooler.
    assert own.outputs == 2 * (4 * 64 + 128 + 64) + 64
    assert wide.parameters > 2 * own.parameters


@pytest.mark.parametrize("name", [encoders.WIDE, "decoder"])
def test_random_weights_make_a_checkpoint_that_each_method_loads(
    study: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: Isolation, name: str
) -> None:
    sizes = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 200}
    monkeypatch.setitem(encoders.LARGE, "decoder", ("llama", sizes | heads | {"pad_token_id": 0}))  # type: ignore[arg-type]
    encoders.write_encoder(study.model, name=name, folder=tmp_path)
    drawn = load_file(tmp_path / "model.safetensors")
    matrices = [weight for weight in drawn.values() if weight.dim() > 1]
    assert all(0.015 < float(weight.float().std()) < 0.025 for weight in matrices)
    assert {weight.dtype for weight in drawn.values()} == {torch.bfloat16}
    kind, cost = apart.call(
        sweeping.PROBE, "measure", study=study, method=Method(learning_rate=1e-4), name="full",
        size=replace(SMALL, encoder=name), folder=tmp_path,
    )  # fmt: skip
    assert kind == "done", cost
    assert cost.held_mib > 0


@pytest.mark.parametrize("name", ["full", "lora"])
def test_a_point_is_measured_by_the_loop_that_trainings_use(
    study: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from fairtune.scaling import probe

    seen: dict[str, Any] = {}

    def watched(model: Any, rows: Any, **keywords: Any) -> Any:
        seen.update(keywords, rows=rows)
        return real(model, rows, **keywords)

    real = probe.train_model
    monkeypatch.setattr(probe, "train_model", watched)
    monkeypatch.setattr(probe.tempfile, "tempdir", None)
    changes = {"max_grad_norm": 0.5, "schedule": "cosine", "epochs": 3, "logging_steps": 2}
    given = study.model_copy(update={"train": study.train.model_copy(update=changes)})
    size = replace(SMALL, rows=24)
    cost = probe.measure(given, study.methods[name], name=name, size=size, folder=tmp_path)
    assert (len(seen["rows"]), set(seen["rows"].lengths)) == (24, {16})
    used = seen["train"]
    assert (used.epochs, used.batch_size) == (1, 4)
    assert (used.max_grad_norm, used.schedule, used.logging_steps) == (0.5, "cosine", 2)
    assert cost.pass_seconds == pytest.approx(seen["meter"].seconds, abs=1e-3)
    assert 0 < cost.step_seconds < cost.pass_seconds
    assert (cost.captured, cost.eager) == (0.0, "no CUDA graphs on cpu in fp32")
    assert cost.memory["gpu_allocated_mib"] is None
    assert cost.memory["host_memory_mib"] > 50


def test_a_mistake_stops_the_sweep_in_one_line(study: Params) -> None:
    wrong = Method.model_validate({"learning_rate": 0.01, "adapter": "lora", "rank": 2})
    with pytest.raises(UserError, match=r"methods\.lora\.rank: unknown key") as caught:
        sweeping.sweep(study.model_copy(update={"methods": {"lora": wrong}}))
    assert "\n" not in str(caught.value)
    nowhere = Model(name="/nowhere/encoder")
    with pytest.raises(UserError, match=r"model\.name: '/nowhere/encoder' not found"):
        sweeping.sweep(study.model_copy(update={"model": nowhere}))


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("cuda", ("note", OUT_OF_MEMORY)),
        ("host", ("note", OUT_OF_MEMORY)),
        ("wrapped", ("note", OUT_OF_MEMORY)),
        ("other", ("note", "the loss became nan")),
        ("mistake", ("mistake", "methods.lora.r: 'x' is not right")),
        ("busy", ("busy", "processes [7] held 9 MiB of the GPU at the start")),
    ],
)
def test_what_fails_in_a_process_comes_back_in_a_line(
    apart: Isolation, kind: str, outcome: tuple[str, str]
) -> None:
    assert apart.call(HERE, "fail", kind=kind) == outcome


def test_a_process_that_dies_is_a_note(apart: Isolation) -> None:
    assert apart.call(HERE, "die", signal=9) == ("note", OUT_OF_MEMORY)
    assert apart.call(HERE, "die", signal=11) == ("note", "ended with -11")
    assert apart.call(HERE, "end", status=3) == ("note", "ended with 3")


def test_a_process_that_takes_too_long_is_ended(apart: Isolation) -> None:
    start = time.perf_counter()
    assert apart.call(HERE, "wait", limit=0.5, seconds=60) == ("note", "longer than 0.5 s")
    assert time.perf_counter() - start < 30


def test_where_forks_cannot_use_cuda_each_process_starts_anew() -> None:
    told: list[str] = []
    apart = Isolation(tell=told.append)
    kind, reason = apart.call(HERE, "fail", kind="barred")
    assert (apart.start, kind) == (isolation.SPAWN, "note")
    assert reason.startswith("Cannot re-initialize CUDA in forked subprocess")
    assert told == [f"scaling: each process starts anew, which takes longer: {reason}"]


def test_where_the_fork_server_ends_each_process_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "ends_at_once.py").write_text("import os; os._exit(3)")
    (tmp_path / "main.py").write_text("""
from fairtune.scaling import isolation
isolation.PRELOAD = "ends_at_once"
if __name__ == "__main__":
    apart = isolation.Isolation()
    print(*apart.call("math", "factorial"), apart.start)
    print(*apart.call("os", "getcwd"))
""")
    done = subprocess.run(
        [sys.executable, tmp_path / "main.py"], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}, check=True,
    )  # fmt: skip
    told, first, second = done.stdout.splitlines()
    assert told.endswith("takes longer: the fork server ended (EOFError)")
    assert first.startswith("note math.factorial() takes exactly one argument")
    assert first.endswith("spawn")
    assert second == f"done {ROOT}"


POISONED = """
import os, sys, types, torch
bad = []
def touch(name):
    def touched(*args, **keywords):
        bad.append(name)
        raise RuntimeError(name + " starts CUDA")
    return touched
torch.cuda._is_compiled = lambda: True
torch.cuda._device_count_nvml = lambda: 1
torch._C._cuda_getDeviceCount = touch("getDeviceCount")
torch.cuda._lazy_init = touch("_lazy_init")
torch._C._cuda_getCurrentRawStream = lambda device: 0
torch._C._cuda_isInBadFork = torch.cuda._is_in_bad_fork = lambda: bool(bad)
torch.version.cuda = "13.0"
gpu = types.SimpleNamespace(
    NVMLError=OSError, nvmlInit=lambda: None, nvmlShutdown=lambda: None,
    nvmlDeviceGetHandleByIndex=lambda index: index,
    nvmlDeviceGetCudaComputeCapability=lambda handle: (9, 0),
)
sys.modules["pynvml"] = gpu
os.environ.pop("CUDA_VISIBLE_DEVICES", None)
"""


def poisoned(code: str) -> str:
    """Run code where torch believes in a GPU and whatever would start CUDA is noted and fails."""
    done = subprocess.run(
        [sys.executable, "-c", POISONED + code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_fork_server_touches_no_gpu_and_names_an_import_that_would(tmp_path: Path) -> None:
    (tmp_path / "asks_first.py").write_text("import torch; torch.cuda.is_available()")
    (tmp_path / "starts_cuda.py").write_text(
        "import torch\ntry:\n    torch.cuda.init()\nexcept RuntimeError:\n    pass\n"
    )
    code = f"""
from fairtune.scaling import preload
import bitsandbytes
print(torch.cuda.is_available(), preload.CULPRIT, bad, torch.cuda.is_initialized())
sys.path.append({str(tmp_path)!r})
print(preload.load(["asks_first", "starts_cuda", "json"]))
"""
    assert poisoned(code).splitlines() == ["True None [] False", "starts_cuda"]


def cost(*, memory: float | None, held: float = 100.0) -> Cost:
    return Cost(
        pass_seconds=2.0, step_seconds=0.05, held_mib=held, captured=0.9, eager="the first",
        memory={"gpu_memory_mib": None, "gpu_allocated_mib": memory, "host_memory_mib": 900.0},
    )  # fmt: skip


def test_the_summary_holds_what_was_measured_and_predicted_at_each_point() -> None:
    known_encoders = [OWN_ENCODER, LARGE_ENCODER]
    places = list(points(known_encoders, on_gpu=True))
    outputs = {one.name: one.outputs for one in known_encoders}
    known: dict[tuple[Size, str], tuple[str, Any]] = {}
    for place in places:
        load = place.size.tokens * outputs[place.size.encoder]
        known[place.size, "full"] = ("done", cost(memory=100 + 20 + 1e-5 * load))
    large = next(place for place in places if place.size.encoder == "large")
    known[large.size, "lora"] = ("note", OUT_OF_MEMORY)
    for place in places:
        known.setdefault((place.size, "lora"), ("done", cost(memory=500.0, held=50.0)))
    machine = Machine(type="cuda", name="a GPU", precision="bf16", encoders=known_encoders)
    found = summary(machine, places, known)
    assert (found["device"], found["memory"]) == ("a GPU", "gpu_allocated_mib")
    assert found["fixed_mib"] == pytest.approx({"full": 20.0, "lora": 450.0}, abs=0.1)
    assert len(found["points"]) == 2 * len(places)
    for point in found["points"]:
        assert point["seconds"] == (
            None if point["note"] else 2.0 if point["axis"] == "rows" else 0.05
        )
        if point["method"] == "full":
            assert point["predicted_mib"] == pytest.approx(point["memory_mib"], abs=0.2)
            assert (point["captured"], point["eager"]) == (0.9, "the first")
    [lost] = [point for point in found["points"] if point["note"]]
    assert (lost["axis"], lost["value"], lost["note"]) == (MODEL_SIZE, 354.0, OUT_OF_MEMORY)
    assert {lost[key] for key in ("seconds", "memory_mib", "predicted_mib", "captured")} == {None}


def test_nothing_is_predicted_from_a_single_load() -> None:
    assert prediction.fit([5.0, 5.0], [1.0, 1.0], [3.0, 4.0]) is None
    assert prediction.predicted(5.0, 1.0, None) is None


@pytest.mark.parametrize(
    ("busy", "notes", "slept"),
    [(2, set(), 2 * PAUSE), (10**6, {"held by another"}, PATIENCE)],
    ids=["for a while", "for good"],
)
def test_a_sweep_waits_for_a_gpu_that_others_use_but_not_for_ever(
    study: Params, tmp_path: Path, busy: int, notes: set[str], slept: float
) -> None:
    """The patience is that of the whole sweep: where the GPU stays taken, no point waits anew."""

    class Taken(Isolation):
        looks = 0

        def call(self, *_: Any, **__: Any) -> tuple[str, Any]:
            Taken.looks += 1
            if Taken.looks <= busy:
                return "busy", "held by another"
            return "done", cost(memory=100.0)

    waited: list[float] = []
    lines: list[str] = []
    machine = Machine(type="cuda", name="a GPU", precision="bf16", encoders=[OWN_ENCODER])
    made = Sweep(
        study=study, machine=machine, isolation=Taken(), folder=tmp_path, tell=lines.append,
        limit=1.0, keep=lambda _: None, sleep=waited.append,
    )  # fmt: skip
    places = list(points([OWN_ENCODER], on_gpu=True))
    made.run(places)
    assert sum(waited) == slept
    assert {one["note"] for one in summary(machine, places, made.known)["points"]} - {""} == notes
    assert lines.count("scaling: waits for the GPU: held by another") == len(waited)


def test_each_size_is_measured_once_and_told_in_one_line(
    study: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[Size, str]] = []
    machine = Machine(
        type="cuda", name="a GPU", precision="bf16", encoders=[OWN_ENCODER, LARGE_ENCODER]
    )

    def call(self: Isolation, module: str, function: str, **keywords: Any) -> tuple[str, Any]:
        if function == "describe":
            return "done", machine
        if function == "write_encoder":
            return "done", None
        measured.append((keywords["size"], keywords["name"]))
        assert keywords["limit"] == 7.0
        # On an encoder of another family a block that does not fit is no end.
        return (
            ("mistake", "no module matches" + 200 * ".")
            if measured[-1][0].encoder == "large"
            else ("done", cost(memory=300.0))
        )

    monkeypatch.setattr(Isolation, "call", call)
    told: list[str] = []
    kept: list[dict[str, Any]] = []
    found = sweeping.sweep(study, tell=told.append, limit=7.0, keep=kept.append)
    # What is ended midway has kept what it measured.
    assert len(kept) == len(measured) / len(study.methods)
    assert 0 < len(kept[0]["points"]) < len(kept[-1]["points"])
    assert {of["complete"] for of in kept} == {False}
    assert {**kept[-1], "complete": True} == found
    assert found["of"] == decided_by(study)
    assert "learning_rate" not in str(found["of"]), "it moves no cost"
    assert len(measured) == len(set(measured)) == len(told)
    assert len(found["points"]) > len(measured)
    assert told[11].startswith(f"scaling: 12 of {len(told)}: lora, own encoder, ")
    assert told[11].endswith("2.00 s, 50.0 ms a step")
    [note] = {p["note"] for p in found["points"] if p["value"] == 354.0}
    assert note.startswith("no module matches...")
    assert len(note) == 120
    assert told[-1].endswith(note)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_a_sweep_on_a_gpu_is_forked_and_captured(
    study: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [replace(SMALL, rows=64), replace(SMALL, rows=64, batch_size=8)]
    two = [Point(axis="batch_size", value=size.batch_size, size=size) for size in sizes]
    monkeypatch.setattr(sweeping, "points", lambda encoders, on_gpu: two)
    changes = {"device": "cuda", "precision": "auto", "allow_busy_gpu": True}
    train = study.train.model_copy(update=changes)
    packed = Method.model_validate({**study.methods["lora"].model_dump(), "quantize": "nf4"})
    methods = {**study.methods, "qlora": packed}
    told: list[str] = []
    given = study.model_copy(update={"train": train, "methods": methods})
    found = sweeping.sweep(given, tell=told.append)
    assert [line for line in told if "starts anew" in line] == []
    assert len(found["points"]) == 2 * len(methods)
    assert found["memory"].startswith("gpu_")
    for point in found["points"]:
        assert point["note"] == ""
        steps = 64 // point["value"]
        assert point["captured"] == round((steps - 1) / steps, 4)
        assert 0 < point["held_mib"] < point["memory_mib"]
        assert point["predicted_mib"] == pytest.approx(point["memory_mib"], abs=0.2)
