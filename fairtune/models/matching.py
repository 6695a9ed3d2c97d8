"""Hold the names in a method's keys against the modules of the model.

PEFT leaves out what matches no module, and says nothing as long as something else does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from fairtune.core.errors import UserError, did_you_mean
from fairtune.models.pretrained import inside
from fairtune.models.roles import shapes

ALL = "all-linear"
IN_LAYER = re.compile(r".*?\.[^.]*\.(\d+)\.")
"""Where PEFT finds the number of a module's layer."""


def check_names(
    keywords: Mapping[str, Any],
    model: PreTrainedModel,
    head: Sequence[str],
    *,
    usual: Sequence[str],
    name: str,
) -> None:
    """Refuse names, patterns, layers and tokens that are not there, which PEFT would leave out.

    Args:
        keywords: a method's keys, `target_modules` filled in.
        model: the model or its outline.
        head: modules of the classification head, which is trained whole.
        usual: modules that adapters are for, for errors.
        name: the method's name, for errors.

    Raises:
        UserError: it names the key and what is not there.
    """
    modules = [of for of, _ in model.named_modules() if of and not inside(of, head)]
    targets = keywords.get("target_modules")
    _check_targets(targets, modules, head, usual=usual, key=f"methods.{name}.target_modules")
    adapted = [of for of in modules if _matches(targets, of)] or list(usual)
    excluded = keywords.get("exclude_modules")
    for one in excluded if isinstance(excluded, list) else [excluded]:
        if one:
            test = [one] if isinstance(excluded, list) else one
            _check_found(test, adapted, said=one, key=f"methods.{name}.exclude_modules")
    for key, patterns in keywords.items():
        if key.endswith("_pattern") and isinstance(patterns, dict):
            for one in patterns:
                test = rf"(?:.*\.)?(?:{one})"
                _check_found(test, adapted, said=one, key=f"methods.{name}.{key}")
    _check_layers(keywords, adapted, name=name)
    _check_tokens(keywords.get("trainable_token_indices"), model, name=name)


def _matches(target: Any, module: str) -> bool:
    """Return whether PEFT finds a module by a list of names, or by a pattern."""
    if isinstance(target, list):
        return any(module == one or module.endswith(f".{one}") for one in target)
    return bool(target) and re.fullmatch(target, module) is not None


def _any_matches(target: Any, modules: Iterable[str], *, key: str) -> bool:
    try:
        return any(_matches(target, of) for of in modules)
    except re.error as error:
        raise UserError(f"{key}: '{target}' is no regular expression: {error}") from error


def _check_targets(
    targets: Any, modules: Sequence[str], head: Sequence[str], *, usual: Sequence[str], key: str
) -> None:
    """Refuse a name or a pattern that matches no module outside the head."""
    listed = isinstance(targets, list)
    for one in targets if listed else [targets]:
        if not one or one == ALL or _any_matches([one] if listed else one, modules, key=key):
            continue
        if listed and any(_matches([one], part) for part in head):
            raise UserError(f"{key}: '{one}' is the head, which is trained whole; leave it out")
        known = {of.rpartition(".")[2] for of in usual}
        hint = did_you_mean(one, known).partition("known:")[0] if listed else ""
        raise UserError(
            f"{key}: '{one}' matches none of the model's modules: {hint}{', '.join(shapes(usual))}"
        )


def _check_found(target: Any, adapted: Sequence[str], *, said: str, key: str) -> None:
    """Refuse what tells adapted modules apart and matches none of them."""
    if not _any_matches(target, adapted, key=key):
        raise UserError(
            f"{key}: '{said}' matches none of the adapted modules: {', '.join(shapes(adapted))}"
        )


def _check_layers(keywords: Mapping[str, Any], adapted: Iterable[str], *, name: str) -> None:
    """Refuse numbers of layers beside a pattern, which says itself which layers it is for."""
    given = keywords.get("layers_to_transform")
    if given is None or given == []:
        return
    key = f"methods.{name}.layers_to_transform: {given!r}"
    if isinstance(keywords.get("target_modules"), str):
        raise UserError(
            f"{key} works beside a list of names alone; set target_modules to a list in place of "
            "targets or a pattern, or write the layers into a pattern"
        )
    found = {int(at[1]) for of in adapted if (at := IN_LAYER.match(of))}
    for layer in [given] if isinstance(given, int) else given:
        if layer not in found:
            said = f"{min(found)} to {max(found)}" if found else "none"
            raise UserError(f"{key}: there is no layer {layer}; found: {said}")


def _check_tokens(given: Any, model: PreTrainedModel, *, name: str) -> None:
    """Refuse numbers of tokens that a table of the model does not hold."""
    if given is None:
        return
    key = f"methods.{name}.trainable_token_indices"
    tables: dict[str, Any] = dict(model.named_modules())
    for of, tokens in given.items() if isinstance(given, dict) else [("", given)]:
        ending = [module for at, module in tables.items() if of and f".{at}".endswith(f".{of}")]
        table = next(iter(ending), None) if of else model.get_input_embeddings()
        if not isinstance(table, nn.Embedding):
            raise UserError(f"{key}: '{of}' is no table of embeddings; give a list of tokens")
        for token in tokens:
            if not 0 <= token < table.num_embeddings:
                raise UserError(
                    f"{key}: {token} is not right; expected tokens from 0 to "
                    f"{table.num_embeddings - 1}"
                )
        if not tokens:
            raise UserError(f"{key}: no token is named; name some, or drop the key")
