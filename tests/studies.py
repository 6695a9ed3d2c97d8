"""Constructed studies for tests: runs with realistic numbers, made in milliseconds, no training.

    runs = make_runs()                                   # four methods, one seed, one GPU
    runs = make_runs(seeds=(1, 2, 3), gpu=False)         # three seeds on a CPU
    runs = with_company(make_runs(seeds=(1, 2)), {"lora": [2]})
    runs = make_runs(methods=("full", "dora"), accuracy={"dora": 0.9}, classes=4, rows=2000)
    runs = with_labels(make_runs(classes=3), ["a", "b", "c"])
    runs = make_runs(groups=50)                          # test rows of 50 films, authors, patients
    write_runs(tmp_path, runs)                           # runs/<method>/<seed>/ as `record` does
    make_tables(runs)                                    # plots/*.json as `compare` writes them

Counts, memory and times are RoBERTa-base's. A name without a profile gets LoRA's numbers. All is a
function of the arguments alone. Methods are paired as real ones are: rows have a difficulty that
all methods and seeds share, so that they agree on most rows.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairtune.analysis.sample import sample_of_runs
from fairtune.analysis.verdicts import compare_all
from fairtune.charts.gallery import Tables, tables
from fairtune.charts.records import Compared
from fairtune.core.paths import run_folder
from fairtune.runs.breakdown import Breakdown
from fairtune.runs.predictions import Predictions
from fairtune.runs.record import (
    Accuracy,
    Audit,
    Counts,
    Device,
    Energy,
    Execution,
    Inference,
    Memory,
    Rows,
    Run,
    RunRecord,
    Times,
)
from fairtune.runs.store import write_run

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
METHODS = ("full", "lora", "qlora", "ia3")
ENCODER, HEAD = 124_055_040, 592_130
NO_GPU = "no CUDA device"
COMPANY = "processes [4711] held 3000 MiB of the GPU during training"
TRAIN_ROWS, EPOCHS, BATCH = 3000, 3, 16
STEPS = EPOCHS * -(-TRAIN_ROWS // BATCH)
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What is typical of one method: RoBERTa-base, 3,000 reviews."""

    accuracy: float
    gpu_seconds: float
    cpu_seconds: float
    allocated_mib: float
    host_mib: float
    adapter: int | None
    """Parameters of the adapter; None trains the whole model."""
    block: dict[str, Any]
    """The method's block in params.yaml."""


LORA_BLOCK = {"learning_rate": 3e-4, "adapter": "lora", "targets": ["query", "value"], "r": 8}
IA3_BLOCK = {"learning_rate": 1e-2, "adapter": "ia3", "targets": ["key", "value"]}
PROFILES = {
    "full": Profile(
        accuracy=0.936, gpu_seconds=18.9, cpu_seconds=4125.0, allocated_mib=4970.2,
        host_mib=5210.4, adapter=None, block={"learning_rate": 2e-5},
    ),
    "lora": Profile(
        accuracy=0.932, gpu_seconds=14.2, cpu_seconds=3020.0, allocated_mib=3160.4,
        host_mib=3322.9, adapter=294_912, block=LORA_BLOCK,
    ),
    "qlora": Profile(
        accuracy=0.930, gpu_seconds=21.6, cpu_seconds=3890.0, allocated_mib=3337.1,
        host_mib=3105.2, adapter=294_912, block={**LORA_BLOCK, "quantize": "nf4"},
    ),
    "ia3": Profile(
        accuracy=0.916, gpu_seconds=17.5, cpu_seconds=3415.0, allocated_mib=4847.3,
        host_mib=3871.6, adapter=64_512, block=IA3_BLOCK,
    ),
}  # fmt: skip


def make_runs(
    *,
    methods: Sequence[str] = METHODS,
    seeds: Sequence[int] = (42,),
    rows: int = 400,
    classes: int = 2,
    accuracy: Mapping[str, float] | None = None,
    gpu: bool = True,
    agreement: float = 0.9,
    seed_spread: float = 0.004,
    groups: int | None = None,
) -> dict[str, list[Run]]:
    """Return a study: method -> one run for each seed, in the order given, as `read_runs` does.

    Args:
        methods: names; those without a profile get LoRA's numbers.
        seeds: one run each. The number of right rows differs between seeds, their mean does not.
        rows: test rows.
        classes: classes; the head's parameters stay those of two.
        accuracy: test accuracy by method, met to within half a row; others keep their profile's.
        gpu: whether a GPU was measured. Without one every GPU counter is None, with the reason.
        agreement: share of what decides a row that all methods and seeds have in common, 0 to 1.
        seed_spread: largest distance of one seed's accuracy from the mean.
        groups: rows fall into so many groups, in turn; None: they are drawn one by one.
    """
    wanted = accuracy or {}
    offsets = np.linspace(-seed_spread, seed_spread, len(seeds)) if len(seeds) > 1 else [0.0]
    runs = {}
    for method in methods:
        profile = PROFILES.get(method, PROFILES["lora"])
        mean = wanted.get(method, profile.accuracy)
        runs[method] = [
            _run(method, seed, profile, classes=classes, gpu=gpu, predictions=_predictions(
                method, seed, accuracy=float(np.clip(mean + offset, 0, 1)), rows=rows,
                classes=classes, agreement=agreement, groups=groups,
            ))
            for seed, offset in zip(seeds, offsets, strict=True)
        ]  # fmt: skip
    return runs


def with_company(
    runs: Mapping[str, Sequence[Run]], shared: Mapping[str, Sequence[int]]
) -> dict[str, list[Run]]:
    """Return the study where others used the GPU during some runs, which made these slow and large.

    Args:
        runs: method -> one run a seed.
        shared: method -> the seeds of these runs.
    """
    return {
        method: [
            _in_company(run) if run.record.seed in shared.get(method, ()) else run
            for run in of_method
        ]
        for method, of_method in runs.items()
    }


def _in_company(run: Run) -> Run:
    """Return the run as it is with others on the GPU: everything of it costs 100 times as much."""
    record = run.record
    changed: dict[str, Any] = {
        "device": record.device.model_copy(update={"busy": COMPANY}),
        "memory": _hundredfold(record.memory),
        "times": _hundredfold(record.times),
        "energy": _hundredfold(record.energy),
        "inference": _hundredfold(record.inference),
    }
    return replace(run, record=record.model_copy(update=changed))


def _hundredfold(part: Any) -> Any:
    return part.model_copy(
        update={key: 100 * value for key, value in part if isinstance(value, float)}
    )


def with_labels(runs: Mapping[str, Sequence[Run]], labels: Sequence[str]) -> dict[str, list[Run]]:
    """Return the study with other names of its classes, as many as it has."""
    return {
        method: [
            replace(run, record=run.record.model_copy(
                update={"data": run.record.data.model_copy(update={"labels": list(labels)})}
            ))
            for run in of_method
        ]
        for method, of_method in runs.items()
    }  # fmt: skip


def write_runs(root: Path, runs: Mapping[str, Sequence[Run]]) -> None:
    """Write every run under ``root`` where the pipeline looks for it: runs/<method>/<seed>/."""
    for method, of_method in runs.items():
        for run in of_method:
            folder = root / run_folder(method, run.record.seed)
            write_run(folder, run.record, run.history, run.predictions)


def make_tables(runs: dict[str, list[Run]]) -> Tables:
    """Return the records of every chart by its name."""
    verdicts = compare_all(sample_of_runs(runs), margin=0.01, resamples=1000)
    return tables(Compared(runs=runs, verdicts=verdicts, palette=PALETTE, margin=0.01))


def _generator(*parts: str | int) -> np.random.Generator:
    """Return a generator that depends on the words alone (`hash` differs between processes)."""
    return np.random.default_rng(zlib.crc32(" ".join(map(str, parts)).encode()))


def _predictions(
    method: str,
    seed: int,
    *,
    accuracy: float,
    rows: int,
    classes: int,
    agreement: float,
    groups: int | None,
) -> Predictions:
    """Return predictions whose easiest rows are right: exactly round(accuracy * rows) of them."""
    shared, own = _generator("rows", rows, classes), _generator(method, seed)
    labels = np.arange(rows, dtype=np.int64) % classes
    wrong_class = (labels + shared.integers(1, max(classes, 2), size=rows)) % classes
    ease = np.sqrt(agreement) * shared.standard_normal(rows)
    ease += np.sqrt(1 - agreement) * own.standard_normal(rows)
    rank = ease.argsort().argsort()
    right = rank >= rows - round(accuracy * rows)
    predicted = np.where(right, labels, wrong_class)
    return Predictions(
        row_ids=[f"test-{row:05d}" for row in range(rows)],
        labels=labels,
        probabilities=_probabilities(
            predicted, ease=ease + 1.3 * own.standard_normal(rows), classes=classes
        ),
        tokens=10 + np.arange(rows, dtype=np.int64) % 400,
        groups=groups and [f"group-{row % groups:04d}" for row in range(rows)],
    )


def _probabilities(
    predicted: NDArray[np.int64], *, ease: NDArray[np.float64], classes: int
) -> NDArray[np.float32]:
    """Return softmax-like rows: the predicted class gets more than half, the more the easier."""
    confidence = 0.51 + 0.485 / (1 + np.exp(-1.5 * ease - 2.5))
    rest = (1 - confidence) / max(classes - 1, 1)
    probabilities = np.repeat(rest[:, None], classes, axis=1)
    probabilities[np.arange(len(predicted)), predicted] = confidence if classes > 1 else 1.0
    return probabilities.astype(np.float32)


def _run(
    method: str, seed: int, profile: Profile, *, classes: int, gpu: bool, predictions: Predictions
) -> Run:
    noise = _generator("time", method, seed)
    seconds = (profile.gpu_seconds if gpu else profile.cpu_seconds) * noise.uniform(0.98, 1.02)
    counts = _counts(profile)
    accuracy = float(predictions.correct.mean())
    record = RunRecord(
        method=method,
        seed=seed,
        parameters={
            "model": {"name": "FacebookAI/roberta-base"},
            "encode": {"max_length": 512},
            "train": {"epochs": EPOCHS, "batch_size": BATCH},
            # A test that alters one study must not alter the next.
            "method": copy.deepcopy(profile.block),
        },
        data=_rows(classes, len(predictions.row_ids), seed),
        device=_device(gpu),
        versions={"python": "3.11.9", "torch": "2.13.0", "transformers": "5.17.0"},
        counts=counts,
        times=_times(round(seconds, 3), gpu=gpu),
        memory=_memory(profile, gpu=gpu, jitter=float(noise.uniform(-20, 20))),
        predicted=_predicted(counts, quantized="quantize" in profile.block),
        energy=_energy(seconds, gpu=gpu),
        inference=_inference(gpu=gpu, mergeable=profile.adapter is not None),
        audit=_audit(profile),
        execution=_execution(gpu=gpu),
        accuracy=Accuracy(
            test=accuracy,
            validation=round(accuracy - 0.002, 4),
            validation_by_epoch=[round(accuracy + d, 4) for d in (-0.03, -0.008, -0.002)],
        ),
        shipped_mib=round(counts.trainable * 4 / MIB, 2),
        model_type="roberta",
        head_sha256=f"{zlib.crc32(f'head {seed}'.encode()):064x}",
    )
    return Run(record=record, history=_history(method, seed, classes), predictions=predictions)


def _history(method: str, seed: int, classes: int) -> list[dict[str, float]]:
    """Return a loss curve that falls from that of guessing, every ten steps."""
    noise = _generator("loss", method, seed)
    floor, speed = noise.uniform(0.1, 0.2), noise.uniform(60, 150)
    points = []
    for step in range(10, STEPS + 1, 10):
        loss = floor + (np.log(classes) - floor) * np.exp(-step / speed) + noise.normal(0, 0.012)
        points.append({
            "step": step, "epoch": round(step * EPOCHS / STEPS, 4), "loss": round(abs(loss), 4),
        })  # fmt: skip
    return points


def _counts(profile: Profile) -> Counts:
    adapter = profile.adapter or 0
    trainable = ENCODER + HEAD if profile.adapter is None else adapter + HEAD
    return Counts(total=ENCODER + HEAD + adapter, trainable=trainable, adapter=adapter, head=HEAD)


def _predicted(counts: Counts, *, quantized: bool) -> Breakdown:
    """Return fp32 weights, gradients and AdamW's two moments; NF4 holds 84.9 M in half a byte."""
    saved = 84_934_656 * 3.484 if quantized else 0.0
    return Breakdown(
        weights_mib=round((counts.total * 4 - saved) / MIB, 1),
        gradients_mib=round(counts.trainable * 4 / MIB, 1),
        optimizer_mib=round(counts.trainable * 8 / MIB, 1),
    )


def _memory(profile: Profile, *, gpu: bool, jitter: float) -> Memory:
    allocated = round(profile.allocated_mib + jitter, 1)
    counters = ("gpu_memory_mib", "gpu_device_delta_mib", "gpu_reserved_mib", "gpu_allocated_mib")
    return Memory(
        gpu_memory_mib=round(allocated + 1120.0, 1) if gpu else None,
        gpu_device_delta_mib=round(allocated + 1122.0, 1) if gpu else None,
        gpu_reserved_mib=round(allocated + 384.0, 1) if gpu else None,
        gpu_allocated_mib=allocated if gpu else None,
        host_memory_mib=round(profile.host_mib + jitter, 1),
        sample_interval_ms=10.2 if gpu else None,
        samples=1500 if gpu else 0,
        unavailable={} if gpu else dict.fromkeys(counters, NO_GPU),
    )


def _times(seconds: float, *, gpu: bool) -> Times:
    step = seconds * 1000 / STEPS
    return Times(
        import_seconds=6.1,
        load_seconds=1.9,
        warm_up_seconds=2.5 if gpu else None,
        train_seconds=seconds,
        validation_seconds=round(seconds * 0.1, 3),
        test_seconds=round(seconds * 0.15, 3),
        save_seconds=0.4,
        samples_per_second=round(EPOCHS * TRAIN_ROWS / seconds, 2),
        step_median_ms=round(step * 0.97, 3),
        step_p90_ms=round(step * 1.2, 3),
        seconds_to_95_percent=round(seconds / 3, 3),
        seconds_to_99_percent=round(seconds * 2 / 3, 3),
    )


def _energy(seconds: float, *, gpu: bool) -> Energy:
    if not gpu:
        return Energy(total_wh=None, idle_watts=None, net_wh=None, unavailable=NO_GPU)
    total, idle = seconds * 420 / 3600, 75.0
    return Energy(
        total_wh=round(total, 3), idle_watts=idle,
        net_wh=round(total - idle * seconds / 3600, 3), unavailable=None,
    )  # fmt: skip


def _inference(*, gpu: bool, mergeable: bool) -> Inference:
    latency, speed = (6.2, 2100.0) if gpu else (88.0, 14.5)
    return Inference(
        latency_ms=latency,
        samples_per_second=speed,
        merged_latency_ms=round(latency * 0.8, 2) if mergeable else None,
        merged_samples_per_second=round(speed * 1.1, 1) if mergeable else None,
        merge="merged" if mergeable else "no adapter to merge",
    )


def _rows(classes: int, test: int, seed: int) -> Rows:
    names = ["negative", "positive"] if classes == 2 else [f"class_{i}" for i in range(classes)]
    return Rows(
        subset_sha256="a" * 64,
        encoded_sha256="b" * 64,
        order_sha256=f"{zlib.crc32(f'order {seed}'.encode()):064x}",
        rows={"train": TRAIN_ROWS, "validation": 500, "test": test},
        labels=names,
        steps=STEPS,
        tokens=2_493_000,
        # Each seed has batches of its own.
        padded_tokens=2_610_000 + 16 * (seed % 97),
        padded_lengths=[128 + 8 * (seed % 7), 256, 384, 512],
    )


def _device(gpu: bool) -> Device:
    return Device(
        type="cuda" if gpu else "cpu",
        name="NVIDIA H200" if gpu else "Intel(R) Xeon(R) Platinum 8581C",
        precision="bf16",
        reason="CUDA device found" if gpu else "no CUDA device; the CPU has bf16",
        threads=2,
        driver="580.82" if gpu else None,
    )


def _audit(profile: Profile) -> Audit:
    layers = [f"roberta.encoder.layer.{i}.attention.self.query" for i in range(12)]
    return Audit(
        quantized_modules=layers if "quantize" in profile.block else [],
        head_dtypes=["torch.float32"],
        trainable_dtypes=["torch.float32"],
        adapted_modules=layers if profile.adapter is not None else [],
    )


def _execution(*, gpu: bool) -> Execution:
    return Execution(
        captured_steps=STEPS - 1 if gpu else 0,
        eager_steps=1 if gpu else STEPS,
        note="the first step makes the optimizer's state" if gpu else "no CUDA device",
        attention="sdpa",
        optimizer="adamw_torch_fused" if gpu else "adamw_torch",
    )
