"""Every method builds on every known model, trains what it should, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import RobertaConfig

from fairtune.core.errors import UserError
from fairtune.core.method import Method
from fairtune.core.params import Model, Train
from fairtune.hardware.device import choose
from fairtune.models.adapters import adapter_config, add_adapter, work_after_step
from fairtune.models.audit import audit_weights, check_audit, count_parameters, is_4bit
from fairtune.models.build import Built, build
from fairtune.models.pretrained import find_head, load_base, load_config, outline
from tests import tiny

Encoder = Callable[..., Path]
ENCODERS = ("bert", "roberta", "distilbert", "mpnet", "electra", "deberta-v2", "modernbert")
KINDS = (*ENCODERS, *tiny.DECODERS)
LORA = {"adapter": "lora", "targets": ["query", "value"], "r": 2}
IA3 = {
    "adapter": "ia3",
    "targets": ["key", "value", "feedforward_out"],
    "feedforward": ["feedforward_out"],
}
METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": LORA,
    "qlora": {**LORA, "quantize": "nf4"},
    "ia3": IA3,
}
CPU = choose(Train(epochs=1, batch_size=4, device="cpu", precision="fp32"))


def made(
    folder: Path,
    block: dict[str, Any],
    *,
    name: str = "x",
    seed: int = 1,
    steps: int | None = None,
    longest: int = 0,
    **model: Any,
) -> Built:
    return build(
        Model(name=str(folder), **model),
        Method(learning_rate=0.01, **block),
        name=name,
        labels=3,
        device=CPU,
        seed=seed,
        steps=steps,
        pad_token_id=0,
        longest=longest,
    )


def trained(built: Built) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in built.model.named_parameters() if p.requires_grad}


def loss(built: Built) -> torch.Tensor:
    ids = torch.randint(5, 60, (6, 12), generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    out: torch.Tensor = built.model(
        input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels
    ).loss
    return out


def step(built: Built) -> tuple[float, float]:
    """Train some steps on one batch; return the loss before and after."""
    built.model.train()
    optimizer = torch.optim.AdamW(trained(built).values(), lr=0.01)
    losses = []
    for _ in range(8):
        now = loss(built)
        optimizer.zero_grad()
        now.backward()
        optimizer.step()
        losses.append(now.item())
    return losses[0], losses[-1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_its_head_and_adapter_and_the_loss_falls(
    encoder: Encoder, kind: str, name: str
) -> None:
    built = made(encoder(kind), METHODS[name], name=name)
    frozen = {
        key: p.detach().clone() for key, p in built.model.named_parameters() if not p.requires_grad
    }
    before, after = step(built)
    assert after < before
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained(built).values())
    now = dict(built.model.named_parameters())
    assert all(torch.equal(now[key], first) for key, first in frozen.items())
    assert built.counts.trainable == built.counts.adapter + (
        built.counts.total if name == "full" else built.counts.head
    )


@pytest.mark.parametrize("kind", KINDS)
def test_lora_adapts_query_and_value_alone(encoder: Encoder, kind: str) -> None:
    adapted = made(encoder(kind), LORA).audit.adapted_modules
    ends = {name.rpartition(".")[2] for name in adapted}
    expected = {
        "modernbert": {"Wqkv"},
        "distilbert": {"q_lin", "v_lin"},
        "mpnet": {"q", "v"},
        "deberta-v2": {"query_proj", "value_proj"},
        "phi3": {"qkv_proj"},
        "gpt2": {"c_attn"},
    }
    usual = {"query", "value"} if kind in ENCODERS else {"q_proj", "v_proj"}
    assert ends == expected.get(kind, usual)
    assert len(adapted) == 2 * len(ends)


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_model_is_in_4_bits_outside_its_head_and_nowhere_trained_so(
    encoder: Encoder, kind: str
) -> None:
    built = made(encoder(kind), METHODS["qlora"])
    quantised = built.audit.quantized_modules
    assert len(quantised) >= 4 * 2
    assert not [name for name in quantised for module in built.head if module in name.split(".")]
    assert built.audit.trainable_dtypes == ["float32"]
    assert built.audit.head_dtypes == ["float32"]
    packed = [p for p in built.model.parameters() if p.dtype == torch.uint8]
    assert len(packed) == len(quantised)
    assert not any(p.requires_grad for p in packed)


def test_a_quantised_model_counts_the_parameters_that_its_bytes_hold(encoder: Encoder) -> None:
    lora, qlora = made(encoder(), LORA), made(encoder(), METHODS["qlora"])
    assert qlora.counts == lora.counts


def test_double_quantisation_and_the_type_of_4_bits_are_in_force(encoder: Encoder) -> None:
    for kind in ("nf4", "fp4"):
        built = made(encoder(), {**LORA, "quantize": kind})
        states = [m.weight.quant_state for m in built.model.modules() if is_4bit(m)]
        assert {state.quant_type for state in states} == {kind}
        assert all(state.nested for state in states)


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta-v2", "llama", "gpt2"])
def test_the_head_starts_from_the_same_weights_in_all_methods_of_a_seed(
    encoder: Encoder, kind: str
) -> None:
    hashes = {made(encoder(kind), block, seed=7).head_sha256 for block in METHODS.values()}
    assert len(hashes) == 1
    assert made(encoder(kind), {}, seed=8).head_sha256 not in hashes


def test_two_builds_of_one_seed_are_the_same_to_the_last_parameter(encoder: Encoder) -> None:
    one, other = (dict(made(encoder(), LORA, seed=3).model.named_parameters()) for _ in range(2))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("block", "total", "trainable", "adapter"),
    [
        ({}, 124_647_170, 124_647_170, 0),
        ({**LORA, "r": 8}, 124_647_170 + 294_912, 887_042, 294_912),
        ({"adapter": "ia3"}, 124_647_170 + 64_512, 656_642, 64_512),
        (IA3, 124_647_170 + 55_296, 647_426, 55_296),
    ],
    ids=["full", "lora", "ia3 with the targets of PEFT", "ia3 as in the paper"],
)
def test_roberta_base_has_the_published_counts(
    block: dict[str, Any], total: int, trainable: int, adapter: int
) -> None:
    shape = RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, num_labels=2
    )
    model: Any = outline(shape)
    head = find_head(model)
    if block:
        method = Method(learning_rate=0.01, **block)
        config = adapter_config(method, name="x", head=head, model=model)
        with torch.device("meta"):
            model = add_adapter(model, config, name="x", head=head)
    counts = count_parameters(model, head)
    assert (counts.total, counts.trainable) == (total, trainable)
    assert (counts.adapter, counts.head) == (adapter, 592_130)


def test_an_adapter_that_takes_no_conv1d_says_so(encoder: Encoder) -> None:
    with pytest.raises(UserError, match=r"^methods\.x: .*Conv1D.* not supported, .*; set methods"):
        made(encoder("gpt2"), {"adapter": "loha", "targets": ["query", "value"], "r": 2})


@pytest.mark.parametrize("kind", ["bert", "roberta", "llama"])
@pytest.mark.parametrize(
    "block",
    [
        {**LORA, "use_dora": True},
        {"adapter": "vera", "targets": ["query", "value"], "r": 4},
        {"adapter": "loha", "targets": ["query", "value"], "r": 2},
        {"adapter": "prompt_tuning", "num_virtual_tokens": 4},
        {**IA3, "quantize": "nf4"},
    ],
    ids=["DoRA", "VeRA", "LoHa", "prompt tuning", "quantised IA3"],
)
def test_a_fifth_method_is_a_block_of_yaml_and_trains(
    tmp_path: Path, encoder: Encoder, kind: str, block: dict[str, Any]
) -> None:
    from fairtune.core import params

    tiny.write_study(tmp_path, {"methods.fifth": {"learning_rate": 0.01, **block}})
    method = params.load(tmp_path / "params.yaml").method("fifth")
    built = build(
        Model(name=str(encoder(kind))), method, name="fifth", labels=3, device=CPU, seed=1
    )
    before, after = step(built)
    assert after < before
    assert built.counts.adapter > 0
    assert built.counts.trainable == built.counts.adapter + built.counts.head


def widths(kind: str) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return the (in, out) of the modules of each role in one layer, from the configuration."""
    shape = tiny.config(kind)
    width, heads = shape.hidden_size, shape.num_attention_heads
    of_head = getattr(shape, "head_dim", None) or width // heads
    query = heads * of_head
    kv = (getattr(shape, "num_key_value_heads", None) or heads) * of_head
    inner = shape.n_inner if kind == "gpt2" else shape.intermediate_size
    roles = {
        "query": ((width, query),),
        "key": ((width, kv),),
        "value": ((width, kv),),
        "attention_output": ((query, width),),
        "feedforward_in": ((width, inner),) * (1 if kind in {"phi", "gpt2"} else 2),
        "feedforward_out": ((inner, width),),
    }
    if kind in {"phi3", "gpt2"}:
        roles |= dict.fromkeys(("query", "key", "value"), ((width, query + 2 * kv),))
    if kind == "phi3":
        roles["feedforward_in"] = ((width, 2 * inner),)
    return roles


def weights_of(kind: str) -> int:
    """Return the parameters of a tiny decoder without its head, from the configuration."""
    shape, of = tiny.config(kind, vocabulary=400), widths(kind)
    width, layers = shape.hidden_size, shape.num_hidden_layers
    fused = kind in {"phi3", "gpt2"}
    roles = [role for role in of if not (fused and role in {"key", "value"})]
    layer = sum(inner * outer for role in roles for inner, outer in of[role])
    biased = {"phi": list(of), "gpt2": roles, "qwen2": ["query", "key", "value"]}.get(kind, [])
    layer += sum(outer for role in biased for _, outer in of[role])
    norms = {"phi": 2, "gpt2": 4, "gemma2": 4, "gemma3_text": 4}.get(kind, 2) * width
    if kind in {"qwen3", "gemma3_text"}:  # those of query and key, over a head
        norms += 2 * shape.head_dim
    last = width
    if kind in {"phi", "gpt2"}:  # layer normalisation has a bias
        norms, last = (2 if kind == "phi" else 4) * width, 2 * width
    places = shape.max_position_embeddings * width if kind == "gpt2" else 0
    return int(400 * width + places + layers * (layer + norms) + last)


@pytest.mark.parametrize("kind", tiny.DECODERS)
def test_a_decoder_has_the_counts_that_follow_from_its_configuration(
    encoder: Encoder, kind: str
) -> None:
    of, rank = widths(kind), LORA["r"]
    fused = kind in {"phi3", "gpt2"}
    head, layers = 64 * 3, 2
    whole = weights_of(kind) + head
    adapted = of["query"] if fused else of["query"] + of["value"]
    lora = layers * sum(rank * (inner + outer) for inner, outer in adapted)
    scaled = of["key"] if fused else of["key"] + of["value"]
    # Of what is scaled on its way in, the width of the input counts.
    ia3 = layers * (sum(outer for _, outer in scaled) + of["feedforward_out"][0][0])
    expected = {
        "full": (whole, whole, 0, head),
        "lora": (whole + lora, lora + head, lora, head),
        "qlora": (whole + lora, lora + head, lora, head),
        "ia3": (whole + ia3, ia3 + head, ia3, head),
    }
    for name, block in METHODS.items():
        counts = made(encoder(kind), block).counts
        found = (counts.total, counts.trainable, counts.adapter, counts.head)
        assert found == expected[name], name


@pytest.mark.parametrize("kind", tiny.DECODERS)
def test_lora_on_both_ways_into_a_feed_forward_layer_counts_each(
    encoder: Encoder, kind: str
) -> None:
    built = made(encoder(kind), {"adapter": "lora", "targets": ["feedforward_in"], "r": 2})
    shapes_of = widths(kind)["feedforward_in"]
    assert built.counts.adapter == 2 * sum(2 * (inner + outer) for inner, outer in shapes_of)
    assert len(built.audit.adapted_modules) == 2 * len(shapes_of)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_weights_in_4_bits_compute_nearly_what_they_did(encoder: Encoder, kind: str) -> None:
    # GPT-2's lie transposed; packed as they lie, nothing would be near.
    ids = torch.randint(5, 60, (6, 12), generator=torch.Generator().manual_seed(0))

    def hidden(block: dict[str, Any]) -> torch.Tensor:
        base = made(encoder(kind), block).model.get_base_model().eval().base_model
        with torch.inference_mode():
            out: torch.Tensor = base(input_ids=ids).last_hidden_state
        return out

    whole, packed = hidden(LORA), hidden(METHODS["qlora"])
    assert not torch.equal(whole, packed)
    assert torch.nn.functional.cosine_similarity(whole, packed, dim=-1).min() > 0.98


@pytest.mark.parametrize("kind", ["llama", "phi3", "gpt2"])
@pytest.mark.parametrize("name", ["lora", "ia3"])
def test_a_decoder_predicts_the_same_with_the_adapter_merged(
    encoder: Encoder, kind: str, name: str
) -> None:
    built = made(encoder(kind), METHODS[name])
    step(built)
    model = built.model.eval()
    with torch.inference_mode():
        before = loss(built)
        with model.disable_adapter():
            assert not torch.allclose(loss(built), before, atol=1e-3)
        model.merge_adapter()
        assert torch.allclose(loss(built), before, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet", "gpt2", "llama"])
@pytest.mark.parametrize("adapter", ["prompt_tuning", "p_tuning"])
def test_virtual_tokens_have_room_beside_the_longest_text_or_are_refused(
    encoder: Encoder, kind: str, adapter: str
) -> None:
    block = {"adapter": adapter, "num_virtual_tokens": 4}
    line = (
        r"^methods\.x\.num_virtual_tokens: 4 tokens beside texts of up to 61 .* takes, 64; "
        "set encode.max_length to 60 or less$"
    )
    with pytest.raises(UserError, match=line):
        made(encoder(kind), block, longest=61)
    model = made(encoder(kind), block, longest=60).model
    ids = torch.full((2, 60), 7)
    assert model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.shape == (2, 3)


def test_relative_positions_leave_room_for_any_virtual_tokens(encoder: Encoder) -> None:
    block = {"adapter": "prompt_tuning", "num_virtual_tokens": 4}
    assert made(encoder("deberta-v2"), block, longest=200).counts.adapter == 4 * 64


@pytest.mark.parametrize("kind", ["mpnet", "deberta-v2", "modernbert"])
def test_prefix_tuning_is_refused_where_a_model_takes_no_past(encoder: Encoder, kind: str) -> None:
    block = {"adapter": "prefix_tuning", "num_virtual_tokens": 4}
    line = rf"^methods\.x\.adapter: prefix_tuning needs past .* type '{kind}' does not take; choose"
    with pytest.raises(UserError, match=line):
        made(encoder(kind), block)
    for able in ("bert", "gpt2", "llama"):
        before, after = step(made(encoder(able), block))
        assert after < before


def test_dora_adds_one_number_for_each_output_of_what_lora_adapts(encoder: Encoder) -> None:
    lora, dora = made(encoder(), LORA), made(encoder(), {**LORA, "use_dora": True})
    assert dora.counts.adapter - lora.counts.adapter == 4 * 64


def test_a_checkpoint_without_pooler_is_refused_with_the_key_that_helps(
    tmp_path: Path, encoder: Encoder
) -> None:
    folder = stripped(encoder("bert"), tmp_path / "bert", drop="pooler.")
    with pytest.raises(UserError, match=r"^model\.head: .* has no weights for bert\.pooler\.dense"):
        made(folder, LORA)
    built = made(folder, METHODS["qlora"], head=["bert.pooler.dense", "classifier"])
    assert built.counts.head == 64 * 64 + 64 + 64 * 3 + 3
    assert not [name for name in built.audit.quantized_modules if "pooler" in name]
    before, after = step(built)
    assert after < before


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, encoder: Encoder) -> None:
    folder = stripped(encoder("bert"), tmp_path / "bert", drop="encoder.")
    with pytest.raises(UserError, match=r"^model\.name: .* its config\.json is of another model"):
        made(folder, {})


def stripped(source: Path, folder: Path, *, drop: str) -> Path:
    """Copy a checkpoint without the weights whose names begin with `drop`."""
    folder.mkdir()
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    weights = load_file(source / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith(drop)}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("block", METHODS.values(), ids=METHODS)
def test_a_trained_head_of_the_same_shape_is_kept(encoder: Encoder, block: dict[str, Any]) -> None:
    folder = encoder("roberta", head=3)
    built = made(folder, block)
    stored = load_file(folder / "model.safetensors")["classifier.out_proj.weight"]
    names = [name for name in trained(built) if name.endswith("out_proj.weight")]
    assert len(names) == 1
    assert torch.equal(trained(built)[names[0]], stored)


@pytest.mark.parametrize("block", METHODS.values(), ids=METHODS)
def test_the_last_layer_of_a_trained_head_of_another_shape_is_drawn_anew(
    encoder: Encoder, block: dict[str, Any]
) -> None:
    folder = encoder("roberta", head=5)
    parameters = trained(made(folder, block, seed=1))
    last = {name.rpartition(".")[2]: p for name, p in parameters.items() if "out_proj." in name}
    assert last["weight"].shape == (3, 64)
    assert 0.01 < last["weight"].std().item() < 0.03
    assert last["bias"].abs().sum().item() == 0
    again = made(folder, block, seed=2)
    assert made(folder, {}, seed=1).head_sha256 != again.head_sha256


def test_a_regression_checkpoint_is_trained_to_classify(tmp_path: Path) -> None:
    tiny.write_encoder(tmp_path / "bert", problem_type="regression")
    assert made(tmp_path / "bert", {}).model.config.problem_type == "single_label_classification"


def test_the_check_refuses_a_head_that_was_quantised(encoder: Encoder) -> None:
    source = Model(name=str(encoder("distilbert", head=3)))
    method = Method(learning_rate=0.01, quantize="nf4", **LORA)
    config = load_config(source, labels=3)
    # As transformers' own default would leave it: nothing of the head is spared.
    base, _ = load_base(source, method, config=config, head=["nothing"], device=CPU)
    head = ["pre_classifier", "classifier"]
    assert is_4bit(base.get_submodule("classifier"))
    audit, counts = audit_weights(base, head), count_parameters(base, head)
    with pytest.raises(UserError, match="the head holds float32, uint8"):
        check_audit(audit, counts, method, name="qlora")


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_biases_of_4_bit_layers_are_not_trained(encoder: Encoder, bias: str) -> None:
    with pytest.raises(UserError, match=r"methods\.x\.bias: .* in 4 bits, cannot be trained"):
        made(encoder(), {**LORA, "quantize": "nf4", "bias": bias})
    assert made(encoder(), {**LORA, "bias": bias}).counts.trainable > 0


def test_the_check_refuses_a_frozen_head(encoder: Encoder) -> None:
    # The adapter is larger than the head: its size does not make up for what is frozen.
    built = made(encoder("distilbert"), {**LORA, "r": 32})
    assert built.counts.adapter > built.counts.head
    for name, parameter in built.model.named_parameters():
        if "pre_classifier" in name:
            parameter.requires_grad_(False)
    method = Method(learning_rate=0.01, **LORA)
    audit = audit_weights(built.model, built.head)
    counts = count_parameters(built.model, built.head)
    with pytest.raises(UserError, match="the head is frozen"):
        check_audit(audit, counts, method, name="lora")


@pytest.mark.parametrize(
    ("kind", "head", "line"),
    [
        ("distilbert", ["classifier"], "leaves out pre_classifier"),
        ("bert", ["bert.pooler.dense"], "leaves out classifier"),
        ("bert", ["clasifier"], "no module 'clasifier' with parameters; did you mean 'classifier'"),
        ("bert", ["dropout"], "no module 'dropout' with parameters"),
    ],
)
@pytest.mark.parametrize("name", ["full", "qlora"])
def test_a_head_named_wrongly_is_refused(
    encoder: Encoder, kind: str, head: list[str], line: str, name: str
) -> None:
    with pytest.raises(UserError, match=r"^model\.head: ") as caught:
        made(encoder(kind, head=3), METHODS[name], head=head)
    assert line in str(caught.value)


@pytest.mark.parametrize("kind", ["fnet", "albert"])
def test_an_unknown_architecture_trains_once_its_modules_are_named(
    encoder: Encoder, kind: str
) -> None:
    with pytest.raises(UserError, match=f"the roles of '{kind}' are not known"):
        made(encoder(kind), LORA)
    ends = {"fnet": r".*\.(intermediate|output)\.dense", "albert": r".*\.(query|value)"}
    built = made(encoder(kind), {"adapter": "lora", "target_modules": ends[kind], "r": 2})
    before, after = step(built)
    assert after < before


def test_the_hub_path_reads_a_roberta_folder_with_a_revision(encoder: Encoder) -> None:
    built = made(encoder("roberta"), LORA, revision="e2da8e2f811d1448a5b465c236feacd80ffbac7b")
    assert built.model.config.model_type == "roberta"
    assert built.head == ["classifier"]


@pytest.mark.parametrize("start", ["eva", "corda", "lora_ga"])
def test_a_start_that_is_taken_from_data_is_refused_with_the_call_that_is_missing(
    encoder: Encoder, start: str
) -> None:
    line = rf"^methods\.x\.init_lora_weights: '{start}' needs a pass over data .* set true"
    with pytest.raises(UserError, match=line):
        made(encoder(), {**LORA, "init_lora_weights": start})


@pytest.mark.parametrize("start", [True, "gaussian", "olora", "orthogonal", "pissa"])
def test_the_starts_that_are_named_as_right_train(encoder: Encoder, start: bool | str) -> None:
    before, after = step(made(encoder(), {**LORA, "init_lora_weights": start}))
    assert after < before


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize(
    "changes",
    [
        {"init_lora_weights": True},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "pissa"},
        {"use_dora": True},
    ],
    ids=["plain", "gaussian", "pissa", "DoRA"],
)
def test_a_start_leaves_what_a_decoder_computes_as_it_was(
    encoder: Encoder, kind: str, changes: dict[str, Any]
) -> None:
    targets = {"targets": ["query", "attention_output", "feedforward_out"]}
    one, other = made(encoder(kind), {**LORA, **targets, **changes}), made(encoder(kind), {})
    one.model.eval()
    other.model.eval()
    with torch.inference_mode():
        assert loss(one).item() == pytest.approx(loss(other).item(), abs=1e-5)


def test_a_start_that_peft_takes_the_wrong_way_round_is_refused(encoder: Encoder) -> None:
    block = {**LORA, "init_lora_weights": "olora"}
    with pytest.raises(UserError, match=r"^methods\.x\.init_lora_weights: .*Conv1D .*; set true"):
        made(encoder("gpt2"), block)
    for kind, bits in (("gpt2", "nf4"), ("llama", None)):
        before, after = step(made(encoder(kind), {**block, "quantize": bits}))
        assert after < before


ADALORA = {"adapter": "adalora", "targets": ["query", "value"], "init_r": 4, "target_r": 2}


def test_adalora_plans_its_ranks_over_the_steps_of_the_run(encoder: Encoder) -> None:
    built = made(encoder(), ADALORA, steps=30)
    assert built.model.peft_config["default"].total_step == 30
    fewer = made(encoder(), {**ADALORA, "total_step": 20}, steps=30)
    assert fewer.model.peft_config["default"].total_step == 20


def test_more_steps_than_the_run_has_are_refused(encoder: Encoder) -> None:
    with pytest.raises(UserError, match=r"methods\.x\.total_step: 31 is beyond the run's 30 steps"):
        made(encoder(), {**ADALORA, "total_step": 31}, steps=30)


def test_only_adapters_that_have_work_after_a_step_are_asked_for_it(encoder: Encoder) -> None:
    assert work_after_step(made(encoder(), ADALORA, steps=30).model) is not None
    for block in ({}, LORA, {"adapter": "prompt_tuning", "num_virtual_tokens": 4}):
        assert work_after_step(made(encoder(), block).model) is None
