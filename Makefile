# Everything starts here: `make run` trains, `make test` checks. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
# Two workers for two cores. loadscope keeps a module on one worker, so that its fixtures are built once.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadscope --durations 10

# pip learned --group in 25.1; the pip of a fresh venv is older. This prints one group of pyproject.toml.
define GROUP
import sys, tomllib
groups = tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]
def expand(name):
    for entry in groups[name]:
        yield from expand(entry["include-group"]) if isinstance(entry, dict) else [entry]
print(*expand(sys.argv[1]), sep="\n")
endef
export GROUP

.PHONY: run up test test-slow lint bench help clean

run: $(VENV)/.installed ## install if need be, then train, judge and register all three families
	@$(BIN)/nightshift run

up: $(VENV)/.installed ## start the Prefect and MLflow servers and a worker on this machine
	@$(BIN)/nightshift up

test: lint ## lint, types, and every test that takes seconds
	@$(PYTEST) -m "not slow"

test-slow: $(VENV)/.installed-dev ## the tests that take minutes: servers, downloads, the whole pipeline
	@$(BIN)/python -m pytest -m slow --durations 10

lint: $(VENV)/.installed-dev ## ruff and mypy
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

bench: $(VENV)/.installed-bench ## race the peers; BENCH="--data FOLDER --nanogpt FOLDER --joeynmt FOLDER" adds what needs them
	@$(BIN)/python -m benchmarks.results benchmarks/RESULTS.md $(BENCH)

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

clean: ## remove the virtual environment and tool caches; trained models stay
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.created:
	@.ci/step "creating the virtual environment" $(VENV)/create.log $(PYTHON) -m venv $(VENV)
	@touch $@

# The stamps make a second call free; a changed requirement or pin installs again.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.created
	@.ci/step "installing nightshift and what it needs" $(VENV)/install.log $(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(BIN)/python -c "$$GROUP" dev > $(VENV)/dev-requirements.txt
	@.ci/step "installing the tools for tests" $(VENV)/install-dev.log $(PIP_INSTALL) -r $(VENV)/dev-requirements.txt
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	@$(BIN)/python -c "$$GROUP" bench > $(VENV)/bench-requirements.txt
	@.ci/step "installing what the benchmarks race against" $(VENV)/install-bench.log $(PIP_INSTALL) -r $(VENV)/bench-requirements.txt
	@touch $@
