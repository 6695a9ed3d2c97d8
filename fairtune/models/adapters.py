"""Turn a method's block into a PEFT adapter, add it, and find what it does during training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftConfig, get_peft_model
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from fairtune.core import task
from fairtune.core.errors import UserError, did_you_mean, one_line
from fairtune.core.method import Method
from fairtune.core.positions import NO_LIMIT, positions
from fairtune.models.budget import plan_ranks
from fairtune.models.conditions import check_conditions
from fairtune.models.matching import check_names
from fairtune.models.pretrained import inside
from fairtune.models.refusals import check_adapter, check_keys, heeding, keep_from_compiling
from fairtune.models.roles import pattern, shapes
from fairtune.models.values import check_values

# GPT-2 keeps its linear layers as `Conv1D`: a product with a transposed weight, and no more.
LINEAR = (nn.Linear, Conv1D)
# What fairtune itself sets in PEFT's configuration.
RESERVED = {
    "peft_type",
    "task_type",
    "modules_to_save",
    "inference_mode",
    "base_model_name_or_path",
    "revision",
    "auto_mapping",
    "peft_version",
    "fan_in_fan_out",
}


def adapter_config(
    method: Method,
    *,
    name: str,
    head: list[str],
    model: PreTrainedModel,
    steps: int | None = None,
) -> PeftConfig:
    """Return PEFT's configuration for a method's block.

    Args:
        method: the block; it names an adapter.
        name: the method's name, for errors.
        head: modules of the classification head.
        model: the model or its outline.
        steps: optimizer steps of the training to come, for adapters that plan by them; None where
            there is no training.

    Raises:
        UserError: the adapter, a keyword or a value is not one of PEFT's.
    """
    kinds = {kind.value.lower(): kind for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    kind = kinds.get(str(method.adapter).lower())
    if kind is None:
        raise UserError(
            f"methods.{name}.adapter: PEFT has no '{method.adapter}'; "
            f"{did_you_mean(str(method.adapter), kinds)}"
        )
    check_adapter(kind, method, model, name=name)
    keep_from_compiling(kind)
    config_class = PEFT_TYPE_TO_CONFIG_MAPPING[kind]
    fields = {field.name for field in dataclasses.fields(config_class)}
    keywords = dict(method.keywords)
    _check_keys(keywords, fields, method, name=name)
    check_keys(kind, keywords, name=name)
    check_values(config_class, keywords, name=name)
    check_conditions(kind, keywords, quantize=method.quantize, name=name)
    roles_of = {"target_modules": method.targets, "feedforward_modules": method.feedforward}
    for key, roles in roles_of.items():
        if roles is None:
            continue
        if key not in fields:
            raise UserError(f"methods.{name}: the adapter '{method.adapter}' takes no {key}")
        keywords[key] = pattern(
            model.config.model_type, roles, modules=base_modules(model, head), method=name
        )
    # Stored in 4 bits, a transposed weight is turned back.
    if method.quantize is None and any(isinstance(module, Conv1D) for module in model.modules()):
        _fit_transposed(keywords, fields, name=name)
    if steps is not None:
        keywords |= plan_ranks(config_class, keywords, steps=steps, name=name)
    check_names(keywords, model, head, usual=base_modules(model, head), name=name)
    if "modules_to_save" in fields:
        keywords["modules_to_save"] = list(head)
    if "progressbar" in fields:
        keywords.setdefault("progressbar", False)
    return _made(config_class, keywords, name=name)


def _made(config_class: type[PeftConfig], keywords: dict[str, Any], *, name: str) -> PeftConfig:
    """Return a configuration, or PEFT's objection to it as one line."""
    try:
        with heeding(name):
            return config_class(task_type=task.PEFT_TYPE, **keywords)
    except UserError:
        raise
    except Exception as error:  # also of a library that an adapter asks for
        raise UserError(f"methods.{name}: {one_line(error)}") from error


def _check_keys(keywords: dict[str, Any], fields: set[str], method: Method, *, name: str) -> None:
    """Refuse a keyword that PEFT does not know, or that fairtune sets."""
    for key in keywords:
        if key in RESERVED:
            raise UserError(f"methods.{name}.{key}: fairtune sets this itself; drop the key")
        if key not in fields:
            known = {*fields, *Method.model_fields} - RESERVED
            hint = did_you_mean(key, known)
            raise UserError(f"methods.{name}.{key}: unknown key for {method.adapter}; {hint}")


def _fit_transposed(keywords: dict[str, Any], fields: set[str], *, name: str) -> None:
    """Tell PEFT that weights lie transposed; refuse what it would do with them the wrong way."""
    if "fan_in_fan_out" in fields:
        keywords["fan_in_fan_out"] = True  # PEFT finds it out as well, but warns
    if keywords.get("init_lora_weights") == "olora":
        raise UserError(
            f"methods.{name}.init_lora_weights: PEFT's olora takes the transposed weights of this "
            "model's Conv1D layers for plain ones; set true, gaussian, orthogonal or pissa, or "
            "drop the key"
        )


def check_room(config: PeftConfig, model: PreTrainedModel, *, longest: int, name: str) -> None:
    """Refuse virtual tokens for which the model has no positions beside the longest text.

    Args:
        config: the adapter's.
        model: the model or its outline.
        longest: tokens of the longest text.
        name: the method's name, for errors.

    Raises:
        UserError: they are too many.
    """
    more = getattr(config, "num_virtual_tokens", None) or 0
    limit = positions(model.config.get_text_config().to_dict())
    if more and limit < NO_LIMIT and longest + more > limit:
        raise UserError(
            f"methods.{name}.num_virtual_tokens: {more} tokens beside texts of up to {longest} are "
            f"beyond what the model takes, {limit}; set encode.max_length to {limit - more} or less"
        )


def base_modules(model: nn.Module, head: list[str]) -> list[str]:
    """Return the names of the linear modules outside the head."""
    names = [name for name, module in model.named_modules() if isinstance(module, LINEAR)]
    return [name for name in names if not inside(name, head)]


def work_after_step(model: Any) -> Callable[[int], None] | None:
    """Return what a model's adapter does between the optimizer's step and the next gradients.

    AdaLoRA and its like weigh their ranks by each step's gradients there, and drop some. Takes the
    number of steps done; None where the adapter does nothing, or there is none.
    """
    tuner = model.base_model if hasattr(model, "peft_config") else None
    return getattr(tuner, "update_and_allocate", None)


def add_adapter(model: PreTrainedModel, config: PeftConfig, *, name: str, head: list[str]) -> Any:
    """Freeze the model and add the adapter; the head stays trainable.

    Raises:
        UserError: PEFT cannot apply a value, or no module matches.
    """
    modules = shapes(base_modules(model, head))
    try:
        with heeding(name):
            adapted = get_peft_model(model, config)
    except UserError:
        raise
    # A keyword of a wrong type fails wherever PEFT first uses it, with any kind of error.
    except Exception as error:
        bare = isinstance(error, StopIteration)  # of its parameters
        told = "a target has no weights" if bare else one_line(error)[:200].rstrip(".")
        line = f"methods.{name}: {told}"
        if "target" in line.lower():
            line += f"; set methods.{name}.target_modules; the model has {', '.join(modules)}"
        raise UserError(line) from error
    for key, parameter in adapted.named_parameters():
        # AdaLoRA's divisor, which PEFT does not save, would be trained where it was cast from bf16.
        if ".ranknum." in key:
            parameter.requires_grad = False
    return adapted
