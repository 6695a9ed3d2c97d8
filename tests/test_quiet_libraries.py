"""Libraries are told to count nobody and to draw no bars before they are imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fairtune.core.quiet import IN_A_LOG, VARIABLES
from tests.repositories import ROOT

LOOK = """
import importlib, os, sys
importlib.import_module(sys.argv[1])
from huggingface_hub import constants
print(constants.HF_HUB_DISABLE_TELEMETRY, constants.HF_HUB_DISABLE_PROGRESS_BARS)
"""


@pytest.mark.parametrize("program", ["stages.sources", "stages.train", "fairtune.core.origins"])
def test_whatever_is_imported_first(program: str) -> None:
    """The Hub's library reads its variables once, and `origins` imports it at its head."""
    without = {n: v for n, v in os.environ.items() if n not in VARIABLES | IN_A_LOG}
    words = [sys.executable, "-c", LOOK, program]
    told = subprocess.run(
        words, cwd=ROOT, env=without, check=True, text=True, capture_output=True
    ).stdout
    assert told == "True True\n"
