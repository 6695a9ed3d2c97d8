"""What one training leaves behind: its record, its loss curve and its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairtune.runs.breakdown import Breakdown
from fairtune.runs.part import Part
from fairtune.runs.predictions import Predictions

SCHEMA = 1
NODE = "FAIRTUNE_NODE"
"""In the environment of a training on a cluster: the name of its node."""


class Counts(Part):
    """Parameters, a 4-bit weight counted as the parameters that it holds."""

    total: int
    """Of the model as it predicts: encoder, head and adapter."""
    trainable: int
    """Of these, trained: adapter and head; for full fine-tuning all."""
    adapter: int
    """Added by the adapter."""
    head: int
    """In the classification head."""


class Times(Part):
    """Wall-clock seconds by `time.perf_counter`, the device synchronised at both ends."""

    import_seconds: float
    """Start of the process to the start of loading."""
    load_seconds: float
    """Load of the model, quantisation and adapter included."""
    warm_up_seconds: float | None
    """On a GPU, the first passes of shapes of batch and the capture of each, off the clock."""
    train_seconds: float
    """The training loop alone."""
    validation_seconds: float
    """Validation between epochs, off the training clock."""
    test_seconds: float
    """Forward passes over the test rows."""
    save_seconds: float
    """Writing the weights."""
    samples_per_second: float
    """Training rows over `train_seconds`."""
    step_median_ms: float | None
    """Median time of a training step after warm-up."""
    step_p90_ms: float | None
    """90th percentile of the same."""
    seconds_to_95_percent: float | None = None
    """Training time until validation accuracy first reached 95% of its best."""
    seconds_to_99_percent: float | None = None
    """The same for 99%."""


class Inference(Part):
    """Speed of prediction; `merged` is None where PEFT cannot merge the adapter."""

    latency_ms: float
    """Median time of one row alone, adapter as trained."""
    samples_per_second: float
    """Test rows over the time of all their batches, adapter as trained."""
    merged_latency_ms: float | None
    """Median time of one row alone, adapter merged into the weights."""
    merged_samples_per_second: float | None
    """Throughput, adapter merged into the weights."""
    merge: str
    """`merged`, or why not."""


class Memory(Part):
    """Peaks during training, in MiB; None where not measured, with the reason in `unavailable`."""

    gpu_memory_mib: float | None
    """What the process holds on the device, as nvidia-smi shows it (NVML)."""
    gpu_device_delta_mib: float | None
    """What the device as a whole holds over what it held before the process touched it (NVML)."""
    gpu_reserved_mib: float | None
    """Held by torch's caching allocator."""
    gpu_allocated_mib: float | None
    """Occupied by tensors (torch)."""
    host_memory_mib: float
    """Peak resident memory of the process, from its start."""
    sample_interval_ms: float | None
    """Median time between two NVML samples."""
    samples: int
    """Number of NVML samples taken."""
    unavailable: dict[str, str]
    """Reason for each counter that could not be had."""


class Energy(Part):
    """Energy of the whole device during training (NVML's counter)."""

    total_wh: float | None
    """As counted."""
    idle_watts: float | None
    """Power before training."""
    net_wh: float | None
    """Idle power taken off."""
    unavailable: str | None
    """Why there is none."""


class Audit(Part):
    """Evidence of how the weights are stored."""

    quantized_modules: list[str]
    """Modules whose weights are in 4 bits."""
    head_dtypes: list[str]
    """Types of the head's parameters."""
    trainable_dtypes: list[str]
    """Types of all trained parameters."""
    adapted_modules: list[str]
    """Modules that carry an adapter."""


class Device(Part):
    """Where the run took place."""

    type: str
    """cpu, cuda or mps."""
    name: str
    """Name of the processor or GPU."""
    precision: str
    """bf16, fp16 or fp32."""
    reason: str
    """Why this device and precision."""
    threads: int
    """CPU threads used by torch."""
    driver: str | None = None
    """Version of the GPU's driver."""
    node: str | None = None
    """Name of the cluster's node; None for a run on the study's own host."""
    busy: str | None = None
    """Other use of the GPU, seen at the start or during training; then no cost counts."""


class Rows(Part):
    """What the run was fed."""

    subset_sha256: str
    encoded_sha256: str
    order_sha256: str
    """Hash of the row ids of each batch, in order, over all epochs."""
    rows: dict[str, int]
    labels: list[str]
    steps: int
    """Optimizer steps."""
    tokens: int
    """Training tokens, all epochs, padding excluded."""
    padded_tokens: int
    """The same, padding included."""
    padded_lengths: list[int]
    """Lengths that batches were padded to."""


class Execution(Part):
    """How the training steps ran."""

    captured_steps: int
    """Replayed as CUDA graphs."""
    eager_steps: int
    """Launched kernel by kernel."""
    note: str
    """Why steps ran eagerly."""
    attention: str
    """Attention implementation."""
    optimizer: str
    """Optimizer as the Trainer names it."""
    loss: str | None = None
    """Loss that was trained on, which the loss curve shows; None in records of old."""
    class_weights: list[float] | None = None
    """Weight of each class in the loss; None where all rows count alike."""


class Accuracy(Part):
    """Share of rows predicted right."""

    test: float
    validation: float
    """After the last epoch."""
    validation_by_epoch: list[float]
    """After each epoch; empty when only the last was measured."""


class RunRecord(Part):
    """One training, complete enough to be defended or repeated."""

    schema_version: int = SCHEMA
    method: str
    seed: int
    parameters: dict[str, Any]
    """The sections `model`, `encode`, `train` and the method's own block, as used."""
    data: Rows
    device: Device
    versions: dict[str, str]
    counts: Counts
    times: Times
    memory: Memory
    predicted: Breakdown
    energy: Energy
    inference: Inference
    audit: Audit
    execution: Execution
    accuracy: Accuracy
    shipped_mib: float
    """Size on disk of the weights that must be shipped besides the pretrained model (full: all
    weights); its tokenizer is not counted."""
    head_sha256: str
    """Hash of the head's first weights: the same for methods of one seed."""
    model_type: str | None = None
    """Family of the pretrained model, as Transformers names it; None in records of old."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished training, read back."""

    record: RunRecord
    history: list[dict[str, float]]
    """Points of the loss curve: step, epoch, loss."""
    predictions: Predictions


Runs = Mapping[str, Sequence[Run]]
