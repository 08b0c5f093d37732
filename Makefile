# Two commands do everything on a fresh machine with Python 3.11 or later: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test lint claims bench docs clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Trueline needs Python 3.11 or later; set PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

.venv/installed-%: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[$*]'
	@touch $@

# A package to test against, whose own requirements would bring torchvision.
.venv/installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps curvlinops-for-pytorch einconv linear_operator
	@touch $@

demo: .venv/installed-report,data  ## train on real digits with 40 % wrong labels, and write demo/report.html
	$(BIN)/trueline demo --out demo

# A process for each core, with one thread each: tensors of this size only wait for a second one.
test: lint  ## the whole default suite, documentation examples included
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: .venv/installed-dev  ## style, strict types, and the structure of the package
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_structure.py

claims: .venv/installed-dev  ## published claims, at a stated scale with several seeds (long)
	$(BIN)/python -m pytest -m "claim or slow" --timeout 14400 --capture no

bench: .venv/installed-dev .venv/installed-bench  ## every number of benchmarks/results, ours and the peer in one run
	@set -e; for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script; done

docs: .venv/installed-docs  ## the documentation, in site/
	$(BIN)/mkdocs build --strict

clean:  ## remove what these targets made
	rm -rf .venv demo runs site .pytest_cache .mypy_cache .ruff_cache
