"""Trained studies for tests of what is done with them: a Hub's encoder, and a decoder in a folder.

root = trained.make(tmp_path / "study", kind="bert")     # a model of the Hub, as its cache has it
root = trained.make(tmp_path / "other", kind="llama", of_hub=False)
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from huggingface_hub import constants

from stages import encode, subset, train
from tests import tiny

ROOT = Path(__file__).parent.parent
COMMIT = "c0ffee" + 34 * "0"
HUB_NAME = "tiny/encoder"
LORA = {"learning_rate": 0.02, "adapter": "lora", "targets": ["query", "value"], "r": 2}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"learning_rate": 0.005},
    "lora": LORA,
    "qlora": LORA | {"quantize": "nf4"},
    "ia3": {
        "learning_rate": 0.05,
        "adapter": "ia3",
        "targets": ["key", "value", "feedforward_out"],
        "feedforward": ["feedforward_out"],
    },
}
LABELS = ("negative", "neutral", "positive")
CHANGES: dict[str, Any] = {
    "encode.max_length": 16,  # some texts have more
    "encode.keep": "tail",
    "subset.train": 48,
    "subset.test": 24,
    "train.epochs": 6,
    "seeds": [1],
}


def make(root: Path, *, kind: str, of_hub: bool = True, **changes: Any) -> Path:
    """Train the four methods on a tiny model with three classes; return the study's folder.

    Args:
        root: of the study; a Hub's cache lies in its folder `hub`.
        kind: family of the model.
        of_hub: whether the model is one of the Hub; else it is a folder of the study.
        changes: dotted keys of the parameters.
    """
    folder = snapshot(root) if of_hub else root / "encoder"
    # Weights this large tell texts apart before any training.
    tiny.write_encoder(folder, kind=kind, initializer_range=0.1)
    tiny.write_reviews(root / "reviews.csv", rows=120, labels=LABELS)
    model = {"model.name": HUB_NAME, "model.revision": COMMIT} if of_hub else {}
    tiny.write_study(root, {**CHANGES, "methods": METHODS, **model, **changes})
    with inside(root):
        subset.main()
        encode.main()
        for name in METHODS:
            with mock.patch.object(sys, "argv", ["train", name, "1"]):
                train.main()
    return root


def snapshot(root: Path) -> Path:
    """Return the folder of a model's commit in a Hub's cache, which knows it as the newest."""
    cached = root / "hub" / f"models--{HUB_NAME.replace('/', '--')}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    return cached / "snapshots" / COMMIT


@contextlib.contextmanager
def inside(root: Path) -> Iterator[None]:
    """Work in a study's folder, with its cache of the Hub."""
    with contextlib.chdir(root), mock.patch.object(constants, "HF_HUB_CACHE", str(root / "hub")):
        yield


def weights(root: Path, method: str) -> Path:
    """Return the folder of a method's weights."""
    return root / "models" / method / "1" / "weights"


def fresh(root: Path, *command: str) -> str:
    """Run Python with these words in a process of its own in the study's folder."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_CACHE": str(root / "hub")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
