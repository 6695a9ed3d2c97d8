"""Training on a CUDA GPU: captured steps train as eager ones do. Skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fairtune.acceleration import bf16, cuda_graphs
from fairtune.acceleration.prepare import prepare
from fairtune.core.errors import UserError
from fairtune.core.method import Method
from fairtune.core.params import Model, Train
from fairtune.hardware import device
from fairtune.hardware.baseline import Baseline, baseline
from fairtune.hardware.meter import Meter
from fairtune.models import uncaptured
from fairtune.models.build import build
from fairtune.models.roles import ARCHITECTURES
from fairtune.training import loop, prediction
from tests import methods
from tests.tiny import encoded_rows

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")

METHODS = {
    "full": Method(learning_rate=1e-3),
    "lora": Method(learning_rate=5e-3, adapter="lora", targets=["query", "value"], r=2),
    "qlora": Method(
        learning_rate=5e-3, quantize="nf4", adapter="lora", targets=["query", "value"], r=2
    ),
    "ia3": Method(
        learning_rate=1e-2,
        adapter="ia3",
        targets=["key", "value", "feedforward_out"],
        feedforward=["feedforward_out"],
    ),
}
EAGER = {
    "adalora": Method(
        learning_rate=5e-3, adapter="adalora", targets=["query", "value"], init_r=4, target_r=2
    ),
}
# The last batch of 8 is short.
ROWS = encoded_rows(84, longest=60)
# Classes of 76 and 8 rows.
RARE = replace(ROWS, labels=(np.arange(84) % 11 == 0).astype(np.int64))
STEPS = 4 * 11


@pytest.fixture
def train(encoder: Callable[..., Path]) -> Callable[..., tuple[loop.Trained, Any, Any]]:
    """Return a function that trains a tiny encoder on the GPU."""

    def run(
        name: str,
        mode: str,
        *,
        dropout: bool = False,
        precision: str = "fp32",
        kind: str = "bert",
        kernels: str = "fast",
        class_weights: str = "none",
        change: Callable[[Any], None] = lambda model: None,
        meters: list[Meter] | None = None,
    ) -> tuple[loop.Trained, Any, Any]:
        settings = Train(
            epochs=4,
            batch_size=8,
            logging_steps=1,
            precision=precision,
            cuda_graphs=mode,
            kernels=kernels,
            class_weights=class_weights,
            allow_busy_gpu=True,
        )
        chosen = device.choose(settings)
        method = (METHODS | EAGER)[name]
        model = build(
            Model(name=str(encoder(kind))),
            method,
            name=name,
            labels=2,
            device=chosen,
            seed=1,
            steps=STEPS,
            pad_token_id=0,
        ).model
        prepare(model, chosen, kernels=kernels)
        change(model)
        if not dropout:
            for module in model.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
        meter = Meter(device=chosen, base=Baseline())
        if meters is not None:
            meters.append(meter)
        seen = loop.train_model(
            model,
            ROWS if class_weights == "none" else RARE,
            train=settings,
            learning_rate=method.learning_rate,
            seed=1,
            pad_token_id=0,
            device=chosen,
            meter=meter,
            validate=lambda: 0.5,
        )
        return seen, model, chosen

    return run


@pytest.mark.parametrize("name", METHODS)
def test_captured_steps_have_the_loss_curve_of_eager_ones(train: Callable, name: str) -> None:
    eager, captured = train(name, "off")[0], train(name, "on")[0]
    assert eager.captured_steps == 0
    assert captured.captured_steps == captured.steps - 1 == eager.steps - 1
    assert captured.warm_up_seconds > 0
    curves = [[point["loss"] for point in seen.history] for seen in (eager, captured)]
    assert np.abs(np.subtract(*curves)).max() < 0.002
    assert np.mean(curves[1][-5:]) < np.mean(curves[1][:5])


@pytest.mark.parametrize("kernels", ["fast", "stock"])
@pytest.mark.parametrize("name", METHODS)
def test_the_classes_are_weighted_in_captured_steps_as_in_eager_ones(
    train: Callable, name: str, kernels: str
) -> None:
    balanced = {"class_weights": "balanced", "kernels": kernels}
    mode = "on" if kernels == "fast" else "off"
    eager, captured = train(name, "off", **balanced)[0], train(name, mode, **balanced)[0]
    assert captured.captured_steps == (captured.steps - 1 if kernels == "fast" else 0)
    assert captured.class_weights == eager.class_weights == pytest.approx([84 / 152, 84 / 16])
    curves = [[point["loss"] for point in seen.history] for seen in (eager, captured)]
    assert np.abs(np.subtract(*curves)).max() < 0.002


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_captured_in_bf16_with_dropout(train: Callable, name: str) -> None:
    seen, model, chosen = train(name, "on", dropout=True, precision="bf16")
    assert seen.captured_steps == seen.steps - 1
    assert seen.note == "the first step makes the optimizer's state"
    found = prediction.predict(model, ROWS, batch_size=16, pad_token_id=0, device=chosen)
    assert found.correct.mean() > 0.6


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_every_family_is_captured_whatever_the_method(
    train: Callable, family: str, name: str
) -> None:
    seen, model, chosen = train(name, "auto", kind=family, dropout=True, precision="bf16")
    assert seen.captured_steps >= 0.95 * seen.steps, seen.note
    assert all(np.isfinite(point["loss"]) for point in seen.history)
    found = prediction.predict(model, ROWS, batch_size=16, pad_token_id=0, device=chosen)
    assert np.isfinite(found.probabilities).all()


@pytest.mark.parametrize("family", ["deberta-v2", "mpnet", "modernbert", "llama", "gpt2"])
def test_a_family_s_captured_steps_have_the_loss_curve_of_stock_ones(
    train: Callable, family: str
) -> None:
    stock = train("full", "auto", kind=family, kernels="stock")[0]
    fast = train("full", "on", kind=family)[0]
    assert (stock.captured_steps, stock.note) == (0, "train.kernels is stock")
    assert fast.captured_steps == fast.steps - 1
    curves = [[point["loss"] for point in seen.history] for seen in (stock, fast)]
    assert np.abs(np.subtract(*curves)).max() < 0.005


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_adapter_that_works_on_gradients_runs_eagerly_and_sets_its_ranks(
    train: Callable, precision: str
) -> None:
    seen, model, _ = train("adalora", "auto", dropout=True, precision=precision)
    assert (seen.captured_steps, seen.steps) == (0, STEPS)
    assert seen.note == uncaptured.GRADIENTS
    assert sum(map(sum, model.peft_config["default"].rank_pattern.values())) == 2 * 4
    with pytest.raises(UserError, match=r"train\.cuda_graphs: 'on', but the adapter"):
        train("adalora", "on")


BLOCKS: dict[str, dict[str, Any]] = {
    f"{one.title}{' beside 4 bits' if bits else ''}": {**one.block, **bits}
    for one in (*methods.METHODS, *methods.VARIANTS)
    for bits in ({}, {"quantize": "nf4"})
    if not one.refused and (not bits or (one in methods.METHODS and one.four_bits))
}


@pytest.mark.parametrize("title", BLOCKS)
def test_the_methods_that_run_eagerly_are_those_that_cannot_be_captured(
    train: Callable, title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of which nobody says so are tried."""
    method = Method(learning_rate=1e-3, **BLOCKS[title])
    monkeypatch.setitem(METHODS, "tried", method)
    why = uncaptured.of_method(method)
    if why != uncaptured.GRADIENTS:
        monkeypatch.setattr(uncaptured, "of_model", lambda model: None)
    seen = train("tried", "auto", precision="bf16")[0]
    assert seen.captured_steps == (0 if why else STEPS - 1), seen.note


def test_capture_is_off_the_clock(train: Callable) -> None:
    meters: list[Meter] = []
    seen = train("lora", "on", meters=meters)[0]
    assert 0 < meters[0].preparing_seconds < seen.warm_up_seconds


def test_the_memory_of_a_capture_counts_and_that_of_a_pause_does_not() -> None:
    chosen = device.choose(Train(epochs=1, batch_size=8, allow_busy_gpu=True))
    meter = Meter(device=chosen, base=Baseline())
    meter.start()
    before = torch.cuda.memory_allocated() / 2**20
    with meter.preparing():
        torch.ones(64 * 2**20, dtype=torch.uint8, device="cuda")
    with meter.paused():
        torch.ones(256 * 2**20, dtype=torch.uint8, device="cuda")
    meter.stop()
    assert meter.memory().gpu_allocated_mib == pytest.approx(before + 64, abs=2)


def test_the_dropout_of_a_replayed_step_is_drawn_anew(train: Callable) -> None:
    first, second = (train("full", mode, dropout=True)[0].history for mode in ("off", "on"))
    assert first != second


class Uncapturable(nn.Module):
    """Passes values on and looks at one of them, for which the host must wait."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values."""
        assert float(values.detach().float().sum().cpu()) is not None
        return values


def make_uncapturable(model: Any) -> None:
    """Put a module that no graph can hold behind the first layer's normalisation."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.LayerNorm | bf16.LowPrecisionLayerNorm):
                setattr(parent, name, nn.Sequential(child, Uncapturable()))
                return


def test_a_step_that_cannot_be_captured_runs_eagerly_and_trains_the_same(train: Callable) -> None:
    plain = train("lora", "off")[0]
    seen = train("lora", "auto", change=make_uncapturable)[0]
    assert seen.captured_steps == 0
    assert seen.note.startswith("capture failed: ")
    curves = [[point["loss"] for point in run.history] for run in (plain, seen)]
    assert np.abs(np.subtract(*curves)).max() < 0.002
    # The random generator works on, also with dropout.
    seen = train("lora", "auto", change=make_uncapturable, dropout=True)[0]
    assert seen.captured_steps == 0
    assert torch.rand(3, device="cuda").isfinite().all()


def test_a_capture_that_fails_at_first_is_tried_again_and_trains_the_same(
    train: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = cuda_graphs.StepGraphs._record
    failed: list[tuple[int, ...]] = []

    def once(self: Any, static: dict[str, torch.Tensor]) -> Any:
        if len(self._graphs) == 1 and not failed:
            failed.append(tuple(static["input_ids"].shape))
            raise RuntimeError("operation not permitted when stream is capturing")
        return record(self, static)

    monkeypatch.setattr(cuda_graphs.StepGraphs, "_record", once)
    again = train("lora", "on")[0]
    assert failed
    assert again.captured_steps == STEPS - 1
    monkeypatch.undo()
    curves = [[point["loss"] for point in run.history] for run in (again, train("lora", "on")[0])]
    assert np.abs(np.subtract(*curves)).max() < 0.002


def test_capture_that_is_insisted_on_and_fails_is_one_line(train: Callable) -> None:
    with pytest.raises(UserError, match=r"'on', but capture failed: .*; set auto"):
        train("lora", "on", change=make_uncapturable)
    # What comes after is not disturbed.
    assert train("lora", "on")[0].captured_steps > 0


def test_memory_and_energy_are_measured(train: Callable) -> None:
    base = baseline(allow_busy=True)
    chosen = device.choose(Train(epochs=1, batch_size=8, allow_busy_gpu=True))
    meter = Meter(device=chosen, base=base)
    meter.prepare()
    meter.start()
    before = torch.cuda.memory_allocated() / 2**20
    block = torch.ones(64 * 2**20, dtype=torch.uint8, device="cuda")
    for _ in range(200):
        block.add_(1)
        torch.cuda.synchronize()
    meter.stop()
    memory = meter.memory()
    assert memory.gpu_allocated_mib == pytest.approx(before + 64, abs=2)
    assert memory.gpu_device_delta_mib is not None
    assert memory.samples > 0
    # A single sample has no interval.
    assert memory.samples == 1 or memory.sample_interval_ms > 0
    energy = meter.energy()
    assert energy.total_wh is not None
    assert 10 < energy.idle_watts < 1000  # watts
    assert energy.net_wh is not None
