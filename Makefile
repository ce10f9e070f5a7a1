# Each target makes what it needs: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DEV    := $(VENV)/.ready-dev

.PHONY: demo test lint bench clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

$(READY): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(DEV): $(READY)
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

demo: $(READY)  ## train on real MNIST, attack, and print a robustness table
	$(BIN)/python -m advbench demo

test: lint  ## lint, types and the whole suite
	$(BIN)/python -m pytest

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## side by side with the peers, which get an environment of their own
	$(BIN)/python benchmarks/side_by_side.py

clean:
	rm -rf $(VENV) .venv-peers .mypy_cache .ruff_cache .pytest_cache build dist
