"""The model that a method trains: loaded, adapted, counted and audited.

`build` does it all: `pretrained` loads the model with its head, `adapters` adds PEFT's adapter to
the modules that `roles` names, `audit` counts and checks. `footprint` predicts the memory.
"""
