"""Which fonts a study's figures and paper take: those that come with matplotlib, where they do.

The same study then gives the same bytes on every machine. Only where a name holds letters that
these fonts lack, as Chinese ones, fonts of the machine help out.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.font_manager import FontEntry, findfont, fontManager
from matplotlib.ft2font import FT2Font

BUNDLED = ["STIXGeneral", "DejaVu Sans"]
"""STIX is what IEEE's Times is set beside; both come with matplotlib."""
REGULAR = 400
"""Weight of a font that is neither light nor bold."""
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp", "Zs", "Mn"}
"""Categories of letters that need no glyph of their own."""


@dataclass(frozen=True, kw_only=True)
class Fonts:
    """The fonts for a text, in the order in which a letter is looked for."""

    families: list[str]
    files: list[Path]
    """Of those that do not come with matplotlib."""
    missing: str
    """Letters that no font of this machine has: boxes stand for them."""


def fonts_for(text: Iterable[str]) -> Fonts:
    """Return the fonts that have the letters of a text."""
    letters = set().union(*text)
    known = set().union(*(_letters(findfont(family)) for family in BUNDLED))
    open_ = {one for one in letters - known if unicodedata.category(one) not in INVISIBLE}
    families, files = list(BUNDLED), []
    for entry in _of_the_machine() if open_ else []:
        found = open_ & _letters(entry.fname)
        if found:
            families.append(entry.name)
            files.append(Path(entry.fname))
            open_ -= found
    return Fonts(families=families, files=files, missing="".join(sorted(open_)))


def without_glyph(letters: str) -> str:
    """Return a sentence on letters that no font has, in plain letters for any terminal."""
    names = [unicodedata.name(one, f"U+{ord(one):04X}") for one in sorted(set(letters))]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"no font of this machine has {', '.join(names[:3])}{more}: boxes stand for such letters; "
        "install a font that has them, such as Noto Sans CJK"
    )


def _of_the_machine() -> list[FontEntry]:
    """Return the upright fonts by name; those of coloured pictures cannot be drawn as outlines."""
    upright = (
        e for e in fontManager.ttflist if e.style == "normal" and e.weight in (400, "normal")
    )
    usable = (e for e in upright if "Last Resort" not in e.name and "Color" not in e.name)
    return sorted(usable, key=lambda entry: (entry.name, entry.fname))


@functools.cache
def _letters(file: str) -> frozenset[str]:
    """Return the letters that a font has; none where it cannot be read."""
    try:
        return frozenset(map(chr, FT2Font(file).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
