"""What comes before torch is imported: the command line, the process's settings, the GPU's load."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fairtune.core import terminal
from fairtune.core.errors import UserError
from fairtune.core.params import Params, Train
from fairtune.hardware import nvml
from fairtune.hardware.baseline import Baseline, baseline
from fairtune.training.recording import versions

# Rounds that an idle thread of libgomp spins before it sleeps. Left to spin for long, as it does by
# itself, it takes the core from whoever else computes: on two cores with a third busy process a
# step takes 1.9 s so, and 0.6 s with this; on a quiet machine there is no difference.
SPIN_ROUNDS = "10000"


def arguments(
    words: Sequence[str], study: Params, *, command: str = "stages.train"
) -> tuple[str, int]:
    """Return method and seed from the command line.

    Raises:
        UserError: they are missing, or the study has no such method or seed.
    """
    if len(words) != 2 or not words[1].isdigit():
        raise UserError(f"usage: python -m {command} METHOD SEED")
    name, seed = words[0], int(words[1])
    study.method(name)
    if seed not in study.seeds:
        raise UserError(f"seed {seed} is not among the seeds {study.seeds} of params.yaml")
    return name, seed


def set_up_process() -> None:
    """Set what torch and the other libraries read when they are imported."""
    terminal.quiet_libraries()
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_ROUNDS)
    os.environ.setdefault(*nvml.COUNT_BY_PLACE)


def look_at_gpu(train: Train) -> Baseline:
    """Return what the GPU holds: before this process touches it, all of that is others'.

    Raises:
        UserError: another process computes there and `train.allow_busy_gpu` is not set.
    """
    return baseline(
        allow_busy=train.allow_busy_gpu,
        # A torch built for processors alone computes on no GPU, whoever holds it.
        wanted=train.device in ("auto", "cuda")
        and not versions().get("torch", "").endswith("+cpu"),
    )
