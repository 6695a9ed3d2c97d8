"""Classes weighted in the loss: as torch has it, in every model and every kind of step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fairtune.acceleration.prepare import prepare
from fairtune.analysis import fairness
from fairtune.core import task
from fairtune.core.errors import UserError
from fairtune.core.method import Method
from fairtune.core.params import Model, Train
from fairtune.hardware import device
from fairtune.hardware.baseline import Baseline
from fairtune.hardware.meter import Meter
from fairtune.models import class_weights
from fairtune.models.build import build
from fairtune.models.roles import ARCHITECTURES
from fairtune.runs.record import Execution
from fairtune.runs.token_cache import Encoded
from fairtune.training import loop, recording
from fairtune.training.batches import Collator
from fairtune.verification import differences
from tests.studies import make_runs
from tests.tiny import encoded_rows

NAMES = ["a", "b", "c"]
WEIGHTS = [0.5, 2.0, 4.0]
LORA = {"adapter": "lora", "targets": ["query", "value"], "r": 2}
BLOCKS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": LORA,
    "qlora": LORA | {"quantize": "nf4"},
    "ia3": {"adapter": "ia3", "targets": ["key", "value"]},
    "prefix": {"adapter": "prefix_tuning", "num_virtual_tokens": 4},
    "prompt": {"adapter": "prompt_tuning", "num_virtual_tokens": 4},
}


def rows(counts: tuple[int, ...] = (12, 6, 2)) -> Encoded:
    """Rows with so many of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return replace(encoded_rows(len(labels)), labels=np.random.default_rng(0).permutation(labels))


def settings(**changes: Any) -> Train:
    base = {"epochs": 1, "batch_size": 8, "logging_steps": 1, "device": "cpu", "precision": "fp32"}
    return Train(**{**base, **changes})


@pytest.fixture
def made(encoder: Callable[..., Path]) -> Callable[..., Any]:
    """Return a function that builds a tiny model of three classes, made ready as a run does."""

    def of(kind: str = "bert", block: dict[str, Any] | None = None, **changes: Any) -> Any:
        chosen = device.choose(settings(**changes))
        model = build(
            Model(name=str(encoder(kind))),
            Method(learning_rate=0.01, **(block or {})),
            name="m",
            labels=3,
            device=chosen,
            seed=1,
            steps=5,
            pad_token_id=0,
        ).model
        task.name_classes(model.config, NAMES)
        prepare(model, chosen, kernels=settings(**changes).kernels)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return model

    return of


def passed(model: Any, chosen: device.Choice, weights: list[float] | None) -> tuple[Any, Any]:
    """Return a batch's loss and its gradients; by torch's own loss where there are weights."""
    batch = Collator(rows(), pad_token_id=0)(range(20))
    model.zero_grad()
    with chosen.autocast():
        if weights is None:
            loss = task.loss_of(model, batch)
        else:
            labels = batch.pop(task.LABELS)
            loss = nn.CrossEntropyLoss(weight=torch.tensor(weights))(
                model(**batch).logits.float(), labels
            )
    loss.backward()
    return loss.detach(), {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def check_as_torch(model: Any, chosen: device.Choice, *, close: float) -> None:
    """Assert that a model's weighted loss and gradients are torch's."""
    model.train()
    expected, gradients = passed(model, chosen, WEIGHTS)
    plain, _ = passed(model, chosen, None)
    class_weights.install(model, WEIGHTS, torch.device("cpu"))
    loss, found = passed(model, chosen, None)
    assert torch.allclose(loss, expected, rtol=1e-6, atol=0)
    assert not torch.allclose(loss, plain, rtol=1e-4, atol=0)
    assert set(found) == set(gradients)
    for name, gradient in gradients.items():
        assert torch.allclose(found[name], gradient, rtol=close, atol=close), name


# The numbers


def test_the_weights_are_those_of_scikit_learn() -> None:
    # compute_class_weight("balanced", classes=[0, 1, 2], y=...)
    found = task.balanced_weights(rows().labels, NAMES)
    assert found == pytest.approx([20 / (3 * 12), 20 / (3 * 6), 20 / (3 * 2)])
    assert np.mean([found[label] for label in rows().labels]) == pytest.approx(1.0)
    assert task.balanced_weights(np.array([0, 1]), ["a", "b"]) == [1.0, 1.0]


def test_a_class_without_training_rows_is_named() -> None:
    with pytest.raises(UserError) as caught:
        task.balanced_weights(np.array([0, 0, 2]), NAMES)
    assert str(caught.value) == (
        "train.class_weights: 'balanced', but class 'b' has none of the 3 training rows; set none, "
        "or give each class training rows"
    )


def test_the_loss_and_its_gradient_are_those_of_torch() -> None:
    drawn = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 3, generator=drawn)
    labels = torch.from_numpy(rows().labels)
    weights = torch.tensor(WEIGHTS)
    ours, theirs = (logits.clone().requires_grad_() for _ in "ab")
    loss = task.weighted_loss(ours, labels, weights)
    expected = nn.CrossEntropyLoss(weight=weights)(theirs, labels)
    for one in (loss, expected):
        one.backward()
    assert torch.allclose(loss, expected, rtol=1e-6, atol=0)
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-5, atol=1e-8)
    # Weights that are all alike change nothing, however large.
    even = task.weighted_loss(logits, labels, torch.full((3,), 7.0))
    assert torch.allclose(even, nn.functional.cross_entropy(logits, labels), rtol=1e-6, atol=0)


# The models


@pytest.mark.parametrize("kernels", ["fast", "stock"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_family_weights_its_loss_as_torch_does(
    made: Callable[..., Any], kind: str, kernels: str
) -> None:
    chosen = device.choose(settings())
    check_as_torch(made(kind, LORA, kernels=kernels), chosen, close=1e-5)


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_method_weights_its_loss_as_torch_does(
    made: Callable[..., Any], block: dict[str, Any], precision: str
) -> None:
    chosen = device.choose(settings(precision=precision))
    model = made("bert", block, precision=precision)
    check_as_torch(model, chosen, close=1e-5 if precision == "fp32" else 2e-2)


def test_what_an_adapter_adds_to_the_loss_stays(made: Callable[..., Any]) -> None:
    block = {"adapter": "adalora", "targets": ["query", "value"], "init_r": 4, "target_r": 2}
    chosen, model = device.choose(settings()), made("bert", block)
    model.train()
    weighted, _ = passed(model, chosen, WEIGHTS)
    bare, _ = passed(model, chosen, [1.0, 1.0, 1.0])
    added = passed(model, chosen, None)[0] - bare
    assert added > 1e-4
    class_weights.install(model, WEIGHTS, torch.device("cpu"))
    assert torch.allclose(passed(model, chosen, None)[0] - weighted, added, rtol=1e-3)


def test_a_weighted_model_is_saved_under_its_own_name_and_predicts_as_before(
    made: Callable[..., Any], tmp_path: Path
) -> None:
    model = made()
    model.eval()
    batch = Collator(rows(), pad_token_id=0)(range(20))
    del batch[task.LABELS]
    before, keys = model(**batch).logits, set(model.state_dict())
    class_weights.install(model, WEIGHTS, torch.device("cpu"))
    class_weights.install(model, WEIGHTS, torch.device("cpu"))
    assert torch.equal(model(**batch).logits, before)
    assert set(model.state_dict()) == keys
    model.save_pretrained(tmp_path)
    assert '"BertForSequenceClassification"' in (tmp_path / "config.json").read_text()
    assert len(type(model).__mro__) == len({*type(model).__mro__})


# A training


def trained(made: Callable[..., Any], counts: tuple[int, ...], **changes: Any) -> Any:
    chosen = device.choose(settings(**changes))
    model = made("bert", LORA, **changes)
    return loop.train_model(
        model,
        rows(counts),
        train=settings(**changes),
        learning_rate=0.01,
        seed=1,
        pad_token_id=0,
        device=chosen,
        meter=Meter(device=chosen, base=Baseline()),
        validate=lambda: 0.5,
    ), model


@pytest.mark.parametrize("kernels", ["fast", "stock"])
def test_a_training_balances_the_classes_and_its_curve_is_that_of_the_weighted_loss(
    made: Callable[..., Any], kernels: str
) -> None:
    seen, _ = trained(made, (12, 6, 2), class_weights="balanced", kernels=kernels, batch_size=20)
    assert seen.class_weights == pytest.approx([20 / 36, 20 / 18, 20 / 6])
    chosen = device.choose(settings())
    expected, _ = passed(made("bert", LORA, kernels=kernels), chosen, seen.class_weights)
    assert seen.history[0]["loss"] == pytest.approx(float(expected), abs=2e-6)


def test_without_weights_the_model_is_left_as_it_is(made: Callable[..., Any]) -> None:
    seen, model = trained(made, (12, 6, 2))
    assert seen.class_weights is None
    assert not hasattr(type(model.get_base_model()), "weights_classes")


def test_classes_of_as_many_rows_each_train_as_without_weights(made: Callable[..., Any]) -> None:
    plain, _ = trained(made, (8, 8, 8), epochs=3)
    even, _ = trained(made, (8, 8, 8), epochs=3, class_weights="balanced")
    losses = [[point["loss"] for point in seen.history] for seen in (plain, even)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_training_on_rows_without_a_class_is_refused_with_its_name(
    made: Callable[..., Any],
) -> None:
    with pytest.raises(UserError, match="but class 'b' has none of the 20 training rows"):
        trained(made, (12, 0, 8), class_weights="balanced")
    seen, _ = trained(made, (12, 0, 8))
    assert all(math.isfinite(point["loss"]) for point in seen.history)


# What is written down


def test_the_record_says_which_loss_the_curve_is_of(made: Callable[..., Any]) -> None:
    seen, model = trained(made, (12, 6, 2), class_weights="balanced")
    built = type("B", (), {"model": model})()
    found = recording.execution_of_run(built, seen, "balanced")
    assert found.loss == "cross-entropy, classes balanced"
    assert found.class_weights == seen.class_weights
    plain, _ = trained(made, (12, 6, 2))
    found = recording.execution_of_run(built, plain, "none")
    assert (found.loss, found.class_weights) == ("cross-entropy", None)
    old = found.model_dump(exclude={"loss", "class_weights"})
    assert Execution.model_validate(old).loss is None


def with_weights(runs: dict[str, list[Any]], value: str | None) -> dict[str, list[Any]]:
    for run in (run for of_method in runs.values() for run in of_method):
        run.record.parameters["train"] |= {} if value is None else {"class_weights": value}
    return runs


def test_runs_with_other_weights_are_not_compared() -> None:
    runs = make_runs(methods=("full",)) | with_weights(make_runs(methods=("lora",)), "balanced")
    with pytest.raises(UserError, match=r"training settings: .* class_weights None, .* balanced"):
        fairness.check(runs)
    made = fairness.manifest(with_weights(make_runs(), "balanced"))
    assert made["identical"]["training settings"]["class_weights"] == "balanced"


def test_a_run_of_before_the_key_is_one_without_weights() -> None:
    old, none, balanced = (
        with_weights(make_runs(), value)["lora"][0].record for value in (None, "none", "balanced")
    )
    assert differences.parameters(old, none) == {}
    assert differences.parameters(old, balanced) == {"train.class_weights": ("none", "balanced")}
