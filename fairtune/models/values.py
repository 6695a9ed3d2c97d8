"""Hold the values of a method's keys to the types that PEFT declares for them.

PEFT itself checks few: a wrong one fails wherever it is first used, with any kind of error, or does
nothing at all.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

from peft import PeftConfig

from fairtune.core.errors import UserError

A_NUMBER = "a number, without quotes"
PLAIN = {bool: "true or false", int: A_NUMBER, float: A_NUMBER, str: "text", type(None): "null"}


def check_values(config_class: type[PeftConfig], keywords: Mapping[str, Any], *, name: str) -> None:
    """Refuse a value that is not of its key's type, or at which an adapter stays without effect.

    Args:
        config_class: PEFT's configuration; it has all the keys.
        keywords: a method's keys.
        name: the method's name, for errors.

    Raises:
        UserError: it names the key, the value and what would be right.
    """
    hints = typing.get_type_hints(config_class)
    for key, value in keywords.items():
        right = "" if fits(value, hints[key]) else told(hints[key])
        right = right or _narrowed(key, value, hints[key])
        if right:
            raise UserError(f"methods.{name}.{key}: {value!r} is not right; expected {right}")


def _narrowed(key: str, value: Any, hint: Any) -> str:
    """Return what a value of the right type should be all the same; empty where it is right."""
    if key.endswith("_pattern") and isinstance(value, dict):
        return "" if all(map(_is_number, value.values())) else "a number for each name"
    if not _is_number(value):
        return ""
    # A fraction stands where PEFT's own papers have one.
    if hint is int and value != int(value) and not key.endswith(("alpha", "lambda")):
        return "a whole number"
    if "dropout" in key and not 0 <= value < 1:
        return "a share of 0 or more and below 1"
    if key in {"beta1", "beta2"} and not 0 < value < 1:
        return "a share above 0 and below 1"
    # The adapter is multiplied by it.
    if key.endswith("alpha") and value <= 0:
        return "a number above 0"
    return ""


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value of a YAML file is one of a type's.

    A whole number may be given where PEFT declares a float and the other way round, as LoRA's alpha
    may be any; a mapping stands for a configuration within the configuration.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return any(fits(value, one) for one in _said(inner))
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if origin in {list, tuple}:
        return isinstance(value, list) and all(fits(one, inner[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(one, inner[1]) for one in value.values())
    if hint in {int, float}:
        return _is_number(value)
    if dataclasses.is_dataclass(hint):
        of = typing.get_type_hints(hint)
        known = isinstance(value, dict) and value.keys() <= _fields(hint)
        return known and all(fits(one, of[key]) for key, one in value.items())
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value in [one.value for one in hint]
    return isinstance(value, hint) if isinstance(hint, type) else True


def told(hint: Any) -> str:
    """Return a type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(dict.fromkeys(told(one) for one in _said(inner)))
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in {list, tuple}:
        return f"a list, each {told(inner[0])}"
    if origin is dict:
        return f"a mapping, each value {told(inner[1])}"
    if hint in PLAIN:
        return PLAIN[hint]
    if dataclasses.is_dataclass(hint):
        return f"a mapping with some of {', '.join(sorted(_fields(hint)))}"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return " or ".join(str(one.value) for one in hint)
    return {list: "a list", dict: "a mapping"}.get(hint, str(hint))


def _said(hints: Iterable[Any]) -> list[Any]:
    """Return the types of a union without those that only say how another may be written."""
    made = list(hints)
    if any(isinstance(one, type) and issubclass(one, enum.Enum) for one in made):
        made = [one for one in made if one is not str]
    if any(get_origin(one) is Literal for one in made):
        made = [one for one in made if one is not str]
    if any(dataclasses.is_dataclass(one) for one in made):
        made = [one for one in made if one is not dict]
    return made


def _fields(hint: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(hint) if field.init}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
