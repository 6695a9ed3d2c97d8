"""Turn prose into Typst and Markdown: method names are set off, literal texts stay as written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from fairtune.charts.names import shown
from fairtune.report import wording

PIECE = re.compile(f"{wording.BEGIN}([^{wording.END}]*){wording.END}|`([^`{wording.BEGIN}]*)`")
TYPST_SPECIAL = re.compile(r"([\\#$*_@<>\[\]~/\-+=`])")
MARKDOWN_SPECIAL = re.compile(r"([\\*_<>|])")
# All that means something to GitHub's Markdown within a line, or at the start of one. `https://`
# and `www.` begin a link there, in which escapes count as letters.
MARKDOWN_MARKS = re.compile(
    r"""(?P<apart>\$
          |\\(?=[()\[\]])                                         # mathematics
          |:(?=(?:[\w+-]*[a-z][\w+-]*|[+-]1|100|1234):))          # the name of an emoji
       |:(?=//) |(?<=www)\.
       |[\\`*_{}\[\]<>|&~#]
       |^(?:[-+=]|\d+(?=[.)]))""",
    re.VERBOSE | re.IGNORECASE,
)
# GitHub and Jupyter look for mathematics and emojis after they have read the escapes: a mark in an
# element of its own has no partner.
APART = "<span>{}</span>"


class Raw(str):
    """Text that is already in the notation of the template."""

    __slots__ = ()


def pieces(text: str) -> Iterator[tuple[Literal["prose", "name", "literal"], str]]:
    """Yield what a text is made of, in order: prose, names of methods and literal texts."""
    end = 0
    for found in PIECE.finditer(text):
        yield "prose", text[end : found.start()]
        yield ("name", found[2]) if found[1] is None else ("literal", found[1])
        end = found.end()
    yield "prose", text[end:]


def typst_text(value: Any) -> Raw:
    """Return text in Typst's notation; names of methods become italic.

    A literal text becomes a string, in which Typst knows no marks.
    """
    if isinstance(value, Raw):
        return value
    made = []
    for kind, piece in pieces(str(value)):
        # The semicolon ends a call: a bracket or a semicolon of the text after it would else
        # belong to it.
        if kind == "literal":
            made.append(f'#"{quoted(piece)}";')
        else:
            escaped = TYPST_SPECIAL.sub(r"\\\1", piece)
            made.append(f"#emph[{escaped}];" if kind == "name" else escaped)
    return Raw("".join(made))


def quoted(text: str) -> Raw:
    """Return a text from outside for use inside a Typst string."""
    return Raw(shown(text).replace("\\", "\\\\").replace('"', '\\"'))


def cited(keys: Iterable[str]) -> Raw:
    """Return the citations of works in the paper."""
    return Raw(" ".join(f"#cite(<{key}>);" for key in keys))


def markdown_text(value: Any) -> Raw:
    """Return text in Markdown; names of methods keep their backticks."""
    if isinstance(value, Raw):
        return value
    made = []
    for kind, piece in pieces(str(value)):
        if kind == "literal":
            made.append(MARKDOWN_MARKS.sub(_escaped, piece))
        elif kind == "name":
            made.append(f"`{piece}`")
        else:
            made.append(MARKDOWN_SPECIAL.sub(r"\\\1", piece))
    return Raw("".join(made))


def _escaped(found: re.Match[str]) -> str:
    mark = found[0]
    if mark[0].isdigit():  # 1. at the start of a line: the escape belongs to the dot
        return f"{mark}\\"
    escaped = f"\\{mark}"
    return APART.format(escaped) if found["apart"] else escaped


def plain_text(text: str) -> str:
    """Return text without marks, for a terminal."""
    return "".join(piece for _, piece in pieces(text))
