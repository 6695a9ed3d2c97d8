# Everything a newcomer needs: `make repro` runs the study, `make test` the tests. Both make .venv
# first and install the pinned dependencies into it; once that is done they only look.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Stages call `python`; this makes it the one of .venv. Nothing phones home.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export HF_HUB_DISABLE_TELEMETRY := 1
export DVC_NO_ANALYTICS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else \
	  "fairtune needs Python 3.11, 3.12 or 3.13; this is %d.%d: make PYTHON=python3.12" \
	  % sys.version_info[:2])'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt requirements-embedded.txt | $(BIN)/python
	@echo "installing the pinned dependencies into $(VENV) (once, some minutes)"
	@$(BIN)/python -m pip install --quiet -r requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-embedded.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	@$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

# Outside a git repository DVC must be told so, and told otherwise once it is one.
.dvc/plots.html: fairtune/page.py $(VENV)/.run
	@[ -e .git ] || dvc config --local core.no_scm true
	@$(BIN)/python -m fairtune.page

.PHONY: setup
setup: $(VENV)/.run .dvc/plots.html ## install what the study needs, and nothing else
	@if [ -e .git ] && grep -qs no_scm .dvc/config.local; then \
	  dvc config --local --unset core.no_scm; fi

.PHONY: repro
repro: setup ## run what changed of the study, then show metrics and charts
	@$(BIN)/python -m fairtune.check
	@dvc repro
	@$(BIN)/python -m fairtune.registry
	@echo; dvc metrics show
	@dvc plots show >/dev/null
	@echo; echo "charts: dvc_plots/index.html (open it in a browser; it needs no network)"
	@[ -e .git ] || echo "no git repository here: 'dvc metrics diff', 'dvc plots diff' and" \
	  "'dvc exp' are missing; 'git init && git add . && git commit' brings them"

# The workers share the cores: numpy's own threads would wait for one another. Bytecode is kept:
# hundreds of processes would compile the same files. One worker more than there are cores, up to
# four: many tests wait for processes.
.PHONY: test
test: setup $(VENV)/.dev ## run the tests (no GPU, no hub)
	@HF_HUB_OFFLINE=1 OPENBLAS_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest \
	  -n $$($(BIN)/python -c 'import os; print(min(4, 1 + (os.cpu_count() or 1)))') \
	  --dist loadfile --no-loadscope-reorder

.PHONY: lint
lint: $(VENV)/.dev ## run the linters and the type checker
	@ruff check .
	@ruff format --check .
	@mypy

.PHONY: onnx
onnx: setup ## install what `fairtune.export --to onnx` and `fairtune.latency` need besides
	@$(BIN)/python -m pip install --quiet -r requirements-onnx.txt

.PHONY: lock
lock: $(VENV)/.dev ## compile the requirements files anew
	@pip-compile --quiet --allow-unsafe --upgrade --strip-extras --no-header --no-emit-index-url \
	  --no-emit-find-links -o requirements.txt requirements.in
	@sed -i 's/^\(torch==[0-9.]*\)+cpu/\1/' requirements.txt
	@for name in cluster onnx dev; do \
	  pip-compile --quiet --allow-unsafe --upgrade --strip-extras --no-header --no-emit-index-url \
	    --no-emit-find-links -o requirements-$$name.txt requirements-$$name.in || exit 1; \
	done

.PHONY: parallel
parallel: setup ## run the stale trainings at once, one on each GPU, then the rest
	@$(BIN)/python -m fairtune.check
	@$(BIN)/python -m fairtune.parallel
	@$(BIN)/python -m fairtune.registry

.PHONY: cluster
cluster: setup ## run the stale trainings on a Ray cluster (ADDRESS=auto, REMOTE=NAME), or at once here
	@$(BIN)/python -m pip install --quiet -r requirements-cluster.txt
	@$(BIN)/python -m fairtune.check
	@$(BIN)/python -m fairtune.cluster $(if $(ADDRESS),--address $(ADDRESS)) \
	  $(if $(REMOTE),--remote $(REMOTE))
	@$(BIN)/python -m fairtune.registry

.PHONY: verify
verify: setup ## hold the runs here against those committed (REV=HEAD)
	@$(BIN)/python -m fairtune.verify $(REV)

.PHONY: readme
readme: setup ## write the results into README.md
	@$(BIN)/python -m fairtune.readme

.PHONY: experiments
experiments: setup ## show DVC's experiments: accuracy of each method, and what each changed
	@$(BIN)/python -m fairtune.experiments

.PHONY: scaling
scaling: setup ## time the methods over rows, length, batch and model size (some minutes)
	@$(BIN)/python -m fairtune.scaling

.PHONY: clean
clean: ## remove what the pipeline made, and the environment
	rm -rf $(VENV) data models dvc_plots .dvc/cache .dvc/tmp
