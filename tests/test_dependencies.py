"""Each stage of dvc.yaml depends on what it imports, and on nothing else of the project."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
LIGHT = ("subset", "score", "compare", "report", "notebook")
SOURCES = {"notebook": ["notebooks/walkthrough.py"]}
"""What a stage runs besides its own file."""


def imported(path: Path) -> set[str]:
    """Return the project's modules that a file names in its imports, as paths."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "fairtune":
            found |= {f"fairtune/{name.name}.py" for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fairtune."):
            found.add(f"{str(node.module).replace('.', '/')}.py")
    return found


def needed(stage: str) -> set[str]:
    """Return all modules that a stage imports, directly or through others."""
    seen: set[str] = set()
    ahead = [f"stages/{stage}.py", *SOURCES.get(stage, [])]
    while ahead:
        path = ahead.pop()
        if path not in seen:
            seen.add(path)
            ahead += imported(ROOT / path)
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_exactly_the_modules_that_it_imports(stage: str) -> None:
    listed = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")}
    assert listed == needed(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_depends_on_a_folder_of_code(stage: str) -> None:
    assert not {"fairtune", "stages", "fairtune/", "stages/"} & set(STAGES[stage]["deps"])


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_says_what_it_is_for(stage: str) -> None:
    assert len(STAGES[stage]["desc"]) > 20


def test_the_folder_stages_holds_one_file_a_stage_and_nothing_else() -> None:
    files = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert files == set(STAGES)


@pytest.mark.parametrize("stage", LIGHT)
def test_a_stage_that_does_not_train_imports_neither_torch_nor_transformers(stage: str) -> None:
    probe = (
        f"import sys, stages.{stage}; "
        "print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
