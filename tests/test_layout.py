"""The tree: rooms on floors, arrows one way, and stages that depend on what they import."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
# One that is a sentence makes no stage: DVC says it where the parameters have a wrong shape.
STAGES = {name: stage for name, stage in PIPELINE["stages"].items() if " " not in name}
LIGHT = ("sources", "subset", "record", "score", "compare", "report", "notebook")
SOURCES = {"notebook": ["notebooks/walkthrough.py"]}
"""What a stage runs besides its own file."""
READING = ("analysis", "charts", "report", "verification", "publication")
"""The packages that read results; they must work where no torch can be loaded."""
HEAVY = {"torch", "transformers", "peft", "accelerate", "bitsandbytes"}
MOST_FLOORS, MOST_LINES, MOST_LINES_OF_A_FUNCTION = 9, 250, 60
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted((ROOT / "fairtune").rglob("*.py"))
    if path.name != "__init__.py"
}
PACKAGES = sorted(path.parent.name for path in (ROOT / "fairtune").glob("*/__init__.py"))


def imports(path: Path) -> set[str]:
    """Return the dotted names that a file imports, at its top or in a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


@functools.cache
def project_imports(path: Path) -> frozenset[str]:
    """Return the project's modules that a file imports."""
    names = imports(path)
    parents = {name.rpartition(".")[0] for name in names}
    return frozenset(module for module in MODULES if module in names | parents)


def package(module: str) -> str:
    """Return the room of a module; those directly in `fairtune` are the commands."""
    parts = module.split(".")
    return parts[1] if len(parts) > 2 else "commands"


def arrows() -> dict[str, set[str]]:
    """Return which packages each package imports."""
    found: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        here = package(module)
        found.setdefault(here, set()).update(map(package, project_imports(path)))
    return {name: others - {name} for name, others in found.items()}


def floors(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the floor of each node, 1 where nothing is imported; fails on a circle."""
    heights: dict[str, int] = {}

    def height(name: str, above: tuple[str, ...]) -> int:
        assert name not in above, f"a circle: {' -> '.join([*above, name])}"
        if name not in heights:
            heights[name] = 1 + max(
                (height(other, (*above, name)) for other in graph[name]), default=0
            )
        return heights[name]

    for name in graph:
        height(name, ())
    return heights


def needed(stage: str) -> set[str]:
    """Return the packages that a stage's imports reach, a package counted as a whole."""
    files = [ROOT / f"stages/{stage}.py", *(ROOT / file for file in SOURCES.get(stage, []))]
    graph, seen = arrows(), set[str]()
    ahead = [package(module) for file in files for module in project_imports(file)]
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead += graph[name]
    return seen


def listed(stage: str) -> list[str]:
    return [
        dep.removeprefix("fairtune/") for dep in STAGES[stage]["deps"] if dep.startswith("fairtune")
    ]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_exactly_the_packages_that_its_imports_reach(stage: str) -> None:
    assert sorted(listed(stage)) == sorted(needed(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_its_own_file(stage: str) -> None:
    assert {f"stages/{stage}.py", *SOURCES.get(stage, [])} <= set(STAGES[stage]["deps"])


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_loads_lies_in_the_packages_that_it_lists(stage: str) -> None:
    ours = {name for name in loaded(stage) if name.startswith("fairtune.")}
    assert ours
    assert {name.split(".")[1] for name in ours} <= set(listed(stage))


def test_an_edit_to_what_reads_results_trains_nothing() -> None:
    assert not set(READING) & needed("train")
    assert not {*READING, "training", "models", "hardware"} & needed("encode")


@pytest.mark.parametrize("name", READING)
def test_what_reads_results_imports_no_torch(name: str) -> None:
    graph, reached = arrows(), {name}
    while more := {other for one in reached for other in graph[one]} - reached:
        reached |= more
    files = [path for module, path in MODULES.items() if package(module) in reached]
    roots = {name.split(".")[0] for path in files for name in imports(path)}
    assert "numpy" in roots
    assert not HEAVY & roots


def test_packages_import_one_another_in_one_direction_on_few_floors() -> None:
    heights = floors(arrows())
    assert heights["core"] == 1
    assert max(heights.values()) <= MOST_FLOORS
    assert {"core", "runs"} == {
        name
        for name in PACKAGES
        if {"training", "analysis"} <= {one for one, needs in arrows().items() if name in needs}
    }, "the training and the reading wing meet in the runs alone"


def test_no_two_modules_import_one_another() -> None:
    floors({module: set(project_imports(path)) for module, path in MODULES.items()})


def test_a_circle_is_found() -> None:
    with pytest.raises(AssertionError, match="a circle: a -> b -> a"):
        floors({"a": {"b"}, "b": {"a"}})


@pytest.mark.parametrize("name", ["", *PACKAGES])
def test_an_init_file_is_a_docstring_and_nothing_else(name: str) -> None:
    first, *others = ast.parse((ROOT / "fairtune" / name / "__init__.py").read_text()).body
    assert isinstance(first, ast.Expr)
    assert isinstance(first.value, ast.Constant)
    # Ctrl-C is answered, and libraries are quieted, before any module of the package is imported.
    begins = [f"from fairtune.core import {one} as {one}" for one in ("interruption", "quiet")]
    assert [ast.unparse(other) for other in others] == ([] if name else begins)


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_named_after_one_of_the_standard_library(module: str) -> None:
    assert module.rpartition(".")[2] not in sys.stdlib_module_names - {"__main__"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_and_its_functions_are_short_enough_to_read(module: str) -> None:
    text = MODULES[module].read_text()
    assert len(text.splitlines()) <= MOST_LINES
    long = {
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    }
    assert not long


def test_modules_directly_in_the_library_are_commands() -> None:
    commands = [path for module, path in MODULES.items() if package(module) == "commands"]
    assert len(commands) >= 5
    assert all('if __name__ == "__main__":\n    ' in path.read_text() for path in commands)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_says_what_it_is_for(stage: str) -> None:
    assert len(STAGES[stage]["desc"]) > 20


def test_the_folder_stages_holds_one_file_a_stage_and_nothing_else() -> None:
    files = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert files == set(STAGES)


@pytest.mark.parametrize("stage", LIGHT)
def test_a_stage_that_does_not_train_imports_neither_torch_nor_transformers(stage: str) -> None:
    assert not {"torch", "transformers", "peft"} & loaded(stage)


@functools.cache
def loaded(stage: str) -> frozenset[str]:
    """Return the modules that a process has loaded once it has imported a stage."""
    code = f"import sys, stages.{stage}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return frozenset(done.stdout.split())
