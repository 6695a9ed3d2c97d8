"""Write further seeds and the planned looks into params.yaml; all else stays, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from fairtune.core.errors import UserError
from fairtune.core.paths import PARAMS

REMEDY = "write seeds and compare.looks as plain lists, such as [42, 43]"


def amend(seeds: Sequence[int], looks: Sequence[int] | None = None, *, path: Path = PARAMS) -> None:
    """Write the file anew, whole or not at all.

    Args:
        seeds: those of the file, and further ones behind them.
        looks: numbers of seeds at the looks, where none are planned yet; None leaves them.
        path: the file.

    Raises:
        UserError: the file is written in a way that cannot be amended.
    """
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read()
    half = path.with_name(path.name + ".part")
    try:
        with half.open("w", encoding="utf-8", newline="") as file:
            file.write(amended(text, seeds, looks, place=str(path)))
        half.chmod(path.stat().st_mode & 0o7777)
        # Through a link, to where it leads.
        os.replace(half, path.resolve())
    finally:
        half.unlink(missing_ok=True)


def amended(
    text: str, seeds: Sequence[int], looks: Sequence[int] | None = None, *, place: str = str(PARAMS)
) -> str:
    """Return the file's text with further seeds, and with the looks.

    Args:
        text: of the file.
        seeds: those of the file, and further ones behind them.
        looks: numbers of seeds at the looks, where none are planned yet; None leaves them.
        place: the file's name, for errors.

    Raises:
        UserError: the file is written in a way that cannot be amended.
    """
    wanted = YAML(typ="safe").load(text)
    further = list(seeds)[len(wanted["seeds"]) :]
    wanted["seeds"] = list(seeds)
    if looks is not None:
        wanted["compare"]["looks"] = list(looks)
    root = YAML().compose(text)
    edits = [_appended(text, _value(root, "seeds"), further)]
    if looks is not None:
        edits.append(_planned(_value(root, "compare"), list(looks)))
    made = text
    for begin, end, new in sorted(edits, reverse=True):
        made = made[:begin] + new + made[end:]
    if _read(made) != wanted:
        raise UserError(f"{place}: cannot be amended as it is written; {REMEDY}")
    return made


def _read(text: str) -> Any:
    """Return what a text says, or None where it is no YAML."""
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe").load(text)
    except YAMLError:
        return None


def _value(node: Node, key: str) -> Node:
    """Return the value of a key of a mapping."""
    found: Node = next(value for name, value in node.value if name.value == key)
    return found


def _appended(text: str, node: Node, further: Sequence[int]) -> tuple[int, int, str]:
    """Return (begin, end, new text) that puts numbers behind those of a list."""
    if not isinstance(node, SequenceNode) or not node.value:
        raise UserError(f"{PARAMS}: seeds cannot be amended as it is written; {REMEDY}")
    end = node.value[-1].end_mark.index
    if node.flow_style:
        return end, end, "".join(f", {seed}" for seed in further)
    # Behind the line's comment.
    line = text.find("\n", end)
    end = len(text) if line < 0 else line
    if end and text[end - 1] == "\r":
        end -= 1
    newline = "\r\n" if "\r\n" in text else "\n"
    indent = " " * node.start_mark.column
    return end, end, "".join(f"{newline}{indent}- {seed}" for seed in further)


def _planned(compare: Node, looks: Sequence[int]) -> tuple[int, int, str]:
    """Return (begin, end, new text) that sets `looks` in its section."""
    assert isinstance(compare, MappingNode)
    known = next((value for name, value in compare.value if name.value == "looks"), None)
    if known is not None:
        return known.start_mark.index, known.end_mark.index, str(looks)
    first = compare.value[0][0].start_mark
    rest = ", " if compare.flow_style else "\n" + " " * first.column
    return first.index, first.index, f"looks: {looks}{rest}"
