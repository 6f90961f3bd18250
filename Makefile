# Everything starts here: `make run` trains, `make test` checks. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
# pip compiles every module on one core, which takes longer than all the rest: we do it on all of them. As with pip, it is
# no error that some packages ship files of other Pythons.
INSTALL := $(PIP_INSTALL) --no-compile -e .
# What nothing here loads is a third of it, and is left out: tests, other models of transformers, where telephone
# numbers are at home, torch's compiler, clients of clouds.
UNUSED := /tests?/|/transformers/models/(?!auto/|bert/|llama/|pegasus/|__init__)|/phonenumbers/geodata/
UNUSED := $(UNUSED)|/torch/(_inductor|testing/_internal)/|/databricks/|/moto/(iam|stepfunctions)/
COMPILE := $(BIN)/python -m compileall -q -j 0 -x '$(UNUSED)' $(VENV)/lib
# Two workers for two cores. loadscope keeps a module on one worker, so that its fixtures are built once; by itself it
# would begin with the modules of many tests, and end with one of few long ones on one worker.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder --durations 10

.PHONY: run up test test-slow test-all lint audit bench chaos chaos-short nights pictures help clean

run: $(VENV)/.installed ## install if need be, then train, judge and register all three families
	@$(BIN)/nightshift run

up: $(VENV)/.installed ## start the Prefect and MLflow servers and a worker on this machine
	@$(BIN)/nightshift up

test: lint ## lint, types, and every test that takes seconds
	@$(PYTEST) -m "not slow"

test-slow: $(VENV)/.installed-dev ## the tests that take minutes: servers, downloads, the whole pipeline
	@$(PYTEST) -m slow

# In one go: two workers collect 4,800 tests and import all that they need once, and the short ones fill the end.
test-all: lint ## both: what continuous integration runs
	@$(PYTEST)

audit: $(VENV)/.audit ## known vulnerabilities in what constraints.txt pins
	@$(VENV)/audit/bin/python .ci/audit

lint: $(VENV)/.installed-dev ## ruff and mypy
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

bench: $(VENV)/.installed-bench ## race the peers; BENCH="--data FOLDER --nanogpt FOLDER --joeynmt FOLDER" adds what needs them
	@$(BIN)/python -m benchmarks.results benchmarks/RESULTS.md $(BENCH)

pictures: $(VENV)/.installed-dev ## take the README's pictures of the Prefect UI, in a real browser
	@.ci/chromium
	@NIGHTSHIFT_SCREENSHOTS=deployments/pictures $(BIN)/python -m pytest tests/deployments/test_up.py -k in_browser

chaos: $(VENV)/.installed-dev ## 200 SIGKILLs over nights of tiny models, then failing writes, fsyncs, renames and POSTs; CHAOS="--kills 50 --seed 3"
	@$(BIN)/python -m benchmarks.chaos $(CHAOS)

chaos-short: $(VENV)/.installed-dev ## its tests, and those of outages and missed nights
	@$(PYTEST) -m chaos

nights: $(VENV)/.installed-dev ## thirty nights and more on a moved clock, over both changes of three zones' clocks; as root
	@$(BIN)/python -m benchmarks.nights

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

clean: ## remove the virtual environment and tool caches; trained models stay
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.created:
	@.ci/step "creating the virtual environment" $(VENV)/create.log $(PYTHON) -m venv $(VENV)
	@touch $@

# The stamps make a second call free; a changed requirement or pin installs again.
# The pip of a new venv can be years old: it takes twice the time, and before 25.1 it does not know --group.
$(VENV)/.pip: constraints.txt | $(VENV)/.created
	@.ci/step "bringing pip up to date" $(VENV)/pip.log $(PIP_INSTALL) --upgrade pip
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.pip
	@.ci/step "installing nightshift and what it needs" $(VENV)/install.log $(INSTALL)
	@.ci/step "compiling what was installed" $(VENV)/compile.log sh -c "$(COMPILE) || true"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.pip
	@.ci/step "installing nightshift and the tools for tests" $(VENV)/install-dev.log $(INSTALL) --group dev
	@.ci/step "compiling what was installed" $(VENV)/compile.log sh -c "$(COMPILE) || true"
	@touch $(VENV)/.installed $@

# A tool with requirements of its own, which are none of ours.
$(VENV)/.audit: | $(VENV)/.created
	@.ci/step "installing pip-audit" $(VENV)/audit.log sh -c \
	    "$(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip install --disable-pip-version-check pip-audit==2.10.1"
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	@.ci/step "installing what the benchmarks race against" $(VENV)/install-bench.log $(INSTALL) --group bench
	@touch $@
