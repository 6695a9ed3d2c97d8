"""Where each family of models keeps its query, key, value and feed-forward modules.

Roles are matched by a full regular expression anchored at the layer number: a bare suffix such as
`output.dense` would also match `attention.output.dense`, and `dense` the head and the pooler.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import get_args

from fairtune.core.errors import UserError
from fairtune.core.method import Role

# In the order of the names below.
ROLES: tuple[Role, ...] = get_args(Role)
# Where two modules share a role, both are named.
Names = tuple[str | tuple[str, ...], ...]

_BERT = (
    "encoder.layer",
    (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ),
)
_DISTILBERT = (
    "transformer.layer",
    (
        "attention.q_lin",
        "attention.k_lin",
        "attention.v_lin",
        "attention.out_lin",
        "ffn.lin1",
        "ffn.lin2",
    ),
)
_MPNET = (
    "encoder.layer",
    (
        "attention.attn.q",
        "attention.attn.k",
        "attention.attn.v",
        "attention.attn.o",
        "intermediate.dense",
        "output.dense",
    ),
)
_DEBERTA = (
    "encoder.layer",
    (
        "attention.self.query_proj",
        "attention.self.key_proj",
        "attention.self.value_proj",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ),
)
# ModernBERT projects query, key and value in one matrix: a role among them adapts all three.
_MODERNBERT = ("layers", ("attn.Wqkv", "attn.Wqkv", "attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"))
# Gated feed-forward layers have two ways in.
_LLAMA = (
    "layers",
    (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        ("mlp.gate_proj", "mlp.up_proj"),
        "mlp.down_proj",
    ),
)
_PHI = (
    "layers",
    (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.dense",
        "mlp.fc1",
        "mlp.fc2",
    ),
)
# These two project query, key and value in one matrix as well; Phi-3 also both ways in.
_PHI3 = (
    "layers",
    (
        "self_attn.qkv_proj",
        "self_attn.qkv_proj",
        "self_attn.qkv_proj",
        "self_attn.o_proj",
        "mlp.gate_up_proj",
        "mlp.down_proj",
    ),
)
_GPT2 = (
    "h",
    ("attn.c_attn", "attn.c_attn", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
)

ARCHITECTURES: dict[str, tuple[str, Names]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "electra": _BERT,
    "distilbert": _DISTILBERT,
    "mpnet": _MPNET,
    "deberta-v2": _DEBERTA,
    "modernbert": _MODERNBERT,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3_text": _LLAMA,
    "phi": _PHI,
    "phi3": _PHI3,
    "gpt2": _GPT2,
}


def pattern(model_type: str, roles: Sequence[Role], *, modules: Iterable[str], method: str) -> str:
    """Return the regular expression that fully matches the modules with these roles.

    Raises:
        UserError: the architecture is unknown; gives the names of `modules` and the parameter to
            set.
    """
    if model_type not in ARCHITECTURES:
        raise UserError(
            f"methods.{method}.targets: the roles of '{model_type}' are not known; drop "
            f"'targets' and set methods.{method}.target_modules to a regular expression over its "
            f"modules: {', '.join(shapes(modules))}"
        )
    layer, names = ARCHITECTURES[model_type]
    of_roles = [names[ROLES.index(role)] for role in roles]
    modules_of = [(name,) if isinstance(name, str) else name for name in of_roles]
    chosen = dict.fromkeys(re.escape(name) for several in modules_of for name in several)
    return rf"(?:.*\.)?{re.escape(layer)}\.\d+\.(?:{'|'.join(chosen)})"


def shapes(modules: Iterable[str]) -> list[str]:
    """Return module names with layer numbers as `N`, each once, in their order."""
    return list(dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", ".N", name) for name in modules))
