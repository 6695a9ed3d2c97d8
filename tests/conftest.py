"""What all tests share: no network, quiet libraries, and checkpoints made once for all of them."""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

# Before Transformers and the rest are imported: they read these then.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["GOMP_SPINCOUNT"] = "10000"
# All trainings, in this process and in those that it starts, compute on one thread: with two on two
# cores, another process makes each wait for the other, and a step of a tiny model takes ten times
# the processor time. Ray gives it to its tasks besides: what forks for them must have the same.
os.environ["OMP_NUM_THREADS"] = "1"

from tests import repositories, tiny, trained

# The files that take longest, by their processor time, begin first: a file's tests run on one
# worker, as they share what they made, and the short ones fill up what is left at the end.
LONGEST = (
    "test_cluster",
    "test_pipeline",
    "test_search_pipeline",
    "test_reference",
    "test_onnx",
    "test_parallel",
    "test_settle",
    "test_methods",
    "test_preload",
    "test_export",
    "test_training",
    "test_origins",
    "test_registry",
    "test_errors",
    "test_scaling",
    "test_typeset",
    "test_reload",
    "test_pull_request",
    "test_models",
    "test_charts",
    "test_layout",
    "test_artefacts",
    "test_marks",
    "test_quiet",
    "test_report",
    "test_predict",
    "test_publish",
    "test_class_weights",
    "test_acceleration",
    "test_extension",
    "test_page",
    "test_experiments",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first, and keep the order within each."""
    places = {f"{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.fixture(autouse=True, scope="module")
def _little_to_collect() -> None:
    """Let the garbage collector leave alone what was imported, and what earlier files left.

    It is millions of objects with torch, and statsmodels collects twice in each comparison,
    accelerate once in each training.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Compute on one thread, also where a test before set another number."""
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


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> repositories.Repository:
    """A clone in which all before the trainings has run, made once for all workers: copy it."""
    return repositories.Repository(once(tmp_path_factory, "encoded", repositories.encoded))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> repositories.Repository:
    """A clone with a study that is run and committed up to `compare`; copy it to change it."""
    return repositories.Repository(once(tmp_path_factory, "finished", repositories.finished))


@pytest.fixture(scope="session")
def hub_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a Hub's encoder, the four methods trained; leave it as it is."""
    return once(tmp_path_factory, "hub-study", functools.partial(trained.make, kind="bert"))


@pytest.fixture(scope="session")
def decoder_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a decoder in a folder, the four methods trained; leave it as it is."""
    make = functools.partial(trained.make, kind="llama", of_hub=False)
    return once(tmp_path_factory, "decoder-study", make)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that is filled once for all workers."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    root, made = base / name, base / f"{name}.made"
    with FileLock(base / f"{name}.lock"):
        if not made.exists():
            root.mkdir()
            make(root)
            made.touch()
    return root
