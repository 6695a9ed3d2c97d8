"""Clock, memory and energy; NVML is played by a module of that name in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from fairtune.core.params import Train
from fairtune.hardware import device
from fairtune.hardware.baseline import Baseline, baseline
from fairtune.hardware.memory import host_peak_mib
from fairtune.hardware.meter import Meter
from fairtune.hardware.sampler import Sampler, Samples
from fairtune.hardware.steps import WARM_UP_STEPS
from fairtune.models import footprint

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
    if Memory.used < 0: raise NVMLError("Not Supported")
    return Memory
def nvmlDeviceGetTotalEnergyConsumption(gpu): return 5000
"""


def cpu_meter() -> Meter:
    chosen = device.choose(Train(epochs=1, batch_size=1, device="cpu"))
    return Meter(device=chosen, base=Baseline())


def play(folder: Path, *, device: int = 900, processes: str = "[]", drawing: str = "[]") -> None:
    """Write an NVML that tells these processes and this much memory in use, in MiB."""
    folder.mkdir(exist_ok=True)
    text = PLAYED.format(device=device, processes=processes, drawing=drawing)
    (folder / "pynvml.py").write_text(text)


def sampled(
    folder: Path, *, processes: str, device: int = 900, interrupted: bool = False
) -> Samples:
    """Run the sampler against a played NVML and return what it found."""
    play(folder, device=device, processes=processes)
    path = f"{folder}{os.pathsep}{ROOT}"
    with subprocess.Popen(
        [sys.executable, "-m", "fairtune.hardware.sampler", "4242"],
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
        time.sleep(0.4)
        process.stdin.write("pause\n")
        process.stdin.flush()
        if interrupted:
            process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        printed, _ = process.communicate(timeout=10)
    return Samples(**json.loads(printed))


def test_what_runs_in_a_pause_is_on_no_clock() -> None:
    meter = cpu_meter()
    meter.start()
    time.sleep(0.05)
    with meter.paused():
        time.sleep(0.3)
    meter.stop()
    assert 0.05 <= meter.seconds < 0.25
    assert meter.paused_seconds >= 0.3


def test_what_readies_the_loop_is_on_a_clock_of_its_own_also_where_it_fails() -> None:
    meter = cpu_meter()

    def fail() -> None:
        with meter.preparing():
            time.sleep(0.3)
            raise RuntimeError

    meter.start()
    time.sleep(0.05)
    with pytest.raises(RuntimeError):
        fail()
    time.sleep(0.05)
    meter.stop()
    assert 0.1 <= meter.seconds < 0.25
    assert meter.preparing_seconds >= 0.3
    assert meter.paused_seconds == 0.0


def test_steps_are_timed_after_warm_up_and_not_across_a_pause() -> None:
    meter = cpu_meter()
    meter.start()
    for aside in (meter.paused, meter.preparing, nullcontext):
        for _ in range(WARM_UP_STEPS + 5):
            time.sleep(0.002)
            meter.mark_step()
        with aside():
            time.sleep(0.2)
    meter.stop()
    median, p90 = meter.step_summary()
    assert median is not None
    assert p90 is not None
    assert 2.0 <= median <= p90 < 100.0
    assert max(meter.steps.milliseconds()) < 150.0


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
    assert found.interval_ms <= 10
    # 0.4 s at 5 ms; the pause of 0.2 s is not in it.
    assert 20 <= found.count <= 85


def test_a_process_that_the_driver_does_not_list_is_null_with_the_reason(tmp_path: Path) -> None:
    found = sampled(tmp_path, processes="[(7, 9 * 2**20)]")
    assert found.process_mib is None
    assert "no process with this number" in str(found.reason)


def test_memory_that_the_driver_does_not_tell_is_null_with_the_reason(tmp_path: Path) -> None:
    found = sampled(tmp_path, processes="[(4242, None)]")
    assert found.process_mib is None
    assert found.reason == "the driver does not tell memory by process"


def test_ctrl_c_ends_the_training_and_not_its_sampler(tmp_path: Path) -> None:
    found = sampled(tmp_path, processes="[(4242, 2**20)]", interrupted=True)
    assert found.process_mib == 1


def test_a_gpu_without_a_counter_of_its_memory_is_null(tmp_path: Path) -> None:
    found = sampled(tmp_path, processes="[(4242, 2**20)]", device=-1)
    assert (found.process_mib, found.device_mib) == (1, None)
    assert found.count > 20


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


def test_a_baseline_that_nobody_wants_looks_at_no_gpu() -> None:
    assert baseline(allow_busy=False, wanted=False).busy is None


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from benchmarks.shapes import write_roberta

    return write_roberta(tmp_path_factory.mktemp("roberta"))


@pytest.mark.parametrize(
    ("block", "fp32", "bf16"),
    [
        ({}, 1902, 1902),
        ({"adapter": "lora", "targets": ["query", "value"], "r": 8}, 489, 326),
        (
            {"adapter": "ia3", "targets": ["key", "value", "feedforward_out"],
             "feedforward": ["feedforward_out"]},
            485, 322,
        ),
        ({"quantize": "nf4", "adapter": "lora", "targets": ["query", "value"], "r": 8}, 207, 209),
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
