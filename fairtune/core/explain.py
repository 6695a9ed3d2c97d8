"""Say in one line what is wrong with a value of the parameters: key, value, what would be right."""

from __future__ import annotations

import re
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from fairtune.core.errors import did_you_mean


def explain(errors: list[ErrorDetails], document: Any, root: type[BaseModel]) -> str:
    """Return one line for one key that is not right: an unknown one, else the first.

    Args:
        errors: what pydantic found, at least one.
        document: the content that it looked at.
        root: the class that describes the content.
    """
    # A misspelt key is missing under its right name as well: the misspelling says more.
    error = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    parts = _path(error, document)
    key = ".".join(parts)
    match error["type"]:
        case "missing":
            return f"{key}: missing; {_meaning(root, parts)}"
        case "extra_forbidden":
            section = _section(root, parts[:-1])
            known = section.model_fields if section else []
            return f"{key}: unknown key; {did_you_mean(parts[-1], known)}"
        case "value_error":
            return f"{key}: {error['ctx']['error']}"
    # A value that may be of several types has an error for each.
    same = [other for other in errors if _path(other, document) == parts]
    rules = " or ".join(dict.fromkeys(_rule(other) for other in same))
    value = error["input"]
    if error["type"] == "literal_error" and isinstance(value, str):
        rules += _nearest(value, str(error["ctx"]["expected"]))
    if isinstance(value, str) and error["type"] in {"float_type", "int_type"}:
        rules += ", without quotes"
    meaning = _meaning(root, parts)
    return f"{key}: {shown(value)} is not right; expected {rules}: {meaning}".rstrip(": ")


def _path(error: ErrorDetails, document: Any) -> list[str]:
    """Return the keys that lead to the value, without pydantic's own marks behind them."""
    keys: list[str] = []
    for part in error["loc"]:
        inside = isinstance(document, dict) and part in document
        listed = isinstance(document, list) and isinstance(part, int)
        if keys and not inside and not listed and error["type"] != "missing":
            break
        keys.append(str(part))
        document = document[part] if inside or listed else None
    return keys


def _rule(error: ErrorDetails) -> str:
    """Return what would be right, in words that need no knowledge of pydantic."""
    context = error.get("ctx", {})
    match error["type"]:
        case "model_type" | "dict_type":
            return "keys with values"
        case "list_type":
            return "a list"
        case "string_type":
            return "text (in quotes)"
        case "int_type" | "int_from_float":
            return "a whole number"
        case "float_type":
            return "a number"
        case "bool_type":
            return "true or false"
        case "finite_number":
            return "a finite number"
        case "greater_than_equal":
            return f"at least {context['ge']}"
        case "too_short" | "string_too_short":
            return {1: "at least one", 2: "at least two"}[context["min_length"]]
        case "string_pattern_mismatch":
            return 'a colour such as "#0072B2"'
    return error["msg"].removeprefix("Input should be ")


def _nearest(word: str, expected: str) -> str:
    """Return a hint at the choice that was meant: `'nf4' or 'fp4'` holds the choices."""
    hint = did_you_mean(word, re.findall(r"'([^']*)'", expected)).partition("known: ")[0].strip()
    return f" ({hint})" if hint else ""


def shown(value: Any) -> str:
    """Return a value as YAML has it, long ones by their kind."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping" if value else "{}"
        case list():
            return "a list" if value else "[]"
    return repr(value)


def _section(root: type[BaseModel], parts: list[str]) -> type[BaseModel] | None:
    """Return the class that describes the mapping at this path, None where there is none."""
    section: Any = root
    for part in parts:
        if get_origin(section) is dict:  # methods: a class for each key
            section = get_args(section)[1]
        elif part in section.model_fields:
            section = section.model_fields[part].annotation
        else:
            return None
        if not (get_origin(section) is dict or _is_model(section)):
            return None
    return section if _is_model(section) else None


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _meaning(root: type[BaseModel], parts: list[str]) -> str:
    """Return the documentation of the innermost field on this path."""
    for depth in range(len(parts), 0, -1):
        section = _section(root, parts[: depth - 1])
        if section and parts[depth - 1] in section.model_fields:
            field = section.model_fields[parts[depth - 1]]
            described = field.description or getattr(field.annotation, "__doc__", None) or ""
            return " ".join(described.partition("\n\n")[0].split())
    return ""
