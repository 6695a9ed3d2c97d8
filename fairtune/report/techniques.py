"""What each way of fine-tuning changes in the network, in words and as an equation.

Looked up by what a method's block says (its adapter, its quantisation), never by its name.
Equations stand twice: in Typst's notation for the paper, in TeX's for Markdown and the notebook.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fairtune.core.method import Method
from fairtune.report.wording import literal


@dataclass(frozen=True, kw_only=True)
class Technique:
    """One technique."""

    title: str
    cites: tuple[str, ...]
    """Keys of report/template/references.bib."""
    text: str
    """Sentences before the equation."""
    typst: str = ""
    """The equation in Typst's notation; empty where none is known."""
    tex: str = ""
    """The same in TeX's."""
    after: str = ""
    """Sentences after the equation."""


FULL = Technique(
    title="Full fine-tuning",
    cites=("devlin2019", "loshchilov2019"),
    text=(
        "Full fine-tuning updates every parameter of the model and of its head. With AdamW, a "
        "step on the parameters `θ` is"
    ),
    typst="theta_(t+1) = theta_t - eta (hat(m)_t / (sqrt(hat(v)_t) + epsilon) + lambda theta_t),",
    tex=r"\theta_{t+1} = \theta_t - \eta \left(\frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon} "
    r"+ \lambda \theta_t\right)",
    after=(
        "where the two moments `m` and `v` are estimated from the gradient. Both are kept for each "
        "trained parameter, so memory grows with what is trained."
    ),
)
LORA = Technique(
    title="LoRA",
    cites=("hu2022",),
    text=(
        "Low-rank adaptation freezes a weight matrix `W` and learns a correction of rank `r` "
        "beside it:"
    ),
    typst="h = W x + alpha / r B A x,",
    tex=r"h = W x + \frac{\alpha}{r} B A x",
    after=(
        "where `A` maps the input down to `r` numbers and `B` maps them up again. `B` starts at "
        "zero, so training starts from the pretrained model. The product can be added to `W` "
        "afterwards."
    ),
)
DORA = Technique(
    title="DoRA",
    cites=("liu2024dora",),
    text="DoRA splits a weight matrix into direction and length, and adapts both:",
    typst="h = m (W + B A) / norm(W + B A)_c x,",
    tex=r"h = m \frac{W + B A}{\lVert W + B A \rVert_c} x",
    after="where `m` is a learned vector of lengths and the norm is taken over each column.",
)
IA3 = Technique(
    title="(IA)³",
    cites=("liu2022",),
    text=(
        "(IA)³ learns vectors that scale the keys, the values and the inner activation of the "
        "feed-forward block, and no matrix at all:"
    ),
    typst=("K' = l_k dot.o K, quad V' = l_v dot.o V, \\ h = W_2 (l_\"ff\" dot.o gamma(W_1 x)),"),
    tex=r"K' = l_k \odot K, \quad V' = l_v \odot V, \quad h = W_2 (l_\mathrm{ff} \odot "
    r"\gamma(W_1 x))",
    after=(
        "where `γ` is the activation function. The scaled activations are kept for the backward "
        "pass, so few trained parameters do not mean little memory."
    ),
)
VERA = Technique(
    title="VeRA",
    cites=("kopiczko2024",),
    text="VeRA shares one pair of frozen random matrices among all layers and learns two vectors:",
    typst="h = W x + Lambda_b B Lambda_d A x,",
    tex=r"h = W x + \Lambda_b B \Lambda_d A x",
    after="where the two diagonal matrices hold the learned vectors of a layer.",
)
FOUR_BIT = Technique(
    title="Weights in 4 bits (QLoRA)",
    cites=("dettmers2023",),
    text=(
        "QLoRA stores the frozen matrices in a 4-bit data type and restores them for each "
        "multiplication, on which the adapter then builds:"
    ),
    typst='h = "dequant"("dequant"(c_1, c_2), W_4) x + Delta(x),',
    tex=r"h = \mathrm{dequant}(\mathrm{dequant}(c_1, c_2), W_4)\, x + \Delta(x)",
    after=(
        "where each block of weights has a scale, the scales are themselves quantised (the double "
        "quantisation), and `Δ` is the adapter's term. It trades time for memory of the weights."
    ),
)
ADAPTERS: Mapping[str, Technique] = {"lora": LORA, "ia3": IA3, "vera": VERA}


def techniques(block: Method) -> list[Technique]:
    """Return what a method's block makes it: the trained part, then the storage of the rest."""
    if block.adapter is None:
        return [FULL]
    adapter = block.adapter.lower()
    trained = ADAPTERS.get(adapter) or _unknown(block.adapter)
    if adapter == "lora" and block.keywords.get("use_dora"):
        trained = DORA
    return [trained, FOUR_BIT] if block.quantize else [trained]


def used(blocks: Mapping[str, Method]) -> list[tuple[Technique, list[str]]]:
    """Return each technique of a study once, with the methods that use it."""
    found: dict[str, tuple[Technique, list[str]]] = {}
    for name, block in blocks.items():
        for technique in techniques(block):
            found.setdefault(technique.title, (technique, []))[1].append(name)
    return list(found.values())


def titles(block: Method) -> str:
    """Return a method in a few words: 'LoRA', 'LoRA, weights in 4 bits'."""
    return _joined(technique.title for technique in techniques(block))


def _joined(words: Iterable[str]) -> str:
    first, *rest = words
    return " on ".join([first, *(word[0].lower() + word[1:] for word in rest)])


def _unknown(adapter: str) -> Technique:
    """Return a description for an adapter that has none of its own."""
    return Technique(
        title=f"PEFT's {literal(adapter)}",
        cites=("mangrulkar2022",),
        text=(
            f"The adapter that the PEFT library calls {literal(adapter)} freezes the model and "
            "trains the parameters that it adds."
        ),
    )
