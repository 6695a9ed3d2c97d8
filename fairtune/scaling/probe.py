"""One point of the scaling sweep: a few training steps of one method on a model of some size.

Weights are random and token ids too: neither changes what a step costs.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from fairtune.core import terminal

terminal.quiet_libraries()  # before the libraries are imported, or they chat

import torch  # noqa: E402

from fairtune.core import task  # noqa: E402
from fairtune.core.method import Method  # noqa: E402
from fairtune.core.params import Model, Params  # noqa: E402
from fairtune.core.units import MIB  # noqa: E402
from fairtune.hardware.device import Choice, choose  # noqa: E402
from fairtune.hardware.memory import host_peak_mib  # noqa: E402
from fairtune.models.adapters import work_after_step  # noqa: E402
from fairtune.models.build import build  # noqa: E402
from fairtune.models.pretrained import auto_class, load_config  # noqa: E402
from fairtune.scaling.point import Cost, Size  # noqa: E402

WARM_UP, SEED, CLASSES = 2, 0, 2
LONG_RUN = 100_000
"""Steps of the training that those timed are a part of, for adapters that plan by them."""
GROWING = ("hidden_size", "intermediate_size", "num_attention_heads")
"""What grows with the width of the encoder; the width of an attention head stays."""


def describe(study: Params) -> dict[str, Any]:
    """Return the device and the encoder's own dimensions."""
    chosen = choose(study.train)
    config = load_config(study.model, labels=CLASSES)
    return {
        "device": chosen.name,
        "type": chosen.type,
        "precision": chosen.precision,
        "hidden": getattr(config, "hidden_size", None),
        "longest": getattr(config, "max_position_embeddings", 512) - 2,
    }


def make_encoder(study: Params, width: int, folder: Path) -> None:
    """Write an encoder with random weights, this many times as wide as the study's."""
    config = load_config(study.model, labels=CLASSES)
    for name in GROWING:
        if width > 1:
            setattr(config, name, width * getattr(config, name))
    torch.manual_seed(SEED)
    auto_class().from_config(config).save_pretrained(folder)


def measure(
    study: Params, method: Method, *, name: str, size: Size, folder: Path, whole_pass: bool
) -> Cost:
    """Time a few steps after warm-up, or all steps of one pass over the rows."""
    chosen = choose(study.train)
    steps = max(1, size.rows // size.batch_size)
    built = build(
        Model(name=str(folder), head=study.model.head), method, name=name, labels=CLASSES,
        device=chosen, seed=SEED, steps=LONG_RUN,
    )  # fmt: skip
    model = built.model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=method.learning_rate)
    batch = _batch(size, int(model.config.vocab_size), chosen)
    for done in range(WARM_UP):
        _step(model, optimizer, batch, chosen, done=done)
    chosen.synchronize()
    start = time.perf_counter()
    for done in range(WARM_UP, WARM_UP + steps):
        _step(model, optimizer, batch, chosen, done=done)
    chosen.synchronize()
    elapsed = time.perf_counter() - start
    on_gpu = chosen.type == "cuda"
    peak = torch.cuda.max_memory_allocated() / MIB if on_gpu else host_peak_mib()
    seconds = elapsed if whole_pass else elapsed / steps
    return Cost(seconds=round(seconds, 4), memory_mib=round(peak, 1))


def _batch(size: Size, vocabulary: int, chosen: Choice) -> dict[str, torch.Tensor]:
    drawn = torch.Generator().manual_seed(SEED)
    shape = (size.batch_size, size.max_length)
    batch = {
        "input_ids": torch.randint(vocabulary // 2, vocabulary, shape, generator=drawn),
        "attention_mask": torch.ones(shape, dtype=torch.long),
        task.LABELS: torch.randint(0, CLASSES, (size.batch_size,), generator=drawn),
    }
    return {key: value.to(chosen.torch_device) for key, value in batch.items()}


def _step(
    model: Any,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, torch.Tensor],
    chosen: Choice,
    *,
    done: int,
) -> None:
    with chosen.autocast():
        loss = task.loss_of(model, batch)
    loss.backward()
    optimizer.step()
    if work := work_after_step(model):
        work(done + 1)
    optimizer.zero_grad()
