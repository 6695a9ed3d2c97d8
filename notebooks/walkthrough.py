# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A walk through the study
#
# This notebook loads the data, builds each method's model, counts what it trains, and reads the
# pipeline's results. It trains nothing: the stage `notebook` runs it after the trainings, and every
# number below comes from what they wrote. The source is `notebooks/walkthrough.py`.

# %%
import io
import os
import sys
from pathlib import Path

# Works from the repository root, from `report/` and from `notebooks/`.
root = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "dvc.yaml").exists())
os.chdir(root)
sys.path.insert(0, str(root))

import pandas as pd
from IPython.display import Image, Markdown, display

from fairtune.charts import gallery, style
from fairtune.core import params, paths, terminal
from fairtune.hardware import device
from fairtune.models.build import build
from fairtune.report import techniques, values, wording
from fairtune.report.markup import markdown_text, plain_text
from fairtune.report.study import read

terminal.quiet_libraries()
pd.set_option("display.max_colwidth", 90)
pd.set_option("display.max_rows", 200)
# Dollar signs in texts and in names of classes are dollar signs.
pd.set_option("display.html.use_mathjax", False)
study = params.load()

# %% [markdown]
# ## The data
#
# The draw is stratified by class, the three splits share no text, and the manifest says what was
# left out of the source.

# %%
found = read(study)
splits = {name: pd.read_parquet(paths.SUBSET / f"{name}.parquet") for name in paths.SPLITS}
pd.DataFrame(
    {name: found.subset["splits"][name]["label_counts"] for name in paths.SPLITS}
).rename_axis("class")

# %%
rows = splits["train"].head(4).copy()
rows["label"] = [found.subset["labels"][label] for label in rows["label"]]
rows

# %% [markdown]
# The tokenizer cuts texts off at the same length for every method. The table gives the lengths in
# tokens after that.

# %%
pd.DataFrame(found.encoded["splits"]).drop(index="sha256")

# %% [markdown]
# ## The models
#
# A method is two choices: how the frozen weights are stored, and what is trained. Both stand in
# `params.yaml`, and no code asks for a method's name.

# %%
for technique, users in techniques.used(study.methods):
    text = f"**{markdown_text(technique.title)}**, used by {wording.methods(users)}. "
    text += f"{markdown_text(technique.text)}\n\n"
    text += f"$${technique.tex}$$\n\n" if technique.tex else ""
    display(Markdown(text + markdown_text(technique.after)))

# %% [markdown]
# Each model is built here as in the training, with the first seed, and its parameters are counted.
# A weight in four bits counts as the parameter that it holds.

# %%
chosen = device.choose(study.train)
labels = len(found.subset["labels"])
counts, modules = {}, {}
for name, method in study.methods.items():
    built = build(study.model, method, name=name, labels=labels, device=chosen, seed=study.seeds[0])
    trained = built.counts.trainable
    counts[name] = {
        "total": f"{built.counts.total:,}",
        "trained": f"{trained:,}",
        "of it adapter": f"{built.counts.adapter:,}",
        "of it head": f"{built.counts.head:,}",
        "share trained": f"{trained / built.counts.total:.2%}",
        "modules in 4 bits": len(built.audit.quantized_modules),
    }
    adapted = [module.removeprefix("base_model.model.") for module in built.audit.adapted_modules]
    modules[name] = ", ".join(adapted[:2]) or "none: the whole model is trained"
    del built
pd.DataFrame(counts).T

# %% [markdown]
# The first modules that carry an adapter, by method.

# %%
for name, some in modules.items():
    print(f"{name:>8}: {some}")

# %% [markdown]
# ## The results
#
# One row is one method. Accuracy is the share of test rows predicted right, and its interval covers
# what the study covers.

# %%
values = values.context(found)
table = values["tables"]["metrics"]
pd.DataFrame([list(map(plain_text, row)) for row in table.rows], columns=table.header)

# %%
said = " ".join([values["headline"], values["ranks"], values["trainings"]])
display(Markdown(markdown_text(said)))


# %%
def draw(*names: str) -> None:
    """Draw charts from the tables that the stage `compare` wrote."""
    look = style.looks(found.tables["accuracy"])
    with gallery.styled(found.tables):
        for name in (n for n in names if found.tables.get(n)):
            figure, picture = gallery.charts()[name].draw(found.tables[name], look), io.BytesIO()
            figure.savefig(picture, format="png", dpi=160, metadata={"Software": None})
            display(Image(picture.getvalue(), width=560))


draw("accuracy", "accuracy_interval", "differences")

# %%
display(Markdown("\n".join(f"- {markdown_text(said)}" for said in values["pair_details"])))

# %% [markdown]
# ## What it costs

# %%
draw("training_time", "memory", "memory_breakdown", "parameters", "loss", "pareto")

# %%
costs = [values["costs_of"], values["quiet"], values["memory_note"], *values["extremes"].values()]
costs += [*values["trades"], *values["storage"]]
display(Markdown("\n".join(f"- {markdown_text(said)}" for said in costs if said)))

# %% [markdown]
# ## Which method to use

# %%
cases = [f"- {wording.method(name)}: {case}" for name, case in values["use_cases"]]
lines = [*cases, "", values["recommendation"], "", values["reach"]]
display(Markdown("\n".join(map(markdown_text, lines))))
