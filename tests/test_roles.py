"""Roles name exactly the modules meant, in every family of models that is known."""

from __future__ import annotations

import re
from typing import Any

import pytest
from torch import nn

from fairtune.core.errors import UserError
from fairtune.models.adapters import base_modules
from fairtune.models.pretrained import find_head, outline
from fairtune.models.roles import ARCHITECTURES, ROLES, pattern, shapes
from tests import tiny

# Of the first of two layers; the second has the same.
BERT = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "feedforward_in": "intermediate.dense",
    "feedforward_out": "output.dense",
}
LLAMA = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "attention_output": "self_attn.o_proj",
    "feedforward_in": "mlp.gate_proj mlp.up_proj",
    "feedforward_out": "mlp.down_proj",
}
# Several modules of one role stand side by side.
MODULES: dict[str, tuple[str, dict[str, str]]] = {
    "bert": ("bert.encoder.layer", BERT),
    "roberta": ("roberta.encoder.layer", BERT),
    "xlm-roberta": ("roberta.encoder.layer", BERT),
    "camembert": ("roberta.encoder.layer", BERT),
    "electra": ("electra.encoder.layer", BERT),
    "distilbert": (
        "distilbert.transformer.layer",
        {
            "query": "attention.q_lin",
            "key": "attention.k_lin",
            "value": "attention.v_lin",
            "attention_output": "attention.out_lin",
            "feedforward_in": "ffn.lin1",
            "feedforward_out": "ffn.lin2",
        },
    ),
    "mpnet": (
        "mpnet.encoder.layer",
        BERT
        | {
            "query": "attention.attn.q",
            "key": "attention.attn.k",
            "value": "attention.attn.v",
            "attention_output": "attention.attn.o",
        },
    ),
    "deberta-v2": (
        "deberta.encoder.layer",
        BERT | {role: f"attention.self.{role}_proj" for role in ("query", "key", "value")},
    ),
    "modernbert": (
        "model.layers",
        dict.fromkeys(("query", "key", "value"), "attn.Wqkv")
        | {
            "attention_output": "attn.Wo",
            "feedforward_in": "mlp.Wi",
            "feedforward_out": "mlp.Wo",
        },
    ),
    "llama": ("model.layers", LLAMA),
    "mistral": ("model.layers", LLAMA),
    "qwen2": ("model.layers", LLAMA),
    "qwen3": ("model.layers", LLAMA),
    "gemma": ("model.layers", LLAMA),
    "gemma2": ("model.layers", LLAMA),
    "gemma3_text": ("model.layers", LLAMA),
    "phi": (
        "model.layers",
        LLAMA
        | {
            "attention_output": "self_attn.dense",
            "feedforward_in": "mlp.fc1",
            "feedforward_out": "mlp.fc2",
        },
    ),
    "phi3": (
        "model.layers",
        LLAMA
        | dict.fromkeys(("query", "key", "value"), "self_attn.qkv_proj")
        | {"feedforward_in": "mlp.gate_up_proj"},
    ),
    "gpt2": (
        "transformer.h",
        dict.fromkeys(("query", "key", "value"), "attn.c_attn")
        | {
            "attention_output": "attn.c_proj",
            "feedforward_in": "mlp.c_fc",
            "feedforward_out": "mlp.c_proj",
        },
    ),
}
HEADS = {
    "bert": ["classifier"],
    "roberta": ["classifier"],
    "distilbert": ["pre_classifier", "classifier"],
    "mpnet": ["classifier"],
    "electra": ["classifier"],
    "deberta-v2": ["pooler", "classifier"],
    "modernbert": ["head", "classifier"],
    "albert": ["classifier"],
    **{kind: ["score"] for kind in tiny.DECODERS},
}


def linears(model: nn.Module) -> list[str]:
    return base_modules(model, [])


def model_of(kind: str) -> Any:
    return outline(tiny.config(kind))


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("role", ROLES)
def test_a_role_names_its_modules_of_each_layer_and_no_other(kind: str, role: Any) -> None:
    model = model_of(kind)
    layers, names = MODULES[kind]
    found = pattern(kind, [role], modules=[], method="x")
    matched = [name for name in linears(model) if re.fullmatch(found, name)]
    of_role = names[role].split()
    assert matched == [f"{layers}.{number}.{name}" for number in (0, 1) for name in of_role]


@pytest.mark.parametrize("kind", MODULES)
def test_all_roles_together_leave_the_pooler_and_the_head_alone(kind: str) -> None:
    model = model_of(kind)
    found = pattern(kind, ROLES, modules=[], method="x")
    others = {name.split(".")[-1] for name in linears(model) if not re.fullmatch(found, name)}
    in_layers = len(set(" ".join(MODULES[kind][1].values()).split()))
    assert sum(bool(re.fullmatch(found, name)) for name in linears(model)) == 2 * in_layers
    encoders = {"dense", "out_proj", "classifier", "pre_classifier", "embeddings_project"}
    assert others <= ({"score"} if kind in tiny.DECODERS else encoders)


def test_every_family_with_roles_is_tested() -> None:
    assert set(ARCHITECTURES) == set(MODULES)


def test_electra_s_projection_of_embeddings_has_no_role() -> None:
    model = outline(tiny.config("electra", embedding_size=32))
    assert "electra.embeddings_project" in linears(model)
    found = pattern("electra", ROLES, modules=[], method="x")
    assert not re.fullmatch(found, "electra.embeddings_project")


@pytest.mark.parametrize("kind", HEADS)
def test_the_head_is_what_lies_outside_the_base_model(kind: str) -> None:
    assert find_head(model_of(kind)) == HEADS[kind]


@pytest.mark.parametrize("kind", ["fnet", "albert"])
def test_an_unknown_architecture_is_told_its_modules_and_the_key_to_set(kind: str) -> None:
    names = linears(model_of(kind))
    with pytest.raises(UserError) as caught:
        pattern(kind, ["query"], modules=names, method="lora")
    line = str(caught.value)
    assert f"the roles of '{kind}' are not known" in line
    assert "set methods.lora.target_modules" in line
    assert all(shape in line for shape in shapes(names))


def test_shapes_show_each_kind_of_module_once() -> None:
    names = ["a.layer.0.x", "a.layer.0.y", "a.layer.11.x", "pooler", "a.layer.11.y", "h.3"]
    assert shapes(names) == ["a.layer.N.x", "a.layer.N.y", "pooler", "h.N"]
