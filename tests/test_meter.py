"""Clock, steps, memory and energy; NVML is played by a module of that name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from fairtune.core.params import Train
from fairtune.core.units import MIB
from fairtune.hardware import device
from fairtune.hardware.baseline import Baseline, baseline
from fairtune.hardware.clock import Stopwatch
from fairtune.hardware.company import STEADY, Company
from fairtune.hardware.energy import EnergyCounter
from fairtune.hardware.memory import ALLOCATOR, SAMPLED, MemoryPeaks, host_peak_mib
from fairtune.hardware.meter import Meter
from fairtune.hardware.sampler import Sampler, Samples
from fairtune.hardware.steps import WARM_UP_STEPS, Steps
from fairtune.models import footprint
from fairtune.runs.breakdown import Breakdown
from fairtune.training.recording import device_of_run

ROOT = Path(__file__).parent.parent
PLAYED = """
import os
class NVMLError(Exception): pass
class Process:
    def __init__(self, pid, used): self.pid, self.usedGpuMemory = pid, used
class Memory: used = {device} * 2**20
def nvmlInit(): pass
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetComputeRunningProcesses(gpu): return [Process(*one) for one in {processes}]
def nvmlDeviceGetGraphicsRunningProcesses(gpu): return [Process(*one) for one in {drawing}]
def nvmlDeviceGetMemoryInfo(gpu):
    with open(os.path.join(os.path.dirname(__file__), "asked"), "a") as file: file.write(".")
    if Memory.used < 0: raise NVMLError("Not Supported")
    return Memory
def nvmlDeviceGetTotalEnergyConsumption(gpu): return 5000
"""


FEWEST = 3
"""Samples to wait for: two gaps, of which the interval is the median."""


@pytest.fixture
def let_pass(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Play the clock, which starts at 1000 s; return what lets so many seconds pass."""
    now = [1000.0]

    def let(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "sleep", let)
    return let


def cpu_meter() -> Meter:
    chosen = device.choose(Train(epochs=1, batch_size=1, device="cpu"))
    return Meter(device=chosen, base=Baseline())


def play(folder: Path, *, device: int = 900, processes: str = "[]", drawing: str = "[]") -> None:
    """Write an NVML that tells these processes and this much memory in use, in MiB."""
    folder.mkdir(exist_ok=True)
    text = PLAYED.format(device=device, processes=processes, drawing=drawing)
    (folder / "pynvml.py").write_text(text)


def samples_taken(folder: Path) -> int:
    """Return how often the played NVML was asked for the memory of the device."""
    asked = folder / "asked"
    return asked.stat().st_size if asked.exists() else 0


def await_samples(folder: Path, fewest: int = FEWEST) -> None:
    """Wait until a few samples are taken."""
    for _ in range(6000):
        if samples_taken(folder) >= fewest:
            return
        time.sleep(0.01)
    raise AssertionError("no samples")


def sampled(
    folder: Path,
    *,
    processes: str,
    device: int = 900,
    drawing: str = "[]",
    before: Sequence[str] = (),
    fewest: int = FEWEST,
    interrupted: bool = False,
) -> Samples:
    """Run the sampler against a played NVML and return what it found."""
    play(folder, device=device, processes=processes, drawing=drawing)
    path = f"{folder}{os.pathsep}{ROOT}"
    with subprocess.Popen(
        [sys.executable, "-m", "fairtune.hardware.sampler", "4242", *before],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("run\n")
        process.stdin.flush()
        await_samples(folder, fewest)
        process.stdin.write("pause\n")
        process.stdin.flush()
        if interrupted:
            process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        before = samples_taken(folder)
        time.sleep(0.2)
        assert samples_taken(folder) == before, "sampled in a pause"
        printed, _ = process.communicate(timeout=10)
    return Samples(**json.loads(printed))


def test_a_stopwatch_adds_up_what_passes_while_it_runs(let_pass: Callable) -> None:
    watch = Stopwatch()
    for seconds in (0.5, 2.0):
        let_pass(8)
        watch.start()
        let_pass(seconds)
        watch.stop()
    assert watch.seconds == 2.5


def test_what_runs_in_a_pause_is_on_no_clock(let_pass: Callable) -> None:
    meter = cpu_meter()
    meter.start()
    let_pass(1)
    with meter.paused():
        let_pass(8)
    let_pass(0.5)
    meter.stop()
    let_pass(64)
    assert (meter.seconds, meter.paused_seconds, meter.preparing_seconds) == (1.5, 8, 0)


def test_what_readies_the_loop_is_on_a_clock_of_its_own_also_where_it_fails(
    let_pass: Callable,
) -> None:
    meter = cpu_meter()

    def fail() -> None:
        with meter.preparing():
            let_pass(8)
            raise RuntimeError

    meter.start()
    let_pass(1)
    with pytest.raises(RuntimeError):
        fail()
    let_pass(0.5)
    meter.stop()
    assert (meter.seconds, meter.paused_seconds, meter.preparing_seconds) == (1.5, 0, 8)


def test_steps_are_not_timed_across_a_pause(let_pass: Callable) -> None:
    meter = cpu_meter()
    meter.start()
    for aside in (meter.paused, meter.preparing, nullcontext):
        for _ in range(WARM_UP_STEPS + 5):
            let_pass(0.25)
            meter.mark_step()
        with aside():
            let_pass(8)
    meter.stop()
    assert meter.steps.milliseconds() == 3 * (WARM_UP_STEPS + 4) * [250.0]
    assert meter.step_summary() == (250.0, 250.0)


def test_the_summary_of_the_steps_leaves_the_warm_up_out(let_pass: Callable) -> None:
    steps = Steps(on_gpu=False)
    steps.begin()
    steps.mark()
    for _ in range(WARM_UP_STEPS):
        let_pass(8)
        steps.mark()
    assert steps.summary() == (None, None)
    for seconds in (0.25, 0.5, 0.25):
        let_pass(seconds)
        steps.mark()
    assert steps.summary() == (250.0, 450.0)


def test_without_a_gpu_its_counters_are_null_with_the_reason() -> None:
    meter = cpu_meter()
    meter.start()
    meter.stop()
    memory = meter.memory()
    assert memory.gpu_memory_mib is None
    assert memory.gpu_allocated_mib is None
    assert set(memory.unavailable.values()) == {"no NVIDIA GPU"}
    assert memory.host_memory_mib > 50
    assert meter.energy().total_wh is None
    assert meter.energy().unavailable == "no NVIDIA GPU"


@pytest.mark.parametrize(
    ("peaks", "missing", "reason"),
    [
        (MemoryPeaks(on_gpu=False, base=Baseline()), (*SAMPLED, *ALLOCATOR), "no NVIDIA GPU"),
        (MemoryPeaks(on_gpu=True, base=Baseline()), SAMPLED, "NVML is not there"),
        (
            MemoryPeaks(on_gpu=True, base=Baseline(gpu=0), sample=False),
            SAMPLED,
            "sampling was switched off",
        ),
    ],
)
def test_memory_that_nobody_counts_is_null_with_the_reason(
    peaks: MemoryPeaks, missing: tuple[str, ...], reason: str
) -> None:
    peaks.prepare()
    peaks.close()
    found = peaks.figures()
    assert found.unavailable == dict.fromkeys(missing, reason)
    assert {getattr(found, name) for name in missing} == {None}
    assert (found.samples, found.sample_interval_ms) == (0, None)


def test_what_the_device_holds_is_told_over_what_it_held_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(tmp_path, device=900, processes=f"[({os.getpid()}, 650 * 2**20)]")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    # A torch built for processors alone has no such counter.
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    peaks = MemoryPeaks(on_gpu=True, base=Baseline(gpu=0, device_mib=200.0))
    peaks.prepare()
    peaks.run()
    await_samples(tmp_path)
    peaks.pause()
    peaks.close()
    found = peaks.figures()
    assert (found.gpu_memory_mib, found.gpu_device_delta_mib) == (650, 700)
    assert found.samples == samples_taken(tmp_path)
    assert found.unavailable == {}


def test_a_sampler_that_has_died_is_the_reason_for_what_it_did_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    peaks = MemoryPeaks(on_gpu=True, base=Baseline(gpu=0, device_mib=200.0))
    peaks.prepare()
    peaks.close()
    reason = "the sampling process failed: JSONDecodeError"
    assert peaks.figures().unavailable == dict.fromkeys(SAMPLED, reason)


def play_energy(monkeypatch: pytest.MonkeyPatch, read: Callable[[Any], int]) -> None:
    """Play NVML's counter of energy, in millijoules."""
    played = ModuleType("pynvml")
    played.NVMLError = RuntimeError
    played.nvmlDeviceGetTotalEnergyConsumption = read
    monkeypatch.setitem(sys.modules, "pynvml", played)


def test_energy_is_counted_between_start_and_stop_and_idle_power_taken_off(
    monkeypatch: pytest.MonkeyPatch, let_pass: Callable
) -> None:
    joules = [5]
    play_energy(monkeypatch, lambda gpu: 1000 * joules[0])
    counter = EnergyCounter(on_gpu=True, base=Baseline(gpu=0, joules=5.0, at=1000.0))
    let_pass(10)
    joules[0] += 100
    counter.take_idle_power()
    for drawn in (3600, 7200):
        joules[0] += 10_000
        counter.start()
        joules[0] += drawn
        counter.stop()
    found = counter.figures(seconds=360)
    assert (found.total_wh, found.idle_watts, found.net_wh) == (3.0, 10.0, 2.0)
    assert found.unavailable is None


def test_a_process_that_is_ready_at_once_waits_for_the_idle_power(
    monkeypatch: pytest.MonkeyPatch, let_pass: Callable
) -> None:
    # 75 W: the counter runs on with the clock.
    play_energy(monkeypatch, lambda gpu: 75_000 * (time.perf_counter() - 1000.0))
    counter = EnergyCounter(on_gpu=True, base=Baseline(gpu=0, joules=0.0, at=1000.0))
    let_pass(0.25)
    counter.take_idle_power()
    assert time.perf_counter() == 1001.0
    counter.start()
    let_pass(7200)
    counter.stop()
    found = counter.figures(seconds=3600)
    assert (found.total_wh, found.idle_watts, found.net_wh) == (150.0, 75.0, 75.0)


def test_without_idle_power_energy_is_told_and_the_net_is_null(
    monkeypatch: pytest.MonkeyPatch, let_pass: Callable
) -> None:
    play_energy(monkeypatch, lambda gpu: 5000)
    counter = EnergyCounter(on_gpu=True, base=Baseline(gpu=0, joules=None, at=1000.0))
    counter.take_idle_power()
    assert time.perf_counter() == 1000.0
    counter.start()
    counter.stop()
    found = counter.figures(seconds=1)
    assert (found.total_wh, found.idle_watts, found.net_wh) == (0.0, None, None)


@pytest.mark.parametrize(
    ("on_gpu", "gpu", "reason"),
    [
        (False, None, "no NVIDIA GPU"),
        (True, None, "NVML is not there"),
        (True, 0, "this GPU has no energy counter"),
    ],
)
def test_energy_that_nobody_counts_is_null_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, on_gpu: bool, gpu: int | None, reason: str
) -> None:
    def not_supported(gpu: Any) -> int:
        raise RuntimeError

    play_energy(monkeypatch, not_supported)
    counter = EnergyCounter(on_gpu=on_gpu, base=Baseline(gpu=gpu))
    counter.take_idle_power()
    counter.start()
    counter.stop()
    found = counter.figures(seconds=1)
    assert (found.total_wh, found.idle_watts, found.net_wh) == (None, None, None)
    assert found.unavailable == reason


def test_host_memory_is_that_of_this_process_and_not_of_its_parent() -> None:
    ballast = bytearray(300 * 2**20)
    light = (
        "from pathlib import Path; print([int(l.split()[1]) / 1024 for l in "
        "Path('/proc/self/status').read_text().splitlines() if l.startswith('VmHWM')][0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", light], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert float(done.stdout) < 100
    assert host_peak_mib() > len(ballast) / 2**20


def test_the_sampler_finds_this_process_among_others(tmp_path: Path) -> None:
    found = sampled(tmp_path, processes="[(4242, 700 * 2**20), (7, 9 * 2**20)]")
    assert found.process_mib == 700
    assert found.device_mib == 900
    assert found.reason is None
    assert found.interval_ms is not None
    assert found.interval_ms > 0
    assert found.count == samples_taken(tmp_path) >= FEWEST


def test_a_process_that_the_driver_does_not_list_is_null_with_the_reason(tmp_path: Path) -> None:
    found = sampled(tmp_path, processes="[(7, 9 * 2**20)]")
    assert found.process_mib is None
    assert "no process with this number" in str(found.reason)


def test_memory_that_the_driver_does_not_tell_is_null_with_the_reason(tmp_path: Path) -> None:
    found = sampled(tmp_path, processes="[(4242, None)]")
    assert found.process_mib is None
    assert found.reason == "the driver does not tell memory by process"


ALONE = "[(4242, 700 * 2**20)]"


@pytest.mark.parametrize(
    ("processes", "seen"),
    [
        (ALONE, None),
        (
            "[(4242, 700 * 2**20), (7, 9 * 2**20), (9, 2**20)]",
            "processes [7, 9] held 10 MiB of the GPU during training",
        ),
        ("[(4242, None), (7, None)]", "processes [7] held a part of the GPU during training"),
        # The numbers of another namespace: the one process is the training.
        ("[(90001, 700 * 2**20)]", None),
        (
            "[(90001, 700 * 2**20), (90002, 5 * 2**20)]",
            "2 processes were on the GPU during training, one of them the training's own",
        ),
        # None that a container may see.
        ("[]", None),
    ],
)
def test_who_computes_on_the_gpu_during_a_training_is_noticed(
    tmp_path: Path, processes: str, seen: str | None
) -> None:
    assert sampled(tmp_path, processes=processes).others == seen


def test_a_desktop_beside_a_training_is_nobody_who_computes(tmp_path: Path) -> None:
    found = sampled(tmp_path, processes=ALONE, drawing="[(7, 30 * 2**20)]")
    assert (found.others, found.process_mib) == (None, 700)


@pytest.mark.parametrize("processes", [ALONE, "[(90001, 700 * 2**20)]"])
def test_memory_of_a_process_that_the_driver_does_not_list_is_noticed(
    tmp_path: Path, processes: str
) -> None:
    enough = 2 * STEADY
    knobs: dict[str, Any] = {"processes": processes, "before": ["200"], "fewest": enough}
    assert sampled(tmp_path / "quiet", device=910, **knobs).others is None
    assert sampled(tmp_path / "full", device=3900, **knobs).others == (
        "a process that the driver does not list held 3000 MiB of the GPU during training"
    )


def test_memory_given_back_between_two_counters_is_nobody_s() -> None:
    company = Company(pid=1, before_mib=0.0)
    for _ in range(STEADY):
        for used in (*[5000.0] * (STEADY - 1), 700.0):
            company.look({1: 700.0}, used)
    assert company.seen() is None
    for _ in range(STEADY):
        company.look({1: 700.0}, 5000.0)
    assert "held 4300 MiB" in str(company.seen())


def test_who_came_and_went_is_remembered_with_the_most_that_was_held() -> None:
    company = Company(pid=1, before_mib=None)
    for beside in ({}, {7: 500.0}, {7: 800.0}, {7: 10.0}, {9: 1.0}, {}):
        company.look({1: 700.0, **beside}, 2000.0)
    assert company.seen() == "processes [7, 9] held 801 MiB of the GPU during training"


def test_who_comes_during_a_training_stands_in_its_record_beside_who_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(tmp_path, processes=f"[({os.getpid()}, 650 * 2**20), (7, 2**30)]")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    for function in ("reset_peak_memory_stats", "empty_cache"):
        monkeypatch.setattr(torch.cuda, function, lambda: None)
    for before, told in ((None, ""), ("processes [5] held 1 MiB of the GPU at the start", "; ")):
        meter = cpu_meter()
        meter.base = Baseline(gpu=0, device_mib=200.0, busy=before)
        assert device_of_run(meter).busy == before
        meter.memory_peaks = MemoryPeaks(on_gpu=True, base=meter.base)
        meter.memory_peaks.prepare()
        meter.memory_peaks.run()
        await_samples(tmp_path)
        meter.close()
        during = "processes [7] held 1024 MiB of the GPU during training"
        assert device_of_run(meter).busy == f"{before or ''}{told}{during}"
        (tmp_path / "asked").unlink()


def test_ctrl_c_ends_the_training_and_not_its_sampler(tmp_path: Path) -> None:
    found = sampled(tmp_path, processes="[(4242, 2**20)]", interrupted=True)
    assert found.process_mib == 1


def test_a_gpu_without_a_counter_of_its_memory_is_null(tmp_path: Path) -> None:
    found = sampled(tmp_path, processes="[(4242, 2**20)]", device=-1)
    assert (found.process_mib, found.device_mib) == (1, None)
    assert found.count >= FEWEST


def test_a_sampler_that_has_died_loses_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    sampler = Sampler()
    sampler.process.wait(timeout=10)
    sampler.run()
    sampler.pause()
    found = sampler.stop()
    assert found.process_mib is None
    assert found.reason == "the sampling process failed: JSONDecodeError"


def busy_probe(
    folder: Path,
    *,
    allow: bool = False,
    device: int = 5000,
    processes: str = "[(7, 2**32)]",
    drawing: str = "[]",
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    play(folder, device=device, processes=processes, drawing=drawing)
    code = (
        "from fairtune.core import errors; from fairtune.hardware import baseline; "
        f"errors.run(lambda: print(baseline.baseline(allow_busy={allow}).busy))"
    )
    env = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )


def test_a_gpu_that_is_taken_is_refused_in_one_line(tmp_path: Path) -> None:
    done = busy_probe(tmp_path, allow=False)
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert "the GPU is taken: processes [7] held 5000 MiB" in line
    assert "train.allow_busy_gpu" in line
    assert "Traceback" not in done.stderr


def test_a_gpu_that_is_taken_may_be_used_and_the_record_says_so(tmp_path: Path) -> None:
    done = busy_probe(tmp_path, allow=True)
    assert done.returncode == 0
    assert "processes [7] held 5000 MiB" in done.stdout


def test_a_desktop_on_the_gpu_is_not_in_the_way_until_it_fills_it(tmp_path: Path) -> None:
    desktop = {"processes": "[]", "drawing": "[(7, 30 * 2**20)]"}
    done = busy_probe(tmp_path, device=300, **desktop)
    assert (done.returncode, done.stdout) == (0, "None\n")
    done = busy_probe(tmp_path, device=3000, **desktop)
    assert "the GPU is taken" in done.stderr


def test_a_small_process_that_computes_is_in_the_way(tmp_path: Path) -> None:
    assert busy_probe(tmp_path, device=300).returncode == 1


@pytest.mark.parametrize("visible", ["", "-1"])
def test_a_gpu_that_is_hidden_from_the_process_is_nobody_s_business(
    tmp_path: Path, visible: str
) -> None:
    done = busy_probe(tmp_path, CUDA_VISIBLE_DEVICES=visible)
    assert (done.returncode, done.stdout) == (0, "None\n")


def test_a_gpu_that_does_not_tell_its_memory_is_no_mistake(tmp_path: Path) -> None:
    done = busy_probe(tmp_path, device=-1, processes="[]")
    assert (done.returncode, done.stdout) == (0, "None\n")


def test_without_nvml_there_is_no_gpu_and_no_error() -> None:
    assert baseline(allow_busy=False).gpu is None


def test_the_gpu_is_looked_at_without_torch() -> None:
    code = (
        "import sys; from fairtune.hardware.baseline import baseline; "
        "baseline(allow_busy=True); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_a_baseline_that_nobody_wants_looks_at_no_gpu() -> None:
    assert baseline(allow_busy=False, wanted=False).busy is None


def test_adamw_s_moments_are_twice_the_gradients() -> None:
    found = Breakdown.of_bytes(weights=10 * MIB, gradients=3 * MIB)
    assert (found.weights_mib, found.gradients_mib, found.optimizer_mib) == (10, 3, 2 * 3)
    assert found.total_mib == 19


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from benchmarks.shapes import write_roberta

    return write_roberta(tmp_path_factory.mktemp("roberta"))


@pytest.mark.parametrize(
    ("block", "fp32", "bf16"),
    [
        ({}, 1902, 1902),
        ({"adapter": "lora", "targets": ["query", "value"], "r": 8}, 489, 251.5),
        (
            {"adapter": "ia3", "targets": ["key", "value", "feedforward_out"],
             "feedforward": ["feedforward_out"]},
            485, 247.5,
        ),
        ({"quantize": "nf4", "adapter": "lora", "targets": ["query", "value"], "r": 8}, 207, 134.5),
    ],
)  # fmt: skip
def test_the_predicted_memory_of_roberta_base_is_what_was_worked_out(
    roberta: Path, block: dict, fp32: float, bf16: float
) -> None:
    from fairtune.acceleration.prepare import prepare
    from fairtune.core.method import Method
    from fairtune.core.params import Model
    from fairtune.models.build import build

    chosen = device.choose(Train(epochs=1, batch_size=1, device="cpu", precision="bf16"))
    method = Method(learning_rate=1e-4, **block)
    model = build(Model(name=str(roberta)), method, name="m", labels=2, device=chosen, seed=1).model
    assert footprint.predict(model).total_mib == pytest.approx(fp32, abs=1)
    prepare(model, chosen)
    assert footprint.predict(model).total_mib == pytest.approx(bf16, abs=1)
