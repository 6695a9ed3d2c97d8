"""Time one captured training step of each method, with each change to the step left out in turn.

usage: python -m benchmarks.steps [--lengths 128 256 512]

Batches of 16 full rows, RoBERTa-base's shape; medians of 30 replays, without the Trainer. Writes
benchmarks/steps.json and prints a table in Markdown. Needs a CUDA GPU.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from fairtune.core import params, task, terminal

terminal.quiet_libraries()

import torch  # noqa: E402

from benchmarks.shapes import write_roberta  # noqa: E402
from fairtune.acceleration import bf16  # noqa: E402
from fairtune.acceleration.cuda_graphs import Inputs, ReplayableAdamW, StepGraphs  # noqa: E402
from fairtune.acceleration.prepare import prepare  # noqa: E402
from fairtune.core.errors import UserError, run  # noqa: E402
from fairtune.core.files import write_json  # noqa: E402
from fairtune.core.units import MIB  # noqa: E402
from fairtune.hardware import device  # noqa: E402
from fairtune.models.build import Built, build  # noqa: E402
from fairtune.training.recording import versions  # noqa: E402

ROWS, REPLAYS = 16, 30


def _plain_norms(model: Any) -> None:
    for module in model.modules():
        if type(module) is bf16.LowPrecisionLayerNorm:
            module.__class__ = torch.nn.LayerNorm


def _nothing(*_: Any) -> None:
    """Change nothing."""


def _peft_forward(layer: Any) -> bool:
    """Keep PEFT's own forward pass; its weights may be held in bf16 all the same."""
    return True


# What is left out: patches of `fairtune.acceleration.bf16` while a model is prepared, and a change
# afterwards.
LEFT_OUT: dict[str, tuple[dict[str, Callable[..., Any]], Callable[[Any], None]]] = {
    "nothing": ({}, _nothing),
    "frozen weights in bf16": ({"hold_frozen": _nothing}, _nothing),
    "adapters in bf16": ({"_swap_forward": _peft_forward}, _nothing),
    "normalisation in bf16": ({}, _plain_norms),
    "all three": ({"save_casts": _nothing}, _nothing),
}


@contextmanager
def without(patches: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """Patch functions of `fairtune.acceleration.bf16`."""
    with ExitStack() as stack:
        for name, replacement in patches.items():
            stack.enter_context(mock.patch.object(bf16, name, replacement))
        yield


def batch(length: int, where: torch.device) -> Inputs:
    """Return a batch whose rows are up to a sixteenth padding."""
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(10, 50_000, (ROWS, length), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(ROWS):
        cut = int(torch.randint(0, max(1, length // 16), (1,), generator=generator))
        mask[row, length - cut :] = 0
    labels = torch.randint(0, 2, (ROWS,), generator=generator)
    made = {"input_ids": ids, "attention_mask": mask, task.LABELS: labels}
    return {name: tensor.to(where) for name, tensor in made.items()}


def timed(built: Built, chosen: device.Choice, lengths: list[int]) -> dict[str, Any]:
    """Return milliseconds of a replay at each length, and the peak memory of training so."""
    model = built.model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = ReplayableAdamW(parameters, lr=1e-5, fused=True, capturable=True)

    def loss_of(inputs: Inputs) -> torch.Tensor:
        with chosen.autocast():
            loss: torch.Tensor = task.loss_of(model, inputs)
        return loss

    graphs = StepGraphs(
        loss_of=loss_of,
        parameters=parameters,
        optimizer=optimizer,
        max_norm=1.0,
        shapes=[(ROWS, length) for length in sorted(lengths, reverse=True)],
    )
    batches = {length: batch(length, chosen.torch_device) for length in lengths}
    loss_of(batches[max(lengths)]).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.replayed = False
    torch.cuda.reset_peak_memory_stats()
    graphs.capture(batches[max(lengths)])
    found: dict[str, Any] = {}
    for length, inputs in batches.items():
        times = []
        for _ in range(REPLAYS):
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            before.record()
            graphs.step(inputs)
            after.record()
            torch.cuda.synchronize()
            times.append(before.elapsed_time(after))
        found[str(length)] = round(statistics.median(times), 2)
    found["peak_mib"] = round(torch.cuda.max_memory_allocated() / MIB)
    return found


def main() -> None:
    """Time every method with every change left out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--out", default="benchmarks/steps.json")
    words = parser.parse_args()
    study = params.load()
    chosen = device.choose(study.train)
    if chosen.type != "cuda":
        raise UserError("benchmarks.steps: a captured step needs an NVIDIA GPU")
    shape = write_roberta(Path(tempfile.gettempdir()) / "fairtune-roberta-base")
    model = params.Model(name=str(shape))
    found: dict[str, Any] = {"device": chosen.name, "versions": versions(), "milliseconds": {}}
    heads = " | ".join(f"{length}" for length in words.lengths)
    print(f"| method | left out | {heads} | peak MiB |\n|---|---|{'---|' * len(words.lengths)}---|")
    for name, method in study.methods.items():
        for left_out, (patches, afterwards) in LEFT_OUT.items():
            gc.collect()
            torch.cuda.empty_cache()
            with without(patches):
                built = build(model, method, name=name, labels=2, device=chosen, seed=1)
                prepare(built.model, chosen)
                afterwards(built.model)
            row = timed(built, chosen, words.lengths)
            found["milliseconds"].setdefault(name, {})[left_out] = row
            write_json(Path(words.out), found)
            print(f"| {name} | {left_out} | {' | '.join(map(str, row.values()))} |", flush=True)


if __name__ == "__main__":
    run(main)
