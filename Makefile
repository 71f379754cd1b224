# Reweigh. `make` alone says what there is. Each target is enough on a fresh machine with Python 3.11 or later.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup quick test long stress check lab bench architecture pictures pages clean distclean lock

PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
# Each worker begins with a share of the tests in their order, so that files keep their fixtures; who ends early takes more.
PARALLEL := --numprocesses=logical --maxprocesses=8 --dist=worksteal --durations=10 --durations-min=10
# Where home cannot be written to, pip and Snakemake keep their caches here.
ifneq ($(shell mkdir -p "$${XDG_CACHE_HOME:-$${HOME:-/dev/null}/.cache}" 2> /dev/null && test -w "$${XDG_CACHE_HOME:-$${HOME:-/dev/null}/.cache}" && echo yes),yes)
export XDG_CACHE_HOME := $(CURDIR)/.reweigh/cache
endif
export PATH := $(CURDIR)/$(BIN):$(PATH)
export JUPYTER_PREFER_ENV_PATH := 1

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | while IFS='|' read -r name what; do \
		printf '  make %-12s %s\n' "$$name" "$$what"; done

# What is named PYTHON is asked for its version here, because an old one cannot read the tool.
define PYTHON_IS_THERE
@command -v "$(PYTHON)" > /dev/null || { \
	echo "make: there is no $(PYTHON) here; name Python 3.11 or later: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "make: $$("$(PYTHON)" --version 2>&1) is too old; name Python 3.11 or later: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
endef

setup: ## the virtual environment, from the lock; skipped while it is whole and the lock the same
	$(PYTHON_IS_THERE)
	@"$(PYTHON)" tools/environment.py

quick: setup ## the whole replication at scale quick: every figure, table and verdict, in minutes
	@$(BIN)/python -m reweigh.planning.watch logs/quick.log $(BIN)/snakemake --cores $(CORES) --config scale=quick
	@echo; echo "figures and tables: figures/quick/"; echo "verdicts:           results/quick/scorecard.html (or .md, .csv)"

test: setup ## all tests, on all cores
	@$(BIN)/python -m pytest $(PARALLEL)

long: setup ## the tests that take minutes (make test leaves them out)
	@$(BIN)/python -m pytest -m minutes

stress: setup ## 100 kills, full disks, wrong clocks over a small grid, and 10,000 changed bytes: nothing may differ (make test has 200)
	@PYTHONPATH=tests:tools $(BIN)/python -m stress --kills 100 --changes 10000

check: setup ## formatting, linting, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile workflow
	@$(BIN)/snakemake --lint
	@$(BIN)/mypy

lab: setup ## JupyterLab with the project's kernel
	@$(BIN)/jupyter lab notebooks

bench: setup ## time steps, throughput, packing and planning on this machine: results/bench/
	@$(BIN)/reweigh bench

architecture: setup ## draw docs/architecture.png from the imports of src/reweigh, and test that they run one way
	@$(BIN)/python tools/architecture.py

pictures: architecture ## draw that and docs/one-number.png
	@$(BIN)/python tools/one_number.py

pages: setup ## write again what README and docs show of explain, audit and the verdicts
	@$(BIN)/reweigh scorecard --scale paper --readme
	@$(BIN)/reweigh scorecard --error-rates --to docs
	@$(BIN)/python tools/pages.py

clean: ## remove caches
	$(PYTHON_IS_THERE)
	@"$(PYTHON)" tools/clean.py

distclean: ## remove also the environment, checkpoints, splits and small results, after saying so (nothing of scale paper)
	$(PYTHON_IS_THERE)
	@"$(PYTHON)" tools/clean.py --all

lock: setup ## write envs/requirements.lock again from pyproject.toml (needs uv)
	{ echo "# Made by \`make lock\` from pyproject.toml, for every platform and Python from 3.11 on; do not edit."; \
	  uv pip compile --universal --no-header --no-annotate --python-version 3.11 --extra pipeline --extra dev --extra slurm --upgrade --quiet pyproject.toml; } \
	  > envs/requirements.lock.new
	mv envs/requirements.lock.new envs/requirements.lock
