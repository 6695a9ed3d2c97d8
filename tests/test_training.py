"""A training on a tiny encoder: what it records, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.trainer_callback import TrainerControl, TrainerState

from fairtune.acceleration.prepare import prepare
from fairtune.core.errors import UserError
from fairtune.core.method import Method
from fairtune.core.params import Model, Train
from fairtune.core.terminal import StepProgress
from fairtune.hardware import device
from fairtune.hardware.meter import Baseline, Meter
from fairtune.models.build import Built, build
from fairtune.training import loop, plan, prediction
from fairtune.training.batches import BatchPlan, Collator
from fairtune.training.trainer import FairTrainer
from fairtune.training.watch import Watch
from tests.tiny import encoded_rows

LORA = Method(learning_rate=0.01, adapter="lora", targets=["query", "value"], r=2)


def settings(**changes: object) -> Train:
    return Train(**{"epochs": 2, "batch_size": 8, "logging_steps": 1, "device": "cpu", **changes})


@pytest.fixture
def train(encoder: Callable[..., Path]) -> Callable[..., tuple]:
    """Return a function that trains a fresh model and returns what was seen, and the meter."""

    def run(
        method: Method = LORA, *, validate: Callable[[], float] = lambda: 0.5, **changes: object
    ) -> tuple[loop.Trained, Meter, Built]:
        chosen = device.choose(settings(**changes))
        built = build(Model(name=str(encoder())), method, name="m", labels=2, device=chosen, seed=1)
        prepare(built.model, chosen)
        meter = Meter(device=chosen, base=Baseline())
        seen = loop.train_model(
            built.model,
            encoded_rows(),
            train=settings(**changes),
            learning_rate=method.learning_rate,
            seed=1,
            pad_token_id=0,
            device=chosen,
            meter=meter,
            validate=validate,
        )
        return seen, meter, built

    return run


def test_the_loss_falls_and_every_step_is_a_point_of_the_curve(train: Callable) -> None:
    seen, _, _ = train(precision="fp32", epochs=4)
    losses = [point["loss"] for point in seen.history]
    assert len(losses) == seen.steps == 4 * 5
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05


def test_the_last_step_is_a_point_of_the_curve_however_seldom_points_are(train: Callable) -> None:
    assert [point["step"] for point in train(logging_steps=4)[0].history] == [4, 8, 10]
    assert [point["step"] for point in train(logging_steps=100)[0].history] == [10]


def test_a_loss_that_is_lost_between_two_points_of_the_curve_ends_the_training(
    train: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = FairTrainer.training_step

    def poisoned(self: FairTrainer, *arguments: object) -> torch.Tensor:
        return plain(self, *arguments) * (float("nan") if self.state.global_step == 7 else 1.0)

    monkeypatch.setattr(FairTrainer, "training_step", poisoned)
    with pytest.raises(UserError, match=r"loss became nan at step 10; lower"):
        train(logging_steps=100)


def test_a_model_that_returns_no_numbers_is_refused(train: Callable) -> None:
    _, _, built = train()
    chosen = device.choose(settings())
    with torch.no_grad():
        next(p for p in built.model.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(UserError, match=r"not a number; lower this method's learning_rate"):
        prediction.predict(built.model, encoded_rows(), batch_size=4, pad_token_id=0, device=chosen)


def test_too_little_memory_for_validation_names_the_batch_of_evaluation(
    train: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, built = train()

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(prediction, "probabilities", full)

    def validate() -> float:
        chosen = device.choose(settings())
        found = prediction.predict(
            built.model, encoded_rows(), batch_size=64, pad_token_id=0, device=chosen
        )
        return float(found.correct.mean())

    with pytest.raises(UserError, match=r"train\.evaluation_batch_size 64"):
        train(validate=validate)


def test_two_trainings_of_one_seed_are_the_same(train: Callable) -> None:
    first, second = train()[0], train()[0]
    assert first.history == second.history
    assert first.order_sha256 == second.order_sha256


def test_the_order_of_the_rows_does_not_depend_on_the_method(train: Callable) -> None:
    ia3 = Method(learning_rate=0.01, adapter="ia3", targets=["key", "value"])
    assert train(LORA)[0].order_sha256 == train(ia3)[0].order_sha256


def test_validation_runs_after_each_epoch_and_off_the_clock(train: Callable) -> None:
    import time

    calls: list[float] = []

    def slow() -> float:
        time.sleep(0.3)
        calls.append(0.5)
        return 0.5

    seen, meter, _ = train(validate=slow)
    assert len(calls) == len(seen.validation) == 2
    assert meter.paused_seconds >= 0.6
    start = seen.validation[0][0]
    assert 0 < start < seen.validation[1][0] <= meter.seconds + 0.001


def test_validation_after_the_last_epoch_alone_when_asked_for(train: Callable) -> None:
    assert len(train(validate_every_epoch=False)[0].validation) == 1


def test_only_the_adapter_and_the_head_change(train: Callable, encoder: Callable) -> None:
    chosen = device.choose(settings())
    model = build(Model(name=str(encoder())), LORA, name="m", labels=2, device=chosen, seed=1).model
    prepare(model, chosen)
    before = model.state_dict()
    after = train()[2].model.state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert all("lora_" in name or "modules_to_save" in name for name in changed)


def test_a_loss_that_is_no_number_ends_in_one_line() -> None:
    chosen = device.choose(settings())
    watch = Watch(
        meter=Meter(device=chosen, base=Baseline()),
        plan=BatchPlan(encoded_rows().lengths, batch_size=8, seed=1, group=True),
        progress=StepProgress("m"),
        validate=lambda: 0.5,
    )
    state = TrainerState(global_step=7)
    with pytest.raises(UserError, match=r"loss became nan at step 7; lower .* learning_rate"):
        watch.on_log(None, state, TrainerControl(), logs={"loss": float("nan")})


def test_graphs_asked_for_on_a_cpu_are_refused_with_the_remedy(train: Callable) -> None:
    with pytest.raises(UserError, match=r"train\.cuda_graphs: 'on' needs a CUDA GPU.*auto or off"):
        train(cuda_graphs="on")


def test_the_record_says_why_steps_ran_eagerly(train: Callable) -> None:
    seen = train()[0]
    assert seen.captured_steps == 0
    assert "no CUDA graphs on cpu" in seen.note


def test_padding_is_counted(train: Callable) -> None:
    seen = train()[0]
    assert seen.tokens == 2 * int(encoded_rows().lengths.sum())
    assert seen.padded_tokens > seen.tokens
    grouped = seen.padded_tokens
    assert train(group_by_length=False)[0].padded_tokens >= grouped


def test_a_longer_run_pays_for_more_lengths() -> None:
    maxima = np.random.default_rng(0).integers(20, 500, 40)
    short, long = plan.padded_lengths(maxima), plan.padded_lengths(np.tile(maxima, 30))
    assert len(short) < len(long) <= plan.MOST_LENGTHS
    assert plan.padded_lengths(np.array([64, 64, 64])) == [64]


def test_warming_up_changes_neither_weights_nor_random_numbers(encoder: Callable) -> None:
    chosen = device.choose(settings())
    model = build(Model(name=str(encoder())), LORA, name="m", labels=2, device=chosen, seed=1).model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    collate = Collator(encoded_rows(), pad_token_id=0)
    assert loop.warm_up(model, [collate([0, 1]), collate([2, 3, 4])], chosen) > 0
    assert torch.equal(torch.rand(3), expected)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_nothing_is_warmed_up_on_a_cpu(train: Callable) -> None:
    assert train()[0].warm_up_seconds is None
