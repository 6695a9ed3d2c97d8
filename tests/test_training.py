"""A training on a tiny encoder: what it records, and what it refuses."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from transformers import Trainer
from transformers.trainer_callback import TrainerControl, TrainerState

from fairtune.acceleration import cuda_graphs
from fairtune.acceleration.prepare import prepare
from fairtune.core.errors import UserError
from fairtune.core.forecast import Forecast
from fairtune.core.method import Method
from fairtune.core.params import Model, Params, Train
from fairtune.core.terminal import StepProgress
from fairtune.hardware import device
from fairtune.hardware.baseline import Baseline
from fairtune.hardware.meter import Meter
from fairtune.models import uncaptured
from fairtune.models.build import Built, build
from fairtune.training import loop, plan, prediction, run
from fairtune.training.batches import BatchPlan, Collator
from fairtune.training.job import Job
from fairtune.training.trainer import FairTrainer
from fairtune.training.watch import AfterStep, Watch
from tests import tiny
from tests.tiny import encoded_rows

LORA = Method(learning_rate=0.01, adapter="lora", targets=["query", "value"], r=2)


def settings(**changes: object) -> Train:
    return Train(**{"epochs": 2, "batch_size": 8, "logging_steps": 1, "device": "cpu", **changes})


@pytest.fixture
def train(encoder: Callable[..., Path]) -> Callable[..., tuple]:
    """Return a function that trains a fresh model and returns what was seen, and the meter."""

    def run(
        method: Method = LORA,
        *,
        kind: str = "bert",
        validate: Callable[[], float] = lambda: 0.5,
        **changes: object,
    ) -> tuple[loop.Trained, Meter, Built]:
        chosen = device.choose(settings(**changes))
        built = build(
            Model(name=str(encoder(kind))),
            method,
            name="m",
            labels=2,
            device=chosen,
            seed=1,
            steps=settings(**changes).epochs * 5,
            pad_token_id=0,
        )
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


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("name", ["full", "lora", "qlora", "ia3"])
def test_a_decoder_trains_to_the_end_and_its_loss_falls(
    train: Callable, kind: str, name: str
) -> None:
    of_lora = {"adapter": "lora", "targets": ["query", "value"], "r": 2}
    blocks = {
        "full": {"learning_rate": 0.001},
        "lora": {"learning_rate": 0.01, **of_lora},
        "qlora": {"learning_rate": 0.01, **of_lora, "quantize": "nf4"},
        "ia3": {
            "learning_rate": 0.02,
            "adapter": "ia3",
            "targets": ["key", "value", "feedforward_out"],
            "feedforward": ["feedforward_out"],
        },
    }
    seen, _, built = train(Method(**blocks[name]), kind=kind, precision="fp32", epochs=4)
    losses = [point["loss"] for point in seen.history]
    assert len(losses) == seen.steps == 4 * 5
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05
    assert bool(built.audit.quantized_modules) == (name == "qlora")


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
        progress=StepProgress("m", Forecast([1.0])),
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


SHAPES = [(8, 64), (8, 32), (4, 32)]


@pytest.mark.parametrize(
    ("family", "passed"),
    [("roberta", SHAPES[:2]), ("mpnet", SHAPES), ("deberta-v2", SHAPES), ("llama", SHAPES)],
)
def test_where_a_pass_leaves_nothing_behind_the_largest_and_the_first_shape_are_passed_through(
    family: str, passed: list[tuple[int, int]]
) -> None:
    model = SimpleNamespace(config=SimpleNamespace(model_type=family))
    assert cuda_graphs.first_passes(model, SHAPES, SHAPES[1]) == passed
    if family == "roberta":
        assert cuda_graphs.first_passes(model, SHAPES, SHAPES[0]) == SHAPES[:1]


def test_shapes_that_get_no_graph_are_passed_through_before_they_count() -> None:
    shapes = [(8, length) for length in range(200, 100, -1)]
    model = SimpleNamespace(config=SimpleNamespace(model_type="bert"))
    left = shapes[cuda_graphs.MOST_GRAPHS :]
    assert cuda_graphs.first_passes(model, shapes, shapes[0]) == [shapes[0], *left]


class Capturing:
    """As `FairTrainer` captures, on a driver that cannot load kernels meanwhile."""

    def __init__(self, *, others: bool, error: type[RuntimeError] = RuntimeError) -> None:
        self.error, self.passed, self.tries = error, False, 0
        self.pass_others = self._pass if others else None

    def _pass(self) -> None:
        self.passed = True

    def _capture(self, model: object, inputs: object) -> str:
        self.tries += 1
        if not self.passed:
            raise self.error("operation not permitted when stream is capturing")
        return "graphs"


def test_a_capture_that_fails_is_tried_again_when_all_shapes_were_passed_through() -> None:
    capture: Any = FairTrainer._captured
    assert capture(Capturing(others=True), None, {}) == "graphs"
    for alone in (
        Capturing(others=False),
        Capturing(others=True, error=torch.OutOfMemoryError),
    ):
        with pytest.raises(RuntimeError, match="not permitted"):
            capture(alone, None, {})
        assert alone.tries == 1


def test_nothing_is_warmed_up_on_a_cpu(train: Callable) -> None:
    assert train()[0].warm_up_seconds is None


ADALORA = Method(
    learning_rate=0.01, adapter="adalora", targets=["query", "value"], init_r=4, target_r=2
)


def test_adalora_comes_down_to_the_rank_that_it_is_given(train: Callable) -> None:
    seen, _, built = train(ADALORA, epochs=4)
    kept = built.model.peft_config["default"].rank_pattern
    assert len(kept) == 4
    assert sum(sum(ranks) for ranks in kept.values()) == 2 * 4
    singular = [p for name, p in built.model.named_parameters() if "lora_E" in name]
    assert sum(int((values != 0).sum()) for values in singular) == 2 * 4
    assert sum(len(values) for values in singular) == 4 * 4
    losses = [point["loss"] for point in seen.history]
    assert losses[-1] < losses[0]


def test_a_method_that_works_on_gradients_is_not_captured_and_the_record_says_why(
    train: Callable,
) -> None:
    seen = train(ADALORA)[0]
    assert seen.captured_steps == 0
    assert seen.note == uncaptured.GRADIENTS
    assert train(LORA)[0].note != uncaptured.GRADIENTS


def test_graphs_asked_for_where_the_adapter_works_on_gradients_are_refused() -> None:
    gpu = dataclasses.replace(device.choose(settings()), type="cuda", precision="bf16")
    line = r"train\.cuda_graphs: 'on', but the adapter works on each step's gradients.*; set off"
    why = uncaptured.of_method(ADALORA)
    with pytest.raises(UserError, match=line):
        plan.graphs_mode(settings(cuda_graphs="on"), gpu, eager=why)
    assert plan.graphs_mode(settings(), gpu, eager=why) == ("off", why)
    assert plan.graphs_mode(settings(), gpu, eager=None)[0] == "auto"


@pytest.mark.parametrize(
    ("block", "drop", "why"),
    [
        ({"adapter": "lokr", "r": 2, "module_dropout": 0.5}, 0.0, uncaptured.CHANCE),
        ({"adapter": "loha", "r": 2, "rank_dropout": 0.5}, 0.0, uncaptured.COPIES),
        ({"adapter": "lokr", "r": 2}, 0.0, None),
        ({"adapter": "delora", "r": 2, "module_dropout": 0.5}, 0.0, None),
        ({"adapter": "lokr", "r": 2}, 0.1, uncaptured.CHANCE),
    ],
)
def test_what_is_left_out_by_chance_is_not_fixed_in_a_graph(
    encoder: Callable[..., Path], block: dict[str, Any], drop: float, why: str | None
) -> None:
    method = Method(learning_rate=1e-3, targets=["query", "value"], **block)
    chosen = device.choose(settings())
    of = Model(name=str(encoder()))
    model = build(of, method, name="m", labels=2, device=chosen, seed=1, steps=3).model
    model.config.layerdrop = drop
    assert uncaptured.of_model(model) == why
    if not drop:
        assert uncaptured.of_method(method) == why


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_methods_that_cannot_all_be_captured_are_named_before_any_is_trained(mode: str) -> None:
    gpu = dataclasses.replace(device.choose(settings()), type="cuda", precision="bf16")
    lora = {"learning_rate": 1e-3, "adapter": "lora", "targets": ["query"]}
    others = {
        "tokens": {**lora, "trainable_token_indices": [5]},
        "prompts": {"learning_rate": 1e-3, "adapter": "prompt_tuning", "num_virtual_tokens": 2},
    }

    def study(methods: dict, **changes: object) -> Params:
        of = tiny.study({"methods": methods, "train.cuda_graphs": mode} | changes)
        return Params.model_validate(of)

    line = (
        rf"^train\.cuda_graphs: '{mode}' replays the steps of full, lora as CUDA graphs, and of "
        r"tokens, prompts it cannot \(tokens: PEFT copies numbers .*\): set it to 'off', so that"
    )
    mixed = {"full": {"learning_rate": 1e-3}, "lora": lora, **others}
    with pytest.raises(UserError, match=line):
        plan.check_alike(study(mixed), gpu)
    # So does each training and each trial, before it loads a model.
    job = Job(
        study=study(mixed), splits={"train": encoded_rows()}, manifest={}, name="lora", seed=1
    )
    with pytest.raises(UserError, match=line):
        run.load(job, gpu)
    plan.check_alike(study(mixed, **{"train.cuda_graphs": "off"}), gpu)
    plan.check_alike(study(mixed, **{"train.kernels": "stock", "train.cuda_graphs": "auto"}), gpu)
    plan.check_alike(study({"lora": lora}), gpu)
    if mode == "auto":
        plan.check_alike(study(others), gpu)
        plan.check_alike(study(mixed), dataclasses.replace(gpu, type="cpu"))


def test_the_private_method_of_the_trainer_that_is_replaced_is_still_there_and_called(
    train: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(inspect.signature(Trainer._clip_grad_norm).parameters) == ["self", "model"]
    norms: list[object] = []
    plain = FairTrainer._clip_grad_norm

    def counted(self: FairTrainer, model: object) -> object:
        norms.append(plain(self, model))
        return norms[-1]

    monkeypatch.setattr(FairTrainer, "_clip_grad_norm", counted)
    assert train()[0].steps == len(norms) == 10


def test_the_trainer_leaves_the_mean_over_the_batch_to_the_model(
    train: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[object] = []
    plain = Trainer.get_batch_samples

    def noted(self: Trainer, *arguments: object) -> tuple:
        found = plain(self, *arguments)
        accepts, self.model_accepts_loss_kwargs = self.model_accepts_loss_kwargs, True
        counts.append((found[1], self._get_num_items_in_batch(found[0], "cpu")))
        self.model_accepts_loss_kwargs = accepts
        return found

    monkeypatch.setattr(Trainer, "get_batch_samples", noted)
    train()
    assert counts[0] == (None, 8)
    assert [left for left, _ in counts] == [None] * 10


def test_gradients_that_overflowed_are_not_worked_on() -> None:
    done: list[int] = []
    callback = AfterStep(done.append)
    state = TrainerState(global_step=7)
    for skipped in (True, False):
        optimizer = SimpleNamespace(step_was_skipped=skipped)
        callback.on_optimizer_step(None, state, TrainerControl(), optimizer=optimizer)
    assert done == [8]
    assert hasattr(AcceleratedOptimizer, "step_was_skipped")
