"""PEFT's methods, one by one: the block that was tried, and what came of it.

    python -m tests.methods      writes docs/methods.md anew

`test_methods` holds the list against PEFT's own, trains each entry and compares the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peft.utils import PeftType

from fairtune.models import conditions, refusals, uncaptured

PAGE = Path(__file__).parent.parent / "docs/methods.md"
FAMILIES = {
    "bert": "BERT",
    "roberta": "RoBERTa",
    "modernbert": "ModernBERT",
    "deberta-v2": "DeBERTa",
    "qwen2": "Qwen2",
}
"""By the `model_type`; the last is a decoder."""
QV = {"targets": ["query", "value"]}
NO_PAST = dict.fromkeys(("modernbert", "deberta-v2"), "refused: it takes no past key values")
DEFT = (
    "https://proceedings.neurips.cc/paper_files/paper/2025/hash/"
    "93a34a7138bdad95e874018d5f491cc6-Abstract-Conference.html"
)
ARXIV = "https://arxiv.org/abs/"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One method of PEFT."""

    title: str
    paper: str
    """Number at arXiv, or an address; empty where there is none."""
    block: Mapping[str, Any]
    """What a user writes under the method's name, `learning_rate` left out."""
    not_on: Mapping[str, str] = field(default_factory=dict)
    """Families that the method is refused for."""

    @property
    def kind(self) -> PeftType:
        """PEFT's own name."""
        return PeftType(str(self.block["adapter"]).upper())

    @property
    def refused(self) -> str | None:
        """Why no model trains with it."""
        return refusals.ADAPTERS.get(self.kind)

    @property
    def four_bits(self) -> bool:
        """Whether it trains beside weights in 4 bits."""
        return not self.refused and self.kind in refusals.IN_4_BITS


def entry(adapter: str, title: str, paper: str, not_on: Any = None, **keys: Any) -> Entry:
    """Return an entry; keys that are not of the block come first."""
    return Entry(title=title, paper=paper, block={"adapter": adapter, **keys}, not_on=not_on or {})


METHODS = (
    entry("lora", "LoRA", "2106.09685", **QV, r=2),
    entry("adalora", "AdaLoRA", "2303.10512", **QV, init_r=4, target_r=2),
    entry("adamss", "AdaMSS", "", **QV, r=8),
    entry("adaption_prompt", "LLaMA-Adapter", "2303.16199", adapter_len=4, adapter_layers=2),
    entry("beft", "BEFT", "2509.15974", **QV),
    entry("boft", "BOFT", "2311.06243", **QV, boft_block_size=4),
    entry("c3a", "C3A", "2407.19342", **QV, block_size=16),
    entry("cartridge", "Cartridges", "2506.06266", num_virtual_tokens=4),
    entry("cpt", "CPT", "2410.17222", cpt_token_ids=[1, 2]),
    entry("deft", "DEFT", DEFT, **QV, r=2),
    entry("delora", "DeLoRA", "2503.18225", **QV, r=2),
    entry("fourierft", "FourierFT", "2405.03003", **QV, n_frequency=16),
    entry("frod", "FRoD", "https://doi.org/10.1609/aaai.v40i31.39813", **QV),
    entry("glora", "GLoRA", "2306.07967", **QV, r=2),
    entry("gralora", "GraLoRA", "2505.20355", **QV, r=4),
    entry("hira", "HiRA", "https://openreview.net/forum?id=TwJrTz9cRS", **QV, r=2),
    entry("hra", "HRA", "2405.17484", **QV, r=2),
    entry(
        "ia3",
        "IA3",
        "2205.05638",
        targets=["key", "value", "feedforward_out"],
        feedforward=["feedforward_out"],
    ),
    entry("lily", "Lily", "2407.09946", **QV, r=2),
    entry("ln_tuning", "LN tuning", "2312.11420", target_modules=r".*(LayerN|layern|mlp_n)orm"),
    entry("loha", "LoHa", "2108.06098", **QV, r=2),
    entry("lokr", "LoKr", "2309.14859", **QV, r=2),
    entry("miss", "MiSS", "2409.15371", **QV, r=2),
    entry("multitask_prompt_tuning", "Multitask prompt tuning", "2303.02861", num_virtual_tokens=4),
    entry("oft", "OFT", "2306.07280", **QV, oft_block_size=8),
    entry("osf", "OSF", "2504.07097", **QV, effective_rank=16),
    entry("p_tuning", "P-tuning", "2103.10385", num_virtual_tokens=4),
    entry("peanut", "PEANuT", "2410.01870", **QV, r=2),
    entry("poly", "Polytropon", "2202.13914", **QV, r=2),
    entry("prefix_tuning", "Prefix tuning", "2101.00190", NO_PAST, num_virtual_tokens=4),
    entry("prompt_tuning", "Prompt tuning", "2104.08691", num_virtual_tokens=4),
    entry("psoft", "PSOFT", "https://openreview.net/forum?id=FSHrinMArK", **QV, r=4),
    entry("pvera", "PVeRA", "2512.07703", **QV, r=4),
    entry("randlora", "RandLoRA", "2502.00987", **QV, r=4),
    entry("road", "RoAd", "2409.00119", **QV, group_size=16),
    entry("shadow", "ShadowPEFT", "2604.19254", target_modules=r".*\.layers?\.\d+"),
    entry("shira", "SHiRA", "2406.13175", **QV, r=2),
    entry("supertuning", "Supertuning", "2607.09287", **QV),
    entry("tinylora", "TinyLoRA", "2602.04118", **QV),
    entry("trainable_tokens", "Trainable tokens", "", token_indices=[5, 6]),
    entry("unilora", "Uni-LoRA", "2506.00799", **QV),
    entry("vblora", "VB-LoRA", "2405.15179", **QV, vector_length=16, num_vectors=8),
    entry("vera", "VeRA", "2310.11454", **QV, r=4),
    entry("waveft", "WaveFT", "2505.12532", **QV, n_frequency=16),
    entry("xlora", "X-LoRA", "2402.07148", adapters={"one": "folder"}),
)
LORA = {"adapter": "lora", **QV, "r": 2}
BLOCKS = {"target_modules_bd_b": ["query", "value"], "nblocks": 2}
VARIANTS = (
    Entry(title="DoRA", paper="2402.09353", block={**LORA, "use_dora": True}),
    Entry(title="rsLoRA", paper="2312.03732", block={**LORA, "use_rslora": True}),
    Entry(title="PiSSA", paper="2404.02948", block={**LORA, "init_lora_weights": "pissa"}),
    Entry(title="OLoRA", paper="2406.01775", block={**LORA, "init_lora_weights": "olora"}),
    Entry(title="Gaussian start", paper="", block={**LORA, "init_lora_weights": "gaussian"}),
    Entry(title="Orthogonal start", paper="", block={**LORA, "init_lora_weights": "orthogonal"}),
    Entry(title="MiCA", paper="2604.01694", block={**LORA, "init_lora_weights": "mica"}),
    Entry(title="VeLoRA", paper="2405.17991", block={**LORA, "velora_config": {"num_groups": 4}}),
    Entry(title="BD-LoRA", paper="", block={**LORA, "use_bdlora": BLOCKS}),
    Entry(title="LoRA with a bias", paper="", block={**LORA, "lora_bias": True}),
    Entry(title="LoRA and all biases", paper="", block={**LORA, "bias": "all"}),
    Entry(
        title="LoRA and some tokens", paper="", block={**LORA, "trainable_token_indices": [5, 6]}
    ),
)
"""Of LoRA, tried on BERT."""


def yaml(block: Mapping[str, Any]) -> str:
    """Return a block as one line of YAML."""

    def text(value: Any) -> str:
        match value:
            case bool():
                return str(value).lower()
            case list():
                return f"[{', '.join(map(text, value))}]"
            case dict():
                return f"{{{', '.join(f'{key}: {text(of)}' for key, of in value.items())}}}"
            case str() if not value.replace("_", "").isalnum():
                return f"'{value}'"
        return str(value)

    return text(dict(block))


def row(cells: Iterable[str]) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def named(one: Entry) -> str:
    """Return the method's name, linked with its paper."""
    address = one.paper if "://" in one.paper else ARXIV + one.paper
    return f"[{one.title}]({address})" if one.paper else one.title


def outcome(one: Entry) -> list[str]:
    """Return what came of a method with each family, and in 4 bits."""
    if one.refused:
        return ["refused"] * (len(FAMILIES) + 1)
    bits = "works" if one.four_bits else "refused"
    return [*(one.not_on.get(family, "works") for family in FAMILIES), bits]


TOP = """\
# PEFT's methods, one by one

Each method of the pinned PEFT was tried with its block on a tiny model of each family. *Works*
means: it is built, every parameter of the adapter receives a gradient and changes, nothing else
but the head does, and the model that is loaded again predicts the same. *Refused* means: one line
that names the key and the reason, before anything is loaded. The columns hold for models of the
same kind; *4 bits* is `quantize: nf4` beside the method. `tests/test_methods.py` trains every
cell, and writes this page (`python -m tests.methods`).

`targets` are roles, which each family has under other names; `learning_rate` is left out.
"""
REASONS = """\

## Why methods are refused

In 4 bits, PEFT reads the packed weights of a layer as they lie for the methods that are refused
there, or trains nothing; they say `methods.NAME.quantize: ...`.
"""
EAGER = """\

## Steps that cannot be replayed

On a GPU, training steps are replayed as CUDA graphs. These methods' cannot be. Beside others they
are refused before anything is trained; with `train.cuda_graphs: 'off'` all train alike. A test on a
GPU holds this table (`tests/test_cuda.py`).

| adapter or key | reason |
| --- | --- |
"""
LORAS = """\

## Variants of LoRA

| variant | block |
| --- | --- |
"""
BESIDE = """\

## Keys that want another

These keys have an effect beside another alone, and are refused without it.

| adapter | key | beside |
| --- | --- | --- |
"""
KEYS = """\

## Keys that are refused

PEFT takes these keys, and would do nothing with them, or another thing than they say. A key at
its usual value passes. Refused as well: a name, a pattern, a layer or a token that is not there (in
`target_modules`, `exclude_modules`, `rank_pattern` and its like, `layers_to_transform`,
`trainable_token_indices`), a value of another type than PEFT declares, and whatever PEFT warns that
it ignores. `fan_in_fan_out` and `modules_to_save` are set by fairtune.

| adapter | key | reason |
| --- | --- | --- |
"""


def page() -> str:
    """Return docs/methods.md."""
    heads = ["method", *FAMILIES.values(), "4 bits", "block"]
    lines = [row(heads), row("---" for _ in heads)]
    lines += [row([named(one), *outcome(one), f"`{yaml(one.block)}`"]) for one in METHODS]
    reasons = [row(["method", "reason"]), row(["---"] * 2)]
    reasons += [row([f"`{one.block['adapter']}`", one.refused]) for one in METHODS if one.refused]
    loras = [row([named(one), f"`{yaml(one.block)}`"]) for one in VARIANTS]
    starts = {
        start: f"needs a pass over data (PEFT's {call})"
        for start, call in refusals.FROM_DATA.items()
    }
    keys = [row(["`lora`", f"`init_lora_weights: {one}`", why]) for one, why in starts.items()]
    keys += [row(["`lora`", f"`init_lora_weights: {one}`", why]) for one, why in STARTS.items()]
    keys += [
        row([f"`{kind.value.lower()}`", f"`{key}`", why])
        for kind, refused in refusals.KEYS.items()
        for key, why in refused.items()
    ]
    beside = [
        row([f"`{kind.value.lower()}`", f"`{key}`", f"`{conditions.beside(other, value)}`"])
        for kind, keys_of in conditions.BESIDE.items()
        for key, (other, value) in keys_of.items()
    ]
    beside += [row(["`lora`", f"`{key}`", "no `quantize`"]) for key in conditions.NOT_IN_4_BITS]
    starts_of = [one for one in refusals.STARTED if one not in conditions.STARTS_IN_4_BITS]
    beside += [row(["`lora`", f"`init_lora_weights: {s}`", "no `quantize`"]) for s in starts_of]
    eager = {f"`{kind.value.lower()}`": why for kind, why in uncaptured.ADAPTERS.items()}
    eager |= {f"`{key}`": why for key, why in uncaptured.KEYS.items()}
    eager |= {f"`{key}` of LoHa and LoKr": why for key, why in uncaptured.DROPPED.items()}
    slow = [row(cells) for cells in eager.items()]
    parts = [
        TOP,
        *lines,
        REASONS,
        *reasons,
        EAGER.rstrip(),
        *slow,
        LORAS.rstrip(),
        *loras,
        KEYS.rstrip(),
        *keys,
    ]
    parts += [BESIDE.rstrip(), *beside]
    return "\n".join(parts) + "\n"


STARTS = {
    "loftq": "stores the frozen weights in its own way; set quantize",
    "pissa_niter_N": "draws at random, and anew where the model is reloaded",
}

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
