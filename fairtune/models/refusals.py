"""What of PEFT is refused, by its key and with the reason.

Each entry would do nothing, or another thing than it is named for, and PEFT would say nothing of
it: it wants a further call, other data, or an adapter that was trained before. `docs/methods.md`
lists what works.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from peft import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.config import PromptLearningConfig
from peft.utils import PeftType
from transformers import PreTrainedModel

from fairtune.core.errors import UserError
from fairtune.core.method import Method

# They hand each layer keys and values of virtual tokens.
WITH_PAST = (PeftType.PREFIX_TUNING, PeftType.CARTRIDGE)
HEAD_FROZEN = "PEFT leaves the classification head frozen with it"
ADAPTERS: dict[PeftType, str] = {
    PeftType.ADAMSS: "it needs scikit-learn, which fairtune does not install; take lora",
    PeftType.ADAPTION_PROMPT: f"{HEAD_FROZEN}; take prefix_tuning",
    PeftType.CARTRIDGE: "its keys and values are first read from a corpus (PEFT's "
    "initialize_kv_prefix_from_text), without which it is prefix tuning; take prefix_tuning",
    PeftType.CPT: "PEFT has it for the generation of text alone; take prompt_tuning",
    PeftType.MULTITASK_PROMPT_TUNING: "it wants the number of a task with each text, and a study "
    "has one task; take prompt_tuning",
    PeftType.POLY: "it wants the number of a task with each text, and a study has one task; "
    "take lora",
    PeftType.SHADOW: "what it adds to the last block never receives a gradient, but would be "
    "counted as trained; take lora",
    PeftType.TRAINABLE_TOKENS: f"{HEAD_FROZEN}; take lora with trainable_token_indices",
    PeftType.XLORA: "it mixes adapters that were trained before; take lora",
}
# Of the other adapters PEFT reads packed weights as they lie, or trains nothing (UniLoRA).
IN_4_BITS = {
    PeftType.ADALORA,
    PeftType.BEFT,
    PeftType.BOFT,
    PeftType.FOURIERFT,
    PeftType.HIRA,
    PeftType.IA3,
    PeftType.LILY,
    PeftType.LN_TUNING,
    PeftType.LORA,
    PeftType.MISS,
    PeftType.OFT,
    PeftType.P_TUNING,
    PeftType.PREFIX_TUNING,
    PeftType.PROMPT_TUNING,
    PeftType.PVERA,
    PeftType.RANDLORA,
    PeftType.ROAD,
    PeftType.SHIRA,
    PeftType.VBLORA,
    PeftType.VERA,
    PeftType.WAVEFT,
}
BY_CALL = "needs a further call in each step (PEFT's {}), which fairtune does not make"
OF_THE_MODEL = "PEFT takes it from the model"
OF_TEXT = "the start from a text needs a tokenizer of PEFT's own; leave prompt_tuning_init out"
NOT_LINEAR = "it concerns convolutions, and there are none"
WITHOUT_CALL = "has no use without init_lora_weights of its name, which fairtune does not take"
LORA: dict[str, str] = {
    "alora_invocation_tokens": "PEFT has activated LoRA for the generation of text alone",
    "arrow_config": "it routes among adapters that were trained before",
    "corda_config": WITHOUT_CALL,
    "ensure_weight_tying": "no adapted weights are tied in a classifier",
    "eva_config": WITHOUT_CALL,
    "kasa_config": "adds a term to the loss " + BY_CALL.format("_get_kasa_loss"),
    "layer_replication": "a deeper model is another model than the other methods train",
    "loftq_config": WITHOUT_CALL,
    "lora_ga_config": WITHOUT_CALL,
    "megatron_config": "no layer is one of Megatron's",
    "megatron_core": "no layer is one of Megatron's",
    "monteclora_config": "adds a term to the loss " + BY_CALL.format("_get_monteclora_loss"),
    "qalora_group_size": "PEFT has QA-LoRA for weights packed by GPTQ alone",
    "runtime_config": "it concerns models that are partly held in the host's memory",
    "target_parameters": "it concerns experts that are no layers; set targets or target_modules",
    "use_qalora": "PEFT has QA-LoRA for weights packed by GPTQ alone",
}
OF_LORA = "AdaLoRA has it from LoRA and does not use it"
PROMPT = dict.fromkeys(
    ("token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"), OF_THE_MODEL
)
KEYS: dict[PeftType, dict[str, str]] = {
    PeftType.LORA: LORA,
    PeftType.ADALORA: LORA
    | dict.fromkeys(("alpha_pattern", "lora_bias", "use_bdlora", "use_rslora"), OF_LORA)
    | {"r": f"{OF_LORA}; set init_r and target_r", "velora_config": OF_LORA}
    | {"rank_pattern": "AdaLoRA finds the ranks itself; set init_r and target_r"},
    PeftType.HIRA: {"rank_pattern": "PEFT does not use it; set r"},
    PeftType.BOFT: {
        "boft_n_butterfly_factor": "factors beyond the first need a CUDA extension of PEFT's, "
        "which would be compiled as the training runs"
    },
    PeftType.LOHA: {"use_effective_conv2d": NOT_LINEAR},
    PeftType.LOKR: {"use_effective_conv2d": NOT_LINEAR},
    PeftType.OFT: {"module_dropout": "PEFT drops nothing by it"},
    PeftType.OSF: {"target_svd_config": "PEFT does not use it; set effective_rank"},
    PeftType.P_TUNING: PROMPT,
    PeftType.PREFIX_TUNING: PROMPT,
    PeftType.PROMPT_TUNING: PROMPT
    | dict.fromkeys(
        ("prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs"), OF_TEXT
    ),
    PeftType.PSOFT: {"psoft_alpha": "it cancels out, as PEFT divides by it what it multiplies"},
    PeftType.PVERA: {"sample_at_inference": "predictions would differ from pass to pass"},
    PeftType.VBLORA: {
        "save_only_topk_weights": "the model that is loaded again would predict otherwise"
    },
}
# Starts of LoRA that PEFT takes from data, by a further call before training. Without the call it
# starts as plain LoRA, and says nothing.
FROM_DATA = {
    "eva": "initialize_lora_eva_weights",
    "corda": "preprocess_corda",
    "lora_ga": "preprocess_loraga",
}
STARTED = ("gaussian", "mica", "olora", "orthogonal", "pissa")
STARTS = "set true, gaussian, mica, olora, orthogonal or pissa, or drop the key"


def check_adapter(kind: PeftType, method: Method, model: PreTrainedModel, *, name: str) -> None:
    """Refuse an adapter that cannot train here, or not on such a model.

    Raises:
        UserError: it names the key, and what to take instead.
    """
    adapter = kind.value.lower()
    if kind in ADAPTERS:
        raise UserError(f"methods.{name}.adapter: {adapter} is not taken: {ADAPTERS[kind]}")
    virtual = issubclass(PEFT_TYPE_TO_CONFIG_MAPPING[kind], PromptLearningConfig)
    if virtual and model.config.is_encoder_decoder:
        raise UserError(
            f"methods.{name}.adapter: {adapter} puts virtual tokens before a text, which a model "
            f"of type '{model.config.model_type}', an encoder with a decoder, does not take to "
            "classify; take lora"
        )
    takers = (model.forward, model.base_model.forward)
    takes = any("past_key_values" in inspect.signature(taker).parameters for taker in takers)
    if kind in WITH_PAST and not takes:
        raise UserError(
            f"methods.{name}.adapter: {adapter} needs past key values, which a model of "
            f"type '{model.config.model_type}' does not take; choose another adapter, such as "
            "prompt_tuning or lora"
        )
    if method.quantize and kind not in IN_4_BITS:
        raise UserError(
            f"methods.{name}.quantize: PEFT's {adapter} does not train beside weights in 4 bits "
            f"({method.quantize}); drop the key, or take lora"
        )


def check_keys(kind: PeftType, keywords: Mapping[str, Any], *, name: str) -> None:
    """Refuse keys that PEFT takes and that would do nothing, or another thing than they say.

    Raises:
        UserError: it names the key, and what to do about it.
    """
    _check_start(kind, keywords.get("init_lora_weights", True), name=name)
    start = keywords.get("prompt_tuning_init")
    if str(start).upper() == "TEXT":
        raise UserError(f"methods.{name}.prompt_tuning_init: {start} is not taken: {OF_TEXT}")
    fields = dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[kind])
    usual = {field.name: field.default for field in fields}
    for key, reason in KEYS.get(kind, {}).items():
        # What does nothing at its usual value may as well be written out.
        if key in keywords and keywords[key] != usual.get(key):
            raise UserError(f"methods.{name}.{key}: {keywords[key]!r} is not taken: {reason}")


def _check_start(kind: PeftType, start: Any, *, name: str) -> None:
    """Refuse a start of LoRA's matrices that is not what it is named for."""
    key = f"methods.{name}.init_lora_weights: {start!r}"
    if isinstance(start, str) and start in FROM_DATA:
        raise UserError(
            f"{key} needs a pass over data before training (PEFT's {FROM_DATA[start]}), which "
            f"fairtune does not make; {STARTS}"
        )
    if start == "loftq":
        raise UserError(f"{key} stores the frozen weights in its own way; set quantize to nf4")
    if str(start).startswith("pissa_niter_"):
        raise UserError(f"{key} draws at random, and anew where the model is reloaded; set pissa")
    if kind == PeftType.LORA and not isinstance(start, bool) and start not in STARTED:
        raise UserError(f"{key} is not right; {STARTS}")
    if kind == PeftType.ADALORA and isinstance(start, str):
        raise UserError(f"{key} is LoRA's, and AdaLoRA does not use it; drop the key")


@contextmanager
def heeding(name: str) -> Generator[None]:
    """Refuse what PEFT warns that it ignores; other warnings pass.

    Raises:
        UserError: something of the method's block would be ignored.
    """
    with warnings.catch_warnings(record=True) as caught:
        # PEFT's are of this kind; what the libraries say of their own future stays as it was set.
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("always", RuntimeWarning)
        yield
    for warning in caught:
        line = " ".join(str(warning.message).split())
        if re.search(r"\bignored\b", line):
            raise UserError(f"methods.{name}: {line[:200].rstrip('.')}; drop it")
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def keep_from_compiling(kind: PeftType) -> None:
    """Let BOFT compute by torch alone: at its first use, PEFT would compile a CUDA extension.

    That would take a minute or more of a training that is timed, wherever there is a compiler.
    """
    if kind == PeftType.BOFT:
        from peft.tuners.boft import layer

        vars(layer)["_FBD_CUDA"] = False
