"""Load a pretrained model with the task's head, its weights stored as a method says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from fairtune.core import task
from fairtune.core.errors import UserError, did_you_mean, one_line
from fairtune.core.method import Method
from fairtune.core.params import Model
from fairtune.core.sources import reading
from fairtune.hardware.device import Choice
from fairtune.models.roles import shapes

# More missing kinds of modules than this are another architecture, not a missing pooler.
FEW = 4


def load_config(model: Model, *, labels: int) -> PretrainedConfig:
    """Load the model's configuration, for one out of this number of classes.

    Raises:
        UserError: it cannot be had, or has fewer layers than `model.layers`.
    """
    with reading(model.name, model.revision, key="model.name") as source:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            source,
            revision=model.revision,
            trust_remote_code=False,
            **task.config_keys(labels),
        )
    if model.layers is not None:
        keep_layers(config, model.layers)
    return config


def keep_layers(config: PretrainedConfig, layers: int) -> None:
    """Let a model have its first layers alone.

    Raises:
        UserError: it has fewer, or its configuration does not tell how many.
    """
    inner = config.get_text_config()
    known = getattr(inner, "num_hidden_layers", None)
    if not isinstance(known, int) or layers > known:
        has = f"has {known}" if known else "does not tell how many it has"
        raise UserError(f"model.layers: {layers}, but the model {has}; null takes all")
    # Some families list what each layer is.
    for name, value in list(vars(inner).items()):
        if isinstance(value, list) and len(value) == known:
            setattr(inner, name, value[:layers])
    inner.num_hidden_layers = layers


def auto_class() -> Any:
    """Return Transformers' class that loads models with the task's head."""
    return getattr(transformers, task.AUTO_CLASS)


def outline(config: PretrainedConfig) -> PreTrainedModel:
    """Return the model without its weights: modules and shapes alone.

    Raises:
        UserError: Transformers has no head for the task on this type of model, or cannot make one
            of this configuration.
    """
    with torch.device("meta"):
        try:
            model: PreTrainedModel = auto_class().from_config(config)
        except Exception as error:  # a value of the configuration fails wherever it is first used
            if "Unrecognized configuration class" in str(error):
                raise UserError(
                    f"model.name: Transformers has no {task.NAME} for a model of type "
                    f"'{config.model_type}'; choose one that has, such as BERT, RoBERTa or Llama"
                ) from error
            raise UserError(
                f"model.name: no {config.model_type} can be made of its config.json, of which a "
                f"value is not right: {type(error).__name__}: {one_line(error)}"
            ) from error
    return model


def find_head(model: PreTrainedModel, wanted: Sequence[str] | None = None) -> list[str]:
    """Return the modules that make up the classification head.

    They are those outside the base model that have parameters, or those `wanted`.

    Raises:
        UserError: one of `wanted` is not there, or one of the head is left out: a quantised method
            would store it in 4 bits and never train it.
    """
    base = model.base_model_prefix
    children = [name for name, child in model.named_children() if _trainable(child)]
    outside = [name for name in children if name != base]
    known = {name for name, module in model.named_modules() if name and _trainable(module)}
    if wanted is None:
        if base not in known:
            raise UserError(
                f"model.head: a {type(model).__name__} does not tell its base model from its head; "
                f"set model.head to some of {', '.join(outside)}"
            )
        return outside
    for name in wanted:
        if name not in known:
            hint = did_you_mean(name, known).partition("known:")[0]
            raise UserError(
                f"model.head: no module '{name}' with parameters; {hint}found: {', '.join(outside)}"
            )
    left_out = [name for name in outside if base in known and not inside(name, wanted)]
    if left_out:
        raise UserError(
            f"model.head: {list(wanted)} leaves out {', '.join(left_out)}, which would stay "
            "frozen; add it, or drop the key"
        )
    return list(wanted)


def _trainable(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def inside(key: str, modules: Iterable[str]) -> bool:
    """Return whether a module or parameter is one of `modules` or lies in one."""
    return any(key == module or key.startswith(f"{module}.") for module in modules)


def load_base(
    model: Model, method: Method, *, config: PretrainedConfig, head: list[str], device: Choice
) -> tuple[PreTrainedModel, list[str]]:
    """Load the model in fp32, or its linear layers in 4 bits, with its classification head.

    Returns:
        The model, and the names of the head's parameters that the checkpoint does not hold.

    Raises:
        UserError: the weights cannot be had, or weights outside the head are missing in them.
    """
    quantization = quantized(method, head=head, device=device)
    with reading(model.name, model.revision, key="model.name") as source, _safe(model):
        loaded, report = auto_class().from_pretrained(
            source,
            revision=model.revision,
            config=config,
            dtype=torch.float32,
            quantization_config=quantization,
            device_map={"": device.torch_device} if quantization else None,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    new = sorted([*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])])
    _check_base(model, new, head)
    placed = loaded.to(device.torch_device) if quantization is None else loaded
    return placed, new


@contextmanager
def _safe(model: Model) -> Iterator[None]:
    """Say what to do about weights that are pickled, as a pickle can run code, or broken."""
    try:
        yield
    except SafetensorError as error:
        raise UserError(
            f"model.name: a .safetensors file of '{model.name}' is not whole ({one_line(error)}): "
            "fetch it anew; where it is a pointer of Git LFS, by `git lfs pull`"
        ) from error
    except OSError as error:
        # The file alone is meant, not what the file holds or the way to it.
        if "no file named" not in str(error) and "have a file named" not in str(error):
            raise
        raise UserError(
            f"model.name: '{model.name}' has no weights in safetensors; pickled ones (.bin) are "
            "not read, as they can run code: save the model anew with `save_pretrained`"
        ) from error


def quantized(method: Method, *, head: list[str], device: Choice) -> BitsAndBytesConfig | None:
    """Return how to store the frozen weights in 4 bits; None leaves them as they are."""
    if method.quantize is None:
        return None
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=method.quantize,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=device.dtype,
        # Serves 4-bit as well. It replaces the default list, which knows no such head.
        llm_int8_skip_modules=head,
    )


def _check_base(model: Model, new: list[str], head: list[str]) -> None:
    """Refuse a checkpoint that lacks weights outside the head."""
    missing = sorted({key.rpartition(".")[0] for key in new if not inside(key, head)})
    kinds = shapes(missing)
    if len(kinds) > FEW:
        raise UserError(
            f"model.name: '{model.name}' has no weights for {len(missing)} modules outside its "
            f"head ({', '.join(kinds[:FEW])}, ...): its config.json is of another model"
        )
    if missing:
        raise UserError(
            f"model.head: '{model.name}' has no weights for {', '.join(missing)}; frozen, they "
            f"would stay random: set model.head to [{', '.join([*missing, *head])}] to train them"
        )


def draw_parameters(model: PreTrainedModel, names: Iterable[str], *, seed: int) -> None:
    """Draw these parameters anew on the CPU: normal weights, biases of zero.

    Loading draws them too, but from random numbers whose use depends on how the other weights are
    stored: without this, a quantised model would begin with another head.
    """
    generator = torch.Generator().manual_seed(seed)
    std = getattr(model.config, "initializer_range", None) or 0.02
    for name in names:
        parameter = model.get_parameter(name)
        drawn = torch.zeros(parameter.shape)
        if name.endswith("weight") and parameter.dim() > 1:
            drawn.normal_(0.0, std, generator=generator)
        elif name.endswith("weight"):
            drawn.fill_(1.0)  # the scale of a normalisation layer
        with torch.no_grad():
            parameter.copy_(drawn)
