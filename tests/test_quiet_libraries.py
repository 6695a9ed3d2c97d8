"""Whatever program is started: libraries are told to count nobody before they are imported."""

from __future__ import annotations

import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fairtune
import stages
from fairtune.core.quiet import IN_A_LOG, VARIABLES

ROOT = Path(__file__).parent.parent
PROGRAMS = [
    *(f"stages.{one.name}" for one in pkgutil.iter_modules(stages.__path__)),
    *(f"fairtune.{one.name}" for one in pkgutil.iter_modules(fairtune.__path__) if not one.ispkg),
    "fairtune.cluster.__main__",
]
LOOK = """
import importlib, sys
importlib.import_module(sys.argv[1])
from huggingface_hub import constants
assert constants.HF_HUB_DISABLE_TELEMETRY
assert constants.HF_HUB_DISABLE_PROGRESS_BARS
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_tells_them_before_any_is_imported(program: str) -> None:
    """The Hub's library reads its variables once, as it is imported."""
    source = (ROOT / (program.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    imports = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    first = next(line for line in imports if "__future__" not in line)
    assert re.match(r"from fairtune\.core(\.errors)? import .*[eE]rror.*# isort: skip", first)


def test_the_hub_s_library_has_heard_it() -> None:
    without = {n: v for n, v in os.environ.items() if n not in VARIABLES | IN_A_LOG}
    subprocess.run(
        [sys.executable, "-c", LOOK, "stages.sources"], check=True, cwd=ROOT, env=without, stderr=-1
    )
