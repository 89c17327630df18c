# The two commands to know: `make demo` and `make test`. `make help` lists the rest.
SYSTEM_PYTHON ?= python3.11
PYTHON := .venv/bin/python
export EPOCHLOG_DATA_DIR ?= $(CURDIR)/.epochlog

.PHONY: help install dashboard test-tools demo up down ps env logs clean-data test test-full lint format docs lock benchmarks

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: ## make .venv from the hash-pinned lists
	@command -v $(SYSTEM_PYTHON) >/dev/null || { echo "Python 3.11 is needed: apt-get install python3.11, or set SYSTEM_PYTHON"; exit 1; }
	@$(SYSTEM_PYTHON) stack/install.py

dashboard: install ## build the page (dashboard/) into static files
	@$(PYTHON) -m stack.dashboard

demo: install dashboard ## train a real model through the real log and show it
	@$(PYTHON) -m stack.demo

up: install dashboard ## start everything in the background; returns when /readyz answers 200
	@$(PYTHON) -m stack up

down: install ## stop everything
	@$(PYTHON) -m stack down

ps: ## one JSON object a line per process
	@$(PYTHON) -m stack ps

env: ## export lines for any client
	@$(PYTHON) -m stack env

logs: ## follow all logs
	@$(PYTHON) -m stack logs

clean-data: ## remove all data of the local stack
	@$(PYTHON) -m stack clean-data

# Most tests wait for a process, a broker or a clock. The files go out in their order: the long ones come first.
TWO_FILES_AT_ONCE = --numprocesses 2 --dist loadfile --no-loadscope-reorder
test-tools: install
	@$(PYTHON) -m stack.test_tools

test: install dashboard test-tools ## everything that must pass on every change (under 20 minutes)
	$(PYTHON) -m pytest $(TWO_FILES_AT_ONCE) -m "not full"

test-full: install dashboard test-tools ## the wide matrix and the long chaos (under 60 minutes)
	$(PYTHON) -m pytest -m "full or matrix"

lint: install ## style, types, import rules, generated files
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy .
	.venv/bin/lint-imports
	$(PYTHON) -m events --check
	$(PYTHON) -m stack.monitoring --check

format: install ## mend style
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

docs: install ## write what is generated from the event registry
	$(PYTHON) -m events
	$(PYTHON) -m stack.monitoring

benchmarks: install ## measure beside Trackio and MLflow
	$(PYTHON) -m benchmarks

UV ?= .venv/bin/uv
COMPILE = $(UV) pip compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml
GROUPS = api projections launcher ultralytics timm transformers analysis stack dev benchmarks
lock: ## pin all dependencies again, with hashes
	$(COMPILE) $(addprefix --group ,$(GROUPS)) --output-file requirements/all.txt
	for group in api projections ultralytics timm transformers mlflow; do \
		$(COMPILE) --group $$group --constraint requirements/all.txt --output-file requirements/$$group.txt; done
