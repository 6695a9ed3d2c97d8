"""How the names of classes, and other texts from outside, are shown: as written, and never empty.

Such a text may hold anything: marks of Typst, Markdown, TeX, HTML or Vega, line breaks, 80 letters.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence

JOINER = "\N{WORD JOINER}"
"""Has no width and no glyph."""
# What would end the script of the page of `dvc plots`, or be taken for a placeholder of DVC's.
PAGE_MARKS = re.compile(r"<(?=[/!])|\{(?=(?:plot_divs|refresh_tag|scripts)\})")
ELLIPSIS = "…"
# They turn the direction of all letters up to their end, which a name may lack: the text after it
# would be turned, too. Without them, letters still run in the direction of their script.
TURNS = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


def shown(text: str) -> str:
    """Return a text on one line: white space as single blanks, no control characters, not empty.

    A text of nothing that can be seen stands in quotes.
    """
    letters = (" " if letter.isspace() else letter for letter in text)
    kept = " ".join("".join(letter for letter in letters if _is_character(letter)).split())
    seen = any(unicodedata.category(letter) != "Cf" for letter in kept)
    return kept if seen else f'"{kept or " "}"'


def _is_character(letter: str) -> bool:
    """Return whether it is neither a control, half of a surrogate pair nor a noncharacter."""
    code = ord(letter)
    reserved = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF or letter in TURNS
    return not reserved and unicodedata.category(letter) not in {"Cc", "Cs"}


def distinct(texts: Iterable[str]) -> list[str]:
    """Return texts that all differ: one that is like an earlier one has a number behind it.

    Names of classes that differ in white space alone are shown alike, and long ones shortened.
    """
    made: list[str] = []
    for text in texts:
        versions = (text if place == 1 else f"{text} ({place})" for place in itertools.count(1))
        made.append(next(version for version in versions if version not in made))
    return made


def short(text: str, most: int) -> str:
    """Return a text of at most so many letters, the middle of a longer one left out.

    Names of classes often start alike, and some end alike.
    """
    if len(text) <= most:
        return text
    head = most // 2
    tail = most - 1 - head
    return f"{text[:head].rstrip()}{ELLIPSIS}{text[len(text) - tail :].lstrip()}"


def shorten(names: Sequence[str], most: int) -> list[str]:
    """Return names of `most` letters or fewer that differ where the names do.

    Of long names that `short` would make alike, the part is shown from which on they differ; what
    is still alike is numbered.
    """
    made = [short(name, most) for name in names]
    for place in range(len(names)):
        rivals = [one for one, text in enumerate(made) if text == made[place]]
        if len({names[one] for one in rivals}) > 1:
            for one, text in zip(rivals, _parted([names[r] for r in rivals], most), strict=True):
                made[one] = text
    return distinct(made)


def _parted(names: Sequence[str], most: int) -> list[str]:
    """Return a few first letters of each name, and those from which on the names differ."""
    columns = enumerate(zip(*names, strict=False))
    same = next((at for at, letters in columns if len(set(letters)) > 1), min(map(len, names)))
    head = max(1, most // 4)
    rest = most - head - len(ELLIPSIS)
    made = []
    for name in names:
        begin = max(head, min(same, len(name) - rest))
        tail = name[begin:]
        tail = tail if len(tail) <= rest else f"{tail[: rest - 1].rstrip()}{ELLIPSIS}"
        made.append(f"{name[:head].rstrip()}{ELLIPSIS}{tail}")
    return made


def for_page(text: str) -> str:
    """Return a text that can stand in the page of `dvc plots`, which DVC does not see to.

    DVC writes records into a script, where `</script>` would end it: an invisible character stands
    between the letters of such marks. `plain` takes it out again.
    """
    return PAGE_MARKS.sub(lambda mark: mark[0] + JOINER, text)


def plain(text: str) -> str:
    """Return a text of a record as it is printed."""
    return text.replace(JOINER, "")
