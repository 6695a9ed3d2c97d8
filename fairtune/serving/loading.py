"""Load a trained model from its folder: the whole model, or base and adapter."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from fairtune.core import task
from fairtune.core.errors import UserError
from fairtune.core.method import Method
from fairtune.core.params import Model


def load(
    model: Model, method: Method, *, folder: Path, labels: int, pad_token_id: int, chosen: Any
) -> Any:
    """Return a trained model on the device, its frozen weights stored as the method says.

    Args:
        model: the pretrained model.
        method: the method's block of the parameters.
        folder: of the weights.
        labels: how many classes there are.
        pad_token_id: token that fills up batches.
        chosen: the device.

    Raises:
        UserError: the weights are not there, or the pretrained model cannot be had.
    """
    from peft import PeftModel
    from transformers.utils import logging

    from fairtune.models.build import head_modules
    from fairtune.models.last_token import settle_padding
    from fairtune.models.pretrained import auto_class, load_base, load_config

    if not any(folder.glob("*.safetensors")):
        name, seed = folder.parts[-3:-1]
        raise UserError(f"{folder}: no weights here; run `dvc repro train@{name}-{seed}`")
    logging.disable_progress_bar()  # it draws where nobody watches, too
    if method.adapter is None:
        # Classes that are named as Transformers would name them are not in what was saved.
        keys = task.config_keys(labels)
        whole = auto_class().from_pretrained(folder, use_safetensors=True, **keys)
        settle_padding(whole, pad_token_id)
        return whole.to(chosen.torch_device)
    config = load_config(model, labels=labels)
    head = model.head or head_modules(config)
    base, _ = load_base(model, method, config=config, head=head, device=chosen)
    settle_padding(base, pad_token_id)
    with warnings.catch_warnings():
        # AdaLoRA keeps the ranks that it found in LoRA's key for those that a user sets.
        warnings.filterwarnings("ignore", message="The following rank_pattern keys did not match")
        adapted = PeftModel.from_pretrained(base, str(folder)).to(chosen.torch_device)
    if method.quantize:
        restore(adapted, folder)
    return adapted


def restore(model: Any, folder: Path) -> None:
    """Give the adapter's parameters the very values that were saved.

    Beside 4-bit weights whose products are in bf16, PEFT makes AdaLoRA's matrices anew in bf16, and
    rounds what it reads into them.

    Args:
        model: wrapped by PEFT, its adapter loaded.
        folder: of the adapter's weights.
    """
    from peft.utils import SAFETENSORS_WEIGHTS_NAME
    from safetensors.torch import load_file

    from fairtune.models.saved_form import ADAPTER

    saved = load_file(folder / SAFETENSORS_WEIGHTS_NAME)
    for name, parameter in model.named_parameters():
        value = saved.get(name.replace(f".{ADAPTER}", ""))
        if value is not None and value.shape == parameter.shape:
            parameter.data.copy_(value)
