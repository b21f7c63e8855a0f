# `make train` and `make test` need Python 3.11 or later and nothing else: each sets up .venv.
# Another interpreter: make train PYTHON=python3.13. Another data set: make train DATA=digits.

PYTHON ?= python3
VENV ?= .venv
DATA ?= iris
BIN := $(VENV)/bin

.PHONY: train test slow check docs bench clean

train: $(VENV)/.train  ## train on real data and print the scores
	$(BIN)/gradloom train $(DATA)

test: $(VENV)/.dev  ## every test but the slow ones, and the examples in docstrings and README
	$(BIN)/python -m pytest -n auto -m "not slow"

slow: $(VENV)/.dev  ## the slow tests
	$(BIN)/python -m pytest -n auto -m slow

check: $(VENV)/.dev  ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.docs  ## run every page, and build the site in build/site
	$(BIN)/python -m mkdocs build --strict

bench: $(VENV)/.bench  ## time the engine against its peers
	$(BIN)/python benchmarks/eager.py
	$(BIN)/python benchmarks/native.py

clean:
	rm -rf $(VENV)

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Gradloom needs Python 3.11 or later: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# One stamp for each extra, made anew when the dependencies change.
$(VENV)/.train $(VENV)/.dev $(VENV)/.docs $(VENV)/.bench: $(VENV)/.%: $(VENV)/.python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
