.DEFAULT_GOAL := check
.DELETE_ON_ERROR:
SHELL := /bin/bash

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))
BIN := .venv/bin
CODE := service tests tools docs
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: check format-check lint types imports limits setup run test exporters clients bench format locks help clean

check: format-check lint types imports limits test  ## Everything that must hold (the default)

setup: .venv/.made .triton/.made  ## Make the environments inside this checkout

run: setup  ## Serve the sample model with a real Triton on this machine
	@$(BIN)/lookonce up

test: setup  ## Every test that needs no GPU, a real local Triton among them
	$(BIN)/pytest --numprocesses 2 --dist loadfile

exporters: setup  ## Files of real exporters, in an environment of their own (fetches PyTorch)
	tests/exporters/run.sh

clients: setup  ## Clients that others wrote, and schemathesis, in an environment of their own
	tests/clients/run.sh

bench: setup  ## Measure; the table, numbers and pictures land in bench/results
	$(BIN)/python tools/bench

format: .venv/.made  ## Put the code in its one format
	$(BIN)/ruff check --fix-only --quiet $(CODE)
	$(BIN)/ruff format $(CODE)

format-check: .venv/.made
	$(BIN)/ruff format --check --quiet $(CODE)

lint: .venv/.made
	$(BIN)/ruff check --quiet $(CODE)

types: .venv/.made
	$(BIN)/mypy

imports: .venv/.made
	$(BIN)/lint-imports

limits: .venv/.made
	$(BIN)/python tools/limits.py

locks:  ## Write the locks anew (needs uv)
	tools/lock.sh

clean:  ## Remove what setup made
	rm -rf .venv .triton .clients .exporters .lookonce

help:  ## This list
	@awk -F ':.*##' '/^[a-z-]+:.*##/ { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/.made: locks/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Making .venv (once)…"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --require-hashes --requirement locks/dev.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.triton/.made: .venv/.made service/lookonce/local/triton.lock
	@$(BIN)/lookonce up --prepare
	@mkdir -p .triton && touch $@
