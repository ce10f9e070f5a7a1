# Each target makes what it needs: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DEV    := $(VENV)/.ready-dev
OLDEST := .venv-oldest
# What few need to develop with, in an environment of its own: PyTorch, torchvision, timm, Keras, tensorboardX.
WHOLE  := .venv-integrations
# What the site is built with: MkDocs, and the package whose docstrings it shows.
SITE   := .venv-docs

.PHONY: demo test test-integrations test-oldest lint bench leaderboard reference docs clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

$(READY): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(DEV): $(READY)
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

demo: $(READY)  ## train on real MNIST with and without a defense, attack both, print the table
	rm -rf runs/demo
	$(BIN)/advbench train mnist --arch wong-cnn --defense standard --epochs 2 --out runs/demo/undefended
	$(BIN)/advbench train mnist --arch wong-cnn --defense pgd:steps=5,rel_step_size=0.4 --epochs 4 --eps-warmup 1 \
	    --lr 2e-3 --out runs/demo/robust
	$(BIN)/advbench bench runs/demo/undefended runs/demo/robust --attack fgsm --attack pgd \
	    --attack cw:rounds=3,steps=60,lr=0.05,c=1 -n 500 --out runs/demo/table
	$(BIN)/advbench attack runs/demo/robust --attack pgd -n 100 --figure runs/demo/examples.png

# COVER=--cov also measures branch coverage, against the floor in pyproject.toml; it takes half as long again.
test: $(DEV)  ## the whole suite, then lint and types: a newer checker's verdict keeps nobody from the tests
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(COVER)  # a file's tests share what they compile
	$(MAKE) --no-print-directory lint

# PyTorch comes as pip finds it: several GB for CUDA on Linux, 200 MB for the CPU where PIP_EXTRA_INDEX_URL names PyTorch's
# index of CPU builds or PIP_FIND_LINKS a folder that holds one. REQUIRE=--all: fail where the machine lacks something.
$(WHOLE)/.ready: pyproject.toml
	$(PYTHON) -m venv $(WHOLE)
	$(WHOLE)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(WHOLE)/bin/python -m pip install --quiet --editable . --group integrations
	touch $@

test-integrations: $(WHOLE)/.ready  ## what `make test` leaves out: PyTorch, torchvision, timm, Keras, tensorboardX, a browser, a model server
	$(WHOLE)/bin/python tests/integrations.py $(REQUIRE)

# Annotations of jax and numpy differ by version. Those that Python 3.11 gets are what the types must agree with.
lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/deptry advbench attacks defenses
	$(BIN)/deptry tests examples benchmarks --ignore DEP002,DEP004
	$(BIN)/mypy || { $(BIN)/python -V | grep -vF "Python 3.11." && echo "reported only: types must agree with what Python 3.11 gets"; }

# Wheels alone: where the lowest version has none for this Python, the lowest that has.
$(OLDEST)/.ready: pyproject.toml
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --upgrade "pip>=25.1" "uv>=0.8"
	$(OLDEST)/bin/uv pip compile --quiet --python $(OLDEST)/bin/python --resolution lowest-direct --only-binary :all: \
	    --all-extras --group test pyproject.toml --output-file $(OLDEST)/versions.txt
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --requirement $(OLDEST)/versions.txt
	$(OLDEST)/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

# Deprecated by newer versions of what the oldest stand on is not ours to mend: warnings don't count here.
test-oldest: $(OLDEST)/.ready  ## the whole suite with the lowest version of everything that pyproject.toml names
	$(OLDEST)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -W default

bench: $(READY) $(WHOLE)/.ready  ## side by side with the peers, which get an environment of their own
	$(BIN)/python benchmarks/side_by_side.py
	$(WHOLE)/bin/python benchmarks/your_network.py
	$(WHOLE)/bin/python benchmarks/epochs.py

leaderboard: $(READY)  ## every released model under the full suite, on the whole test set: hours
	$(BIN)/python benchmarks/leaderboard.py

reference: $(READY)  ## docs/reference.md and the JSON Schemas, from the application
	$(BIN)/python docs/reference.py

$(SITE)/.ready: pyproject.toml
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(SITE)/bin/python -m pip install --quiet --editable . --group docs
	touch $@

# --quiet would hide warnings from --strict; the variable silences a notice about another program of the theme's authors.
docs: $(SITE)/.ready  ## the documents as a site: open site/index.html; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict --clean

clean:
	rm -rf $(VENV) $(WHOLE) $(OLDEST) $(SITE) .venv-server .venv-peers .mypy_cache .ruff_cache .pytest_cache build dist site
