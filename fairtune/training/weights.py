"""Write what a training made: a whole model, or the adapter and the head, ready to be loaded.

The folder holds what Transformers and PEFT look for in one: the weights, the tokenizer as the study
used it, the classes' names, and of an adapter the name of the model that it belongs to.

    config.json, model.safetensors                  the whole model, or
    adapter_config.json, adapter_model.safetensors  the adapter and the head, and
    base/config.json                                the model that they fit: its classes and layers
    tokenizer.json, tokenizer_config.json, ...      the tokenizer

An adapter has its model's configuration in a folder of its own: beside the adapter, Transformers
would take it for the sign of a whole model.
"""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

from fairtune.core.files import write_json
from fairtune.core.params import Model, Params
from fairtune.core.published import base_name
from fairtune.core.units import MIB

BASE = "base"
"""Folder of the configuration of an adapter's model."""
ADAPTER_CONFIG = "adapter_config.json"
TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
# What `encode.keep` is to a tokenizer. To keep both ends is nothing that a tokenizer can do: it
# cuts the end off then, and reads long texts otherwise than the study did.
SIDES = {"head": "right", "tail": "left", "both": "right"}

# A tokenizer that parts special tokens in a text (`fairtune.data.tokenization`) is to be read as it
# was written: its family's own class would make it anew of the vocabulary, and not part them.
AS_WRITTEN = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_input_names": ["input_ids", "attention_mask"],
}


def save(model: Any, folder: Path) -> float:
    """Write the weights as safetensors; return their size in MiB. Training is over then.

    That is what must be shipped besides the pretrained model. The tokenizer is not counted: it is
    the pretrained model's.
    """
    folder.mkdir(parents=True)
    model.eval()  # P-tuning's prompts are computed as they are saved: without dropout
    # PEFT would ask the Hub for the base model's vocabulary to decide on the embeddings.
    wrapped = hasattr(model, "peft_config")
    with warnings.catch_warnings():
        # PEFT takes the bias of a LoRA layer, and a layer whose ranks AdaLoRA dropped, for matrices
        # that lost a dimension.
        warnings.filterwarnings("ignore", message="Adapter .* LoRA tensor.* have invalid shape")
        model.save_pretrained(folder, **({"save_embedding_layers": False} if wrapped else {}))
    if wrapped:
        # PEFT's form of a card names a path of this machine.
        (folder / "README.md").unlink(missing_ok=True)
        base_config(model.get_base_model()).save_pretrained(folder / BASE)
    return round(sum(path.stat().st_size for path in folder.glob("*.safetensors")) / MIB, 3)


def base_config(base: Any) -> Any:
    """Return the configuration that an adapter's model is loaded with from its own weights.

    How this training stored them, in 4 bits or not, is no part of it: that they lie in 4 bits on
    disk is what Transformers would take it for.
    """
    config = copy.deepcopy(base.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(base).__name__]
    return config


def complete(folder: Path, *, tokenizer: Path, study: Params) -> None:
    """Add the tokenizer to saved weights, and name an adapter's model as others know it.

    Args:
        folder: of the weights.
        tokenizer: folder of the tokenizer of the token cache.
        study: the parameters, Hub revisions as commits.
    """
    for path in sorted(tokenizer.iterdir()):
        shutil.copyfile(path, folder / path.name)
    rewrite(
        folder / TOKENIZER_CONFIG,
        model_max_length=study.encode.max_length,
        truncation_side=SIDES[study.encode.keep],
        padding_side="right",
        **(AS_WRITTEN if parts_special_tokens(folder / TOKENIZER_JSON) else {}),
    )
    name_base(folder, study.model)


def name_base(folder: Path, model: Model) -> None:
    """Name an adapter's model as others know it; a whole model has none.

    Args:
        folder: of the weights.
        model: the pretrained one, a Hub revision as the commit.
    """
    if (folder / ADAPTER_CONFIG).exists():
        name, revision = base_name(model.name, model.revision)
        rewrite(folder / ADAPTER_CONFIG, base_model_name_or_path=name, revision=revision)


def parts_special_tokens(path: Path) -> bool:
    """Return whether a tokenizer's normalizer takes special tokens in a text apart."""
    if not path.exists():
        return False
    content = json.loads(path.read_text(encoding="utf-8"))
    special = {token["content"] for token in content["added_tokens"] if token["special"]}
    steps = (content["normalizer"] or {}).get("normalizers", [])
    return any(step.get("pattern", {}).get("String") in special for step in steps)


def rewrite(path: Path, **values: Any) -> None:
    """Set keys of a JSON file that holds an object."""
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | values)
