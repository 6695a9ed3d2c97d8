"""Every method of PEFT trains what it says on each family, or is refused in one line."""

from __future__ import annotations

import enum
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import PeftType
from safetensors.torch import load_file, save_file

from fairtune.acceleration.prepare import prepare
from fairtune.core import paths, task
from fairtune.core.errors import UserError
from fairtune.core.params import Params
from fairtune.hardware import device
from fairtune.hardware.baseline import Baseline
from fairtune.hardware.meter import Meter
from fairtune.models import conditions, footprint, refusals, saved_form, values
from fairtune.models.adapters import work_after_step
from fairtune.models.build import Built, build
from fairtune.serving.loading import load
from fairtune.serving.merging import unwrapped
from fairtune.training import inference, loop, prediction, weights
from fairtune.training.batches import Collator
from tests import methods, tiny
from tests.methods import LORA, METHODS, VARIANTS, Entry

Checkpoint = Callable[[str], Path]
ROWS = tiny.encoded_rows(12, longest=12)
STEPS, BATCH = 3, 4
ONE_LAYER = {"num_hidden_layers": 1}
WORKING = [one for one in METHODS if not one.refused]
REFUSED = [one for one in METHODS if one.refused]


def name_of(one: Entry) -> str:
    return str(one.block["adapter"])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Return a function that gives a family's tiny checkpoint.

    No weight of it is zero: a bias of zero would hide what multiplies it.
    """
    made: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("checkpoint") / kind
            tiny.write_encoder(made[kind], kind=kind, **ONE_LAYER)
            path = made[kind] / "model.safetensors"
            drawn = torch.Generator().manual_seed(1)
            noisy = {
                key: value + 0.1 * torch.randn(value.shape, generator=drawn)
                for key, value in load_file(path).items()
            }
            save_file(noisy, path, metadata={"format": "pt"})
        return made[kind]

    return of


def study(model: Path, block: Any, **train: Any) -> Params:
    """Return the tiny study with one method, `m`."""
    changes = {f"train.{key}": value for key, value in train.items()}
    methods_of = {"m": {"learning_rate": 0.01, **block}}
    changes |= {"train.batch_size": BATCH, "train.group_by_length": False}
    changes |= {"model.name": str(model), "methods": methods_of}
    return Params.model_validate(tiny.study(changes))


def made(of: Params) -> Built:
    """Build the study's method as a run does."""
    chosen = device.choose(of.train)
    built = build(
        of.model,
        of.method("m"),
        name="m",
        labels=2,
        device=chosen,
        seed=1,
        steps=STEPS,
        pad_token_id=0,
        longest=int(ROWS.lengths.max()),
    )
    prepare(built.model, chosen)
    return built


class Seen:
    """The parameters of a built model before its training, and which receive gradients."""

    def __init__(self, built: Built) -> None:
        self.built = built
        self.before = {n: p.detach().clone() for n, p in built.model.named_parameters()}
        self.trained = {n: p for n, p in built.model.named_parameters() if p.requires_grad}
        self.reached: set[str] = set()
        for name, parameter in self.trained.items():
            parameter.register_post_accumulate_grad_hook(self._noting(name))

    def _noting(self, name: str) -> Callable[[torch.Tensor], None]:
        def note(parameter: torch.Tensor) -> None:
            if parameter.grad is not None and parameter.grad.abs().sum() > 0:
                self.reached.add(name)

        return note

    def check(self) -> None:
        """Assert that all of the adapter and the head was trained, and nothing else."""
        counts = self.built.counts
        assert counts.adapter > 0
        assert counts.trainable == counts.adapter + counts.head
        assert set(self.trained) == self.reached
        now = dict(self.built.model.named_parameters())
        # bitsandbytes casts the bias of a 4-bit layer to the type that it computes in.
        changed = {
            n for n, first in self.before.items() if not torch.equal(first.to(now[n].dtype), now[n])
        }
        # A singular value whose rank AdaLoRA dropped is zero again.
        assert {n for n in set(self.trained) - changed if "lora_E" not in n} == set()
        assert changed <= set(self.trained)


def train(of: Params) -> Built:
    """Train some steps as the loop does, without the Trainer around them; check what changed."""
    built = made(of)
    seen = Seen(built)
    optimizer = torch.optim.AdamW(seen.trained.values(), lr=0.01)
    after_step = work_after_step(built.model)
    collate = Collator(ROWS, pad_token_id=0)
    built.model.train()
    for step in range(2):  # in the first, what begins at zero hides the rest
        loss = task.loss_of(built.model, collate(range(BATCH * step, BATCH * (step + 1))))
        loss.backward()
        optimizer.step()
        if after_step:
            after_step(step + 1)
        optimizer.zero_grad()
        assert torch.isfinite(loss)
    seen.check()
    return built


def train_save_and_reload(of: Params, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go the whole way of a run; assert that what was saved predicts the same, merged as well."""
    monkeypatch.chdir(folder)
    built = made(of)
    seen = Seen(built)
    chosen = device.choose(of.train)
    passing: dict[str, Any] = {"batch_size": BATCH, "pad_token_id": 0, "device": chosen}
    loop.train_model(
        built.model,
        ROWS,
        train=of.train,
        learning_rate=0.01,
        seed=1,
        pad_token_id=0,
        device=chosen,
        meter=Meter(device=chosen, base=Baseline()),
        validate=lambda: 0.5,
    )
    seen.check()
    weights.save(built.model, paths.training_folder("m", 1) / paths.WEIGHTS)
    saved_form.take(built.model)
    first = prediction.predict(built.model, ROWS, **passing).probabilities
    folder = paths.training_folder("m", 1) / paths.WEIGHTS
    again = load(of.model, of.method("m"), folder=folder, labels=2, pad_token_id=0, chosen=chosen)
    found, kept = dict(again.named_parameters()), dict(built.model.named_parameters())
    # What makes prompts is not saved, but the vectors that they became.
    assert {n for n in set(seen.trained) - set(found) if "prompt_encoder" not in n} == set()
    assert all(torch.equal(found[n], kept[n]) for n in seen.trained if n in found)
    prepare(again, chosen)
    assert np.allclose(first, prediction.predict(again, ROWS, **passing).probabilities, atol=1e-6)
    merged, how = inference.merged(built.model)
    if how == "merged":
        after = prediction.predict(merged, ROWS, **passing).probabilities
        assert np.allclose(first, after, atol=1e-4)
        plain = unwrapped(merged.get_base_model(), torch.float32)
        alone = prediction.predict(plain, ROWS, **passing).probabilities
        assert np.allclose(first, alone, atol=1e-4)


def test_the_list_is_that_of_the_pinned_peft() -> None:
    assert [name_of(one) for one in METHODS if one.kind not in PEFT_TYPE_TO_CONFIG_MAPPING] == []
    assert sorted(name_of(one) for one in METHODS) == sorted(
        kind.value.lower() for kind in PEFT_TYPE_TO_CONFIG_MAPPING
    )


def test_the_page_says_what_is_tested() -> None:
    assert methods.PAGE.read_text(encoding="utf-8") == methods.page()


@pytest.mark.parametrize("family", methods.FAMILIES)
@pytest.mark.parametrize("place", range(len(WORKING)), ids=map(name_of, WORKING))
def test_a_method_trains_all_of_its_adapter_on_each_family_or_is_refused(
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: int,
    family: str,
) -> None:
    one = WORKING[place]
    of = study(checkpoint(family), one.block)
    if family in one.not_on:
        with pytest.raises(UserError, match=rf"^methods\.m\.adapter: {name_of(one)} needs past"):
            made(of)
    # The Trainer, saving and loading know no families: each method goes the whole way once.
    elif family == ("bert", "qwen2", "roberta")[place % 3]:
        train_save_and_reload(of, tmp_path, monkeypatch)
    else:
        train(of)


@pytest.mark.parametrize("place", range(len(WORKING)), ids=map(name_of, WORKING))
def test_a_method_trains_beside_weights_in_4_bits_or_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    one = WORKING[place]
    family = ("qwen2", "bert")[place % 2]
    # As on a GPU: what PEFT makes beside 4-bit weights is then first of bf16.
    of = study(checkpoint(family), {**one.block, "quantize": "nf4"}, precision="bf16")
    if one.four_bits:
        train_save_and_reload(of, tmp_path, monkeypatch)
        return
    line = rf"^methods\.m\.quantize: PEFT's {name_of(one)} does not train .* \(nf4\); drop the key"
    with pytest.raises(UserError, match=line):
        made(of)


@pytest.mark.parametrize("family", methods.FAMILIES)
@pytest.mark.parametrize("one", REFUSED, ids=name_of)
def test_a_method_that_needs_more_than_its_configuration_is_refused_with_the_reason(
    checkpoint: Checkpoint, one: Entry, family: str
) -> None:
    for more in ({}, {"quantize": "nf4"}):
        with pytest.raises(UserError) as caught:
            made(study(checkpoint(family), {**one.block, **more}))
        line = f"methods.m.adapter: {name_of(one)} is not taken: {one.refused}"
        assert str(caught.value) == line


@pytest.mark.parametrize("one", VARIANTS, ids=lambda one: one.title)
def test_a_variant_of_lora_goes_the_whole_way(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: Entry
) -> None:
    train_save_and_reload(study(checkpoint("bert"), one.block), tmp_path, monkeypatch)


COMPUTED: tuple[dict[str, Any], ...] = (
    {
        "adapter": "p_tuning",
        "encoder_reparameterization_type": "LSTM",
        "encoder_dropout": 0.5,
        "encoder_hidden_size": 16,
    },
    {"adapter": "prefix_tuning", "prefix_projection": True, "encoder_hidden_size": 16},
)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("block", COMPUTED, ids=lambda block: block["adapter"])
def test_what_is_tested_are_the_prompts_that_are_saved(
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    block: dict[str, Any],
    precision: str,
) -> None:
    of = study(checkpoint("bert"), {**block, "num_virtual_tokens": 4}, precision=precision)
    train_save_and_reload(of, tmp_path, monkeypatch)


def test_what_peft_does_not_save_is_not_trained(checkpoint: Checkpoint) -> None:
    block = {"adapter": "adalora", **methods.QV, "init_r": 4, "target_r": 2}
    counts = {
        bits: made(study(checkpoint("bert"), {**block, **bits_of}, precision="bf16")).counts
        for bits, bits_of in {"whole": {}, "4 bits": {"quantize": "nf4"}}.items()
    }
    assert counts["4 bits"].adapter == counts["whole"].adapter == 2 * (4 * 64 + 4 + 4 * 64)


VALUES: dict[str, Any] = {
    "boft_n_butterfly_factor": 2,
    "r": 3,
    "qalora_group_size": 8,
    "module_dropout": 0.5,
}
"""Values that are not the usual ones; elsewhere anything is, such as a list."""


@pytest.mark.parametrize(
    ("kind", "key"), [(kind, key) for kind, keys in refusals.KEYS.items() for key in keys]
)
def test_a_key_that_would_do_nothing_is_refused(
    checkpoint: Checkpoint, kind: PeftType, key: str
) -> None:
    block = next(one.block for one in METHODS if one.kind == kind)
    fields = PEFT_TYPE_TO_CONFIG_MAPPING[kind].__dataclass_fields__
    usual = fields[key].default
    value = VALUES.get(key, 7 if "int" in str(fields[key].type) else [1])
    value = True if isinstance(usual, bool) else value
    line = rf"^methods\.m\.{key}: {re.escape(repr(value))} is not taken: "
    with pytest.raises(UserError, match=line):
        made(study(checkpoint("bert"), {**block, key: value}))
    if isinstance(usual, bool):
        assert made(study(checkpoint("bert"), {**block, key: usual})).counts.adapter > 0


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ({**LORA, "init_lora_weights": "loftq"}, "init_lora_weights: 'loftq' stores"),
        ({**LORA, "init_lora_weights": "pissa_niter_4"}, "init_lora_weights: .* reloaded; set"),
        (
            {**LORA, "rank_pattern": {"nothing": 4}},
            "rank_pattern: 'nothing' matches none of the ad",
        ),
        ({**LORA, "fan_in_fan_out": True}, "fan_in_fan_out: fairtune sets this itself"),
        ({**LORA, "modules_to_save": ["pooler"]}, "modules_to_save: fairtune sets this itself"),
        (
            {"adapter": "adalora", **methods.QV, "init_lora_weights": "pissa"},
            "init_lora_weights: 'pissa' is LoRA's",
        ),
        (
            {"adapter": "prompt_tuning", "num_virtual_tokens": 2, "prompt_tuning_init": "TEXT"},
            "prompt_tuning_init: TEXT is not taken: the start from a text needs",
        ),
        (
            {"adapter": "p_tuning", "num_virtual_tokens": 2, "encoder_num_layers": 3},
            "encoder_num_layers.* ignored.*; drop",
        ),
        ({**LORA, "init_lora_weights": "pisa"}, "init_lora_weights: 'pisa' is not right; set true"),
        ({**LORA, "init_lora_weights": None}, "init_lora_weights: None is not right; set true"),
        ({**LORA, "init_lora_weights": ["eva"]}, r"init_lora_weights: \['eva'\] is not right"),
        ({**LORA, "bias": True}, "bias: True is not right; expected none or all or lora_only$"),
        ({**LORA, "r": 2.5}, "r: 2.5 is not right; expected a whole number"),
        ({**LORA, "lora_dropout": -0.1}, "lora_dropout: -0.1 is not right; expected a share"),
        ({**LORA, "lora_alpha": 0}, "lora_alpha: 0 is not right; expected a number above 0"),
        ({**LORA, "rank_pattern": {"query": "a"}}, "rank_pattern: .* a number for each name"),
        ({**LORA, "velora_config": {"groups": 4}}, "velora_config: .* some of init_type, num_g"),
        ({**LORA, "velora_config": {"num_groups": "4"}}, "velora_config: .* is not right"),
        ({**LORA, "quantize": "nf4", "use_bdlora": {"nblocks": 2}}, "use_bdlora: PEFT does not"),
        ({**LORA, "quantize": "nf4", "init_lora_weights": "mica"}, "'mica' needs weights that"),
        ({**LORA, "trainable_token_indices": 2}, "trainable_token_indices: 2 .* expected a list"),
        ({**LORA, "trainable_token_indices": [200]}, "indices: 200 .* tokens from 0 to 199$"),
        ({**LORA, "trainable_token_indices": [-1]}, "indices: -1 .* tokens from 0 to 199$"),
        ({**LORA, "trainable_token_indices": []}, "trainable_token_indices: no token is named"),
        ({**LORA, "trainable_token_indices": {"query": [1]}}, "'query' is no table of embeddings"),
        ({"adapter": "shira", **methods.QV, "mask_type": "x"}, "mask_type: 'x' .* random$"),
        (
            {"adapter": "prompt_tuning", "num_virtual_tokens": 2, "prompt_tuning_init": "all"},
            "prompt_tuning_init: 'all' is not right; expected TEXT or SAMPLE_VOCAB or RANDOM",
        ),
        (
            {"adapter": "prefix_tuning", "num_virtual_tokens": 2, "init_weights": "ones"},
            "init_weights: 'ones' is not right; expected zero or null",
        ),
    ],
)
def test_a_value_that_would_do_another_thing_is_refused(
    checkpoint: Checkpoint, block: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=rf"^methods\.m[.:].*{told}"):
        made(study(checkpoint("bert"), block))


NAMED = {"adapter": "lora", "target_modules": ["query", "value"], "r": 2}


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ({**NAMED, "target_modules": ["query", "valu"]}, "target_modules: 'valu' .* 'value'"),
        ({**NAMED, "target_modules": ["query", "classifier"]}, "'classifier' is the head, which"),
        ({**NAMED, "exclude_modules": ["key"]}, "exclude_modules: 'key' matches none of the ad"),
        ({**LORA, "exclude_modules": ".*key"}, "exclude_modules: '.*key' matches none of the"),
        ({**LORA, "exclude_modules": "("}, r"exclude_modules: '\(' is no regular expression"),
        ({**NAMED, "alpha_pattern": {"(": 4}}, "alpha_pattern: .* is no regular expression"),
        ({**NAMED, "layers_to_transform": [0, 1]}, "there is no layer 1; found: 0 to 0"),
        ({**LORA, "layers_to_transform": [0]}, "beside a list of names alone; set target_modules"),
        (
            {"adapter": "vera", **methods.QV, "r": 4, "layers_to_transform": [0]},
            "beside a list of names alone; set target_modules",
        ),
        (
            {"adapter": "c3a", **methods.QV, "block_size_pattern": {"key": 8}},
            "block_size_pattern: 'key' matches none of the adapted modules: bert.enc",
        ),
    ],
)
def test_a_name_that_matches_nothing_is_refused(
    checkpoint: Checkpoint, block: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=rf"^methods\.m\..*{told}"):
        made(study(checkpoint("bert"), block))


@pytest.mark.parametrize(
    ("more", "adapted"),
    [
        ({"exclude_modules": ["query"]}, 1),
        ({"exclude_modules": ".*query"}, 1),
        ({"layers_to_transform": 0}, 2),
        ({"rank_pattern": {"query": 4}}, 2),
        ({"rank_pattern": {"layer.0.attention.self.query": 4}}, 2),
    ],
)
def test_a_name_that_matches_something_does_what_it_says(
    checkpoint: Checkpoint, more: dict[str, Any], adapted: int
) -> None:
    built = made(study(checkpoint("bert"), {**NAMED, **more}))
    assert len(built.audit.adapted_modules) == adapted
    width = 64 * 2
    ranks = 4 + 2 if "rank_pattern" in more else 2 * adapted
    assert built.counts.adapter == width * ranks


@pytest.mark.parametrize(
    ("kind", "key"), [(kind, key) for kind, keys in conditions.BESIDE.items() for key in keys]
)
def test_a_key_that_wants_another_is_refused_without_it(
    checkpoint: Checkpoint, kind: PeftType, key: str
) -> None:
    block = next(one.block for one in METHODS if one.kind == kind)
    other, value = conditions.BESIDE[kind][key]
    fields = PEFT_TYPE_TO_CONFIG_MAPPING[kind].__dataclass_fields__
    usual = fields[key].default
    given = {**block, key: True if usual is False else 0.5 if isinstance(usual, float) else 8}
    line = rf"^methods\.m\.{key}: {given[key]} has no effect without {other}[:;]"
    with pytest.raises(UserError, match=line):
        made(study(checkpoint("bert"), given))
    if value is conditions.SET:
        value = 2 if fields[other].default is None else 0.5
    assert made(study(checkpoint("bert"), {**given, other: value})).counts.adapter > 0


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"init_r": 2}, "target_r: 2 is not right; expected 1 or more and below init_r, 2"),
        ({"target_r": 0}, "target_r: 0 is not right; expected 1 or more"),
        ({"deltaT": 0}, "deltaT: 0 is not right; expected 1 or more"),
        ({"beta1": 1.5}, "beta1: 1.5 is not right; expected a share"),
        (
            {"tinit": 2, "tfinal": 1},
            r"tinit: 2 steps .* and 1 after \(tfinal\) leave none of the 3",
        ),
        ({"total_step": 4}, "total_step: 4 is beyond the run's 3 steps"),
        ({"total_step": 2, "tfinal": 2}, r"tinit: 0 steps .* leave none of the 2 for it"),
    ],
)
def test_ranks_that_could_not_come_down_are_refused(
    checkpoint: Checkpoint, more: dict[str, Any], told: str
) -> None:
    block = {"adapter": "adalora", **methods.QV, "init_r": 4, "target_r": 2, **more}
    with pytest.raises(UserError, match=rf"^methods\.m\.{told}"):
        made(study(checkpoint("bert"), block))


def test_each_type_that_peft_declares_has_words() -> None:
    for config_class in PEFT_TYPE_TO_CONFIG_MAPPING.values():
        for key, hint in typing.get_type_hints(config_class).items():
            assert not re.search(r"typing|class|\.", values.told(hint)), key
            default = config_class.__dataclass_fields__[key].default
            if isinstance(default, bool | int | float | str) and not isinstance(default, enum.Enum):
                assert values.fits(default, hint), (config_class, key)


def test_boft_compiles_nothing(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils import cpp_extension

    def load(*_: Any, **__: Any) -> None:
        pytest.fail("an extension was to be compiled")

    monkeypatch.setattr(cpp_extension, "load", load)
    one = next(one for one in METHODS if one.kind == PeftType.BOFT)
    assert made(study(checkpoint("bert"), one.block)).counts.adapter > 0


@pytest.mark.parametrize("adapter", ["prompt_tuning", "p_tuning", "prefix_tuning"])
def test_an_encoder_with_a_decoder_takes_no_virtual_tokens(
    checkpoint: Checkpoint, adapter: str
) -> None:
    block = {"adapter": adapter, "num_virtual_tokens": 2}
    line = rf"^methods\.m\.adapter: {adapter} puts virtual tokens .* type 'bart', .*; take lora$"
    with pytest.raises(UserError, match=line):
        made(study(checkpoint("bart"), block))


def test_the_predicted_memory_counts_what_an_adapter_holds_frozen(checkpoint: Checkpoint) -> None:
    blocks = {"vera": 512, "lora": 8}
    vera, lora = (
        made(study(checkpoint("bert"), {"adapter": adapter, **methods.QV, "r": rank}))
        for adapter, rank in blocks.items()
    )
    # Two matrices that all layers share, beside what is trained.
    more = vera.counts.total - lora.counts.total + 2 * 512 * 64
    predicted = [footprint.predict(built.model).weights_mib for built in (vera, lora)]
    assert 4 * more / 2**20 > 0.2
    assert predicted[0] - predicted[1] == pytest.approx(4 * more / 2**20, abs=0.01)


def test_a_target_without_weights_is_told(checkpoint: Checkpoint) -> None:
    # ModernBERT's first layer has no normalisation before its attention, but a place for it.
    block = {"adapter": "ln_tuning", "target_modules": r".*attn_norm"}
    with pytest.raises(UserError, match=r"^methods\.m: a target has no weights; set methods\.m\.t"):
        made(study(checkpoint("modernbert"), block))


def test_the_bits_that_are_not_taken_are_of_methods_that_there_are() -> None:
    kinds = {one.kind for one in WORKING}
    assert kinds >= refusals.IN_4_BITS
    assert set(refusals.KEYS) <= kinds
