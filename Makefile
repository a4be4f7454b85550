# Everything runs in .venv, which the first target that needs it makes: `make fit` on a fresh machine is enough.
PYTHON ?= python3
FLOOR_PYTHON ?= $(PYTHON)
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FLOOR_STAMP := .venv-floor/.installed

.DEFAULT_GOAL := help
.PHONY: help fit test check test-floor bench clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'Settings: ARGS="data=voc data.root=..." (of fit, test, bench), PYTHON=python3.12 (makes .venv; 3.11 or later)'

fit: $(STAMP) ## install, and train on the embedded data set; minutes on a CPU
	$(BIN)/python -m lightning_centernet fit $(ARGS)

test: $(STAMP) ## install, and run the tests
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: $(STAMP) ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-floor: $(FLOOR_STAMP) ## run the tests with the lowest versions that pyproject.toml allows (FLOOR_PYTHON=python3.11)
	.venv-floor/bin/python -m pytest -n 2 $(ARGS)

bench: $(STAMP) ## compare speed and memory with plain transcriptions of the originals' formulas
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove environments, caches and build products; runs/ stays
	rm -rf $(VENV) .venv-floor build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make a second `make` skip the installation until the dependencies change.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo '$(PYTHON) is not Python 3.11 or later: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(FLOOR_STAMP): pyproject.toml constraints-floor.txt
	$(FLOOR_PYTHON) -m venv .venv-floor
	.venv-floor/bin/python -m pip install --disable-pip-version-check --constraint constraints-floor.txt --editable '.[test]'
	@touch $@
