"""A whole training step as one CUDA graph: forward, backward, clipping and AdamW.

At small batches a training step is bound by Python launching kernels. A graph, captured once for
each shape of batch, replays all of them with one launch. The graphs share one memory pool: they
never run side by side, and nothing in a step outlives it but the loss and the gradient norm.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

Inputs = dict[str, torch.Tensor]
# Beyond this many shapes a run would spend its time capturing.
MOST_GRAPHS = 48
# Families of absolute positions: what a pass works out of a batch's shape is kept nowhere. Others
# keep tables for each length, which must not come to lie in the memory that graphs share.
KEEPING_NOTHING = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")


def first_passes(
    model: Any, shapes: list[tuple[int, int]], first: tuple[int, int]
) -> list[tuple[int, int]]:
    """Return the shapes that have to be passed through a model before its training begins.

    Of those that get a graph one suffices where the capture of the others can load what they need:
    on a host that is slow at Python a pass takes longer than a capture. Steps that run eagerly must
    not be the first of their shape: the very first step, and those beyond the graphs.

    Args:
        model: to be trained.
        shapes: of batches, rows and tokens, most of both first.
        first: the shape of the first batch.
    """
    if model.config.model_type not in KEEPING_NOTHING:
        return shapes
    eager = {first, *shapes[MOST_GRAPHS:]}
    return [shape for shape in shapes if shape == shapes[0] or shape in eager]


def heal_generator(device: torch.device) -> None:
    """Give the device a generator that a failed capture has not left in capture mode."""
    generator = torch.cuda.default_generators[device.index or 0]
    generator.graphsafe_set_state(generator.clone_state())


class ReplayableAdamW(torch.optim.AdamW):
    """AdamW whose `step` does nothing when a replayed graph has done it already."""

    replayed = False

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update the parameters, unless the graph did."""
        if self.replayed:
            self.replayed = False
            return None
        return super().step(closure)


@dataclass
class _Graph:
    """A captured step and the tensors that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Inputs
    loss: torch.Tensor
    norm: torch.Tensor


@dataclass
class StepGraphs:
    """Captures and replays the steps of one training."""

    loss_of: Callable[[Inputs], torch.Tensor]
    """Forward pass: inputs on the device -> mean loss."""
    parameters: list[torch.nn.Parameter]
    """The trained parameters."""
    optimizer: ReplayableAdamW
    """Fused and capturable; its state exists already (one eager step was taken)."""
    max_norm: float
    """Norm that gradients are clipped to."""
    shapes: list[tuple[int, int]]
    """Shapes of batch that the run will bring, most rows times tokens first."""
    captured: int = 0
    """Steps replayed so far."""
    _graphs: dict[tuple[int, ...], _Graph] = field(default_factory=dict)
    _pool: Any = None
    _rates: list[torch.Tensor] = field(default_factory=list)

    def fits(self, inputs: Inputs) -> bool:
        """Return whether a batch of this shape has a graph or gets one."""
        return self._key(inputs) in self.shapes[:MOST_GRAPHS]

    def step(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Run one captured step; return its loss and the norm of the gradients before clipping."""
        captured = self._graphs[self._key(inputs)]
        for name, tensor in inputs.items():
            captured.inputs[name].copy_(tensor, non_blocking=True)
        for rate, group in zip(self._rates, self.optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
        captured.graph.replay()
        self.optimizer.replayed = True
        self.captured += 1
        return captured.loss, captured.norm

    @staticmethod
    def _key(inputs: Inputs) -> tuple[int, ...]:
        return tuple(inputs["input_ids"].shape)

    def capture(self, inputs: Inputs) -> None:
        """Record the step for every shape; the largest first, so that the rest fit its memory.

        Args:
            inputs: a batch, for the names and types of its tensors.

        Raises:
            RuntimeError: the step does what no graph can hold.
        """
        device = self.parameters[0].device
        self._pool = torch.cuda.graph_pool_handle()
        self._rates = [torch.zeros((), device=device) for _ in self.optimizer.param_groups]
        self._forget_gradients()
        # What the eager step left cached would otherwise be held beside the graphs' own pool.
        torch.cuda.empty_cache()
        collecting = gc.isenabled()
        # A pass makes so many objects that Python would look for garbage time and again.
        gc.disable()
        try:
            for rows, length in self.shapes[:MOST_GRAPHS]:
                static = {
                    name: torch.ones(
                        (rows, length) if tensor.dim() == 2 else (rows,),
                        dtype=tensor.dtype,
                        device=device,
                    )
                    for name, tensor in inputs.items()
                }
                self._graphs[rows, length] = self._record(static)
        finally:
            if collecting:
                gc.enable()

    def _record(self, static: Inputs) -> _Graph:
        """Record the step for one shape; nothing is computed yet."""
        graph = torch.cuda.CUDAGraph()
        floats = [group["lr"] for group in self.optimizer.param_groups]
        try:
            # A number would be frozen into the graph; a tensor is read at each replay.
            for rate, group in zip(self._rates, self.optimizer.param_groups, strict=True):
                group["lr"] = rate
            with torch.cuda.graph(graph, pool=self._pool):
                loss = self.loss_of(static)
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.max_norm, foreach=True)
                torch.optim.AdamW.step(self.optimizer)
                loss = loss.detach()
                # Inside the capture, so that the pool's memory serves the next graph as well.
                self._forget_gradients()
        except RuntimeError:
            heal_generator(self.parameters[0].device)
            raise
        finally:
            for rate_value, group in zip(floats, self.optimizer.param_groups, strict=True):
                group["lr"] = rate_value
            self._forget_gradients()
        return _Graph(graph=graph, inputs=static, loss=loss, norm=norm)

    def _forget_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None
