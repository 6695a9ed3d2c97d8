"""What all tests share: no network, quiet libraries, and checkpoints made once for all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Before Transformers and the rest are imported: they read these then.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["GOMP_SPINCOUNT"] = "10000"

from tests import tiny


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Compute on one thread.

    With two on two cores, another process makes each wait for the other, and a step of a tiny
    model takes a hundred times as long.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return `encoder("roberta", head=3)`: the folder of a tiny checkpoint, made at first use."""
    made: dict[str, Path] = {}

    def of(kind: str = "bert", **options: object) -> Path:
        key = repr((kind, sorted(options.items())))
        if key not in made:
            made[key] = tmp_path_factory.mktemp("encoder") / kind
            tiny.write_encoder(made[key], kind=kind, **options)
        return made[key]

    return of
