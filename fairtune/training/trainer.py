"""The Trainer with a fixed plan of batches and captured steps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from torch.utils.data import DataLoader
from transformers.trainer import Trainer

from fairtune.acceleration.cuda_graphs import ReplayableAdamW, StepGraphs
from fairtune.core.errors import UserError, one_line
from fairtune.training.batches import BatchPlan, Rows


class FairTrainer(Trainer):
    """The Trainer with a fixed plan of batches and, on CUDA, captured steps.

    What the Trainer offers (schedules, callbacks, clipping, logging, resuming) stays in force: a
    captured step does what `training_step`, the clipping and the optimizer's step would have done.
    """

    def __init__(
        self,
        *,
        plan: BatchPlan,
        shapes: list[tuple[int, int]],
        graphs_wanted: str,
        note: str,
        preparing: Callable[[], AbstractContextManager[None]],
        **keywords: Any,
    ) -> None:
        """Take batches of these shapes from `plan`.

        Args:
            plan: deals the batches.
            shapes: of the batches, rows and padded length, most tokens first.
            graphs_wanted: auto, on or off.
            note: why steps run eagerly where they do.
            preparing: keeps what is done within it off the clock.
            keywords: the Trainer's own.
        """
        self.plan = plan
        self.shapes = shapes
        self.graphs_wanted = graphs_wanted
        self.note = note
        self.preparing = preparing
        self.pass_others: Callable[[], object] | None = None
        """Passes through the shapes that were not passed through before the training."""
        self.graphs: StepGraphs | None = None
        self.replayed_norm: torch.Tensor | None = None
        super().__init__(**keywords)
        # The mean over the batch is left to the model: there is no gradient accumulation, for which
        # the Trainer would count the labels of each batch.
        self.model_accepts_loss_kwargs = False

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the batches of the plan, on the device."""
        loader: DataLoader[Any] = DataLoader(
            cast("Rows", self.train_dataset),
            batch_sampler=self.plan,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Replay the step as a graph where there can be one, else run it as the Trainer does."""
        self.replayed_norm = None
        # The first step runs eagerly: it makes the optimizer's state and loads the libraries.
        if self.graphs_wanted == "off" or not self.optimizer.state:  # type: ignore[union-attr]
            return super().training_step(model, inputs)
        try:
            if self.graphs is None:
                with self.preparing():
                    self.graphs = self._captured(model, inputs)
            if self.graphs.fits(inputs):
                loss, self.replayed_norm = self.graphs.step(inputs)
                return loss
            self.note = "more shapes of batches than graphs"
        except RuntimeError as error:
            # All graphs at once may hold more than one eager step, which is then tried.
            if isinstance(error, torch.OutOfMemoryError) and self.graphs_wanted == "on":
                raise
            failed = f"capture failed: {one_line(error)[:120]}"
            if self.graphs_wanted == "on":
                raise UserError(f"train.cuda_graphs: 'on', but {failed}; set auto") from error
            self.graphs_wanted, self.note = "off", failed
        if self.graphs_wanted == "off":  # just now: what the graphs took is free again
            torch.cuda.empty_cache()
        return super().training_step(model, inputs)

    def _captured(self, model: Any, inputs: dict[str, Any]) -> StepGraphs:
        """Capture; where that cannot load what a shape needs, pass the other shapes through first.

        Raises:
            RuntimeError: the step does what no graph can hold, or there is no memory.
        """
        try:
            return self._capture(model, inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            if self.pass_others is None:
                raise
            self.pass_others()
            return self._capture(model, inputs)

    def _capture(self, model: Any, inputs: dict[str, Any]) -> StepGraphs:
        model.train()
        optimizer = self.optimizer.optimizer  # type: ignore[union-attr]
        assert isinstance(optimizer, ReplayableAdamW)
        graphs = StepGraphs(
            loss_of=lambda batch: cast("torch.Tensor", self.compute_loss(model, batch)),
            parameters=[parameter for parameter in model.parameters() if parameter.requires_grad],
            optimizer=optimizer,
            max_norm=self.args.max_grad_norm,
            shapes=self.shapes,
        )
        graphs.capture(inputs)
        return graphs

    def _clip_grad_norm(self, model: Any) -> Any:
        """Clip, unless the graph did; return the norm before, which the Trainer logs.

        There is no public way: the callbacks come after the clipping, and `max_grad_norm` switches
        it for the whole run, in which some steps may be eager.
        """
        if self.replayed_norm is not None:
            return self.replayed_norm
        return super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Count nothing: the estimate walks through all parameters at every step."""
        return 0
