"""Where each artefact of the pipeline lies, relative to the repository root."""

from __future__ import annotations

from pathlib import Path

PARAMS = Path("params.yaml")
CORPUS = Path("data/sources/corpus")
MODEL = Path("data/sources/model")
SUBSET = Path("data/subset")
ENCODED = Path("data/encoded")
MODELS = Path("models")
METRICS = Path("metrics")
PLOTS = Path("plots")
REPORT = Path("report")

SPLITS = ("train", "validation", "test")
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer"

RECORD = "run.json"
HISTORY = "history.json"
PREDICTIONS = "predictions.parquet"
WEIGHTS = "weights"


def run_folder(method: str, seed: int) -> Path:
    """Return the folder of one training: ``models/<method>/<seed>``."""
    return MODELS / method / str(seed)
