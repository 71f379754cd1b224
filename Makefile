# Reweigh. `make` alone says what there is. Each target is enough on a fresh machine with Python 3.11 or later.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup quick test long stress check lab bench architecture pictures pages clean lock

PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
# Each worker begins with a share of the tests in their order, so that files keep their fixtures; who ends early takes more.
PARALLEL := --numprocesses=logical --maxprocesses=8 --dist=worksteal --durations=10 --durations-min=10
STAMP := $(VENV)/.lock-sha256
export PATH := $(CURDIR)/$(BIN):$(PATH)
export JUPYTER_PREFER_ENV_PATH := 1

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | while IFS='|' read -r name what; do \
		printf '  make %-12s %s\n' "$$name" "$$what"; done

# The digest of the lock decides, not its time: a clone or a touch installs nothing again.
setup: ## the virtual environment, from the lock; skipped while the lock is the same
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: $$($(PYTHON) --version) is too old; name Python 3.11 or later: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@now=$$($(PYTHON) -c 'import hashlib, pathlib, sys; files = ("envs/requirements.lock", "pyproject.toml"); \
		print(hashlib.sha256(b"".join(pathlib.Path(f).read_bytes() for f in files) + sys.version.encode()).hexdigest())'); \
	if [ "$$now" != "$$(cat $(STAMP) 2>/dev/null)" ]; then \
		[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV); \
		echo "installing the locked packages into $(VENV) (once; torch is large)"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement envs/requirements.lock; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .; \
		echo "$$now" > $(STAMP); \
	fi

quick: setup ## the whole replication at scale quick: every figure, table and verdict, in minutes
	@$(BIN)/python -m reweigh.planning.watch logs/quick.log $(BIN)/snakemake --cores $(CORES) --config scale=quick
	@echo; echo "figures and tables: figures/quick/"; echo "verdicts:           results/quick/scorecard.html (or .md, .csv)"

test: setup ## all tests, on all cores
	@$(BIN)/python -m pytest $(PARALLEL)

long: setup ## the tests that take minutes (make test leaves them out)
	@$(BIN)/python -m pytest -m minutes

stress: setup ## fifty kills at random moments over a small grid; every record must end the same (make test has two)
	@PYTHONPATH=tests $(BIN)/python tools/stress.py --kills 50

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

clean: ## remove what can be made again: environment, caches, splits, logs, quick and smoke results (not raw data, not paper results)
	rm -rf $(VENV) .snakemake .reweigh logs crates data/splits results/smoke results/quick figures/smoke figures/quick
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis src/*.egg-info
	find src tests -name __pycache__ -prune -exec rm -rf {} +

lock: setup ## write envs/requirements.lock again from pyproject.toml (needs uv)
	{ echo "# Made by \`make lock\` from pyproject.toml, for every platform and Python from 3.11 on; do not edit."; \
	  uv pip compile --universal --no-header --no-annotate --python-version 3.11 --extra pipeline --extra dev --extra slurm --upgrade --quiet pyproject.toml; } \
	  > envs/requirements.lock.new
	mv envs/requirements.lock.new envs/requirements.lock
