"""Where each artefact of the pipeline lies, relative to the repository root."""

from __future__ import annotations

from pathlib import Path

PARAMS = Path("params.yaml")
CORPUS = Path("data/sources/corpus")
MODEL = Path("data/sources/model")
SUBSET = Path("data/subset")
ENCODED = Path("data/encoded")
SEARCH = Path("data/search")
RATES = Path("data/rates")
TRIALS = Path("data/trials")
MODELS = Path("models")
RUNS = Path("runs")
METRICS = Path("metrics")
PLOTS = Path("plots")
REPORT = Path("report")

SPLITS = ("train", "validation", "test")
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer"

RECORD = "run.json"
HISTORY = "history.json"
PREDICTIONS = "predictions.parquet"
RUN_FILES = (RECORD, HISTORY, PREDICTIONS)
WEIGHTS = "weights"
RATE_FILE = "rate.json"
SEARCH_FILE = "search.json"


def training_folder(method: str, seed: int) -> Path:
    """Return where a training writes its record and its weights: ``models/<method>/<seed>``."""
    return MODELS / method / str(seed)


def run_folder(method: str, seed: int) -> Path:
    """Return where the record of a training lies for Git and is read: ``runs/<method>/<seed>``."""
    return RUNS / method / str(seed)


def run_folder_of(method: str) -> Path:
    """Return where the records of a method lie for Git: ``runs/<method>``."""
    return RUNS / method
