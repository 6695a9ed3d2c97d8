"""What libraries read from the environment as they are imported: they count nobody, nor chat."""

from __future__ import annotations

import os
import sys

VARIABLES = {
    # The Hub's counters of who uses what.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Transformers would ask the Hub for safetensors of a model that has none.
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}
# Bars are for a person who watches; in a log they are noise.
IN_A_LOG = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}


def at_terminal() -> bool:
    """Return whether somebody watches stderr."""
    return sys.stderr.isatty()


def tell_libraries() -> None:
    """Set what is not set yet; what a user has set stays.

    The package `fairtune` does so first of all, before anything imports another library.
    """
    for name, value in (VARIABLES | ({} if at_terminal() else IN_A_LOG)).items():
        os.environ.setdefault(name, value)


tell_libraries()
