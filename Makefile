# Everything a newcomer needs: `make bench` measures, `make test` tests, `make help` lists.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXPERIMENT ?= quick
WORKERS ?=
RUN_OPTIONS = $(if $(WORKERS),--workers $(WORKERS)) $(if $(LIMIT),--limit $(LIMIT))

.DEFAULT_GOAL := help
.PHONY: help bench kodak aigc plots report paper compare test campaign perf lint format clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# One stamp for each set of extras, so that `make bench` installs no more than it needs.
$(VENV)/.bench: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt $(VENV)/.bench
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# What no package brings: got once; where it cannot be had, a line says so and the metrics that need it are left out.
.PHONY: weights
weights: $(VENV)/.bench
	@$(BIN)/rdbench fetch lpips || true

bench: $(VENV)/.bench weights ## measure bench/experiments/quick.yaml (EXPERIMENT=name for another) into results/, with report.html
	$(BIN)/rdbench run $(EXPERIMENT) --keep $(RUN_OPTIONS)
	$(BIN)/rdbench report results/$(EXPERIMENT)

kodak: $(VENV)/.bench ## measure what is missing of results/kodak (RDBENCH_DATA names the folder of images)
	$(BIN)/rdbench run kodak $(RUN_OPTIONS)

plots: $(VENV)/.bench ## draw every plot and table again from stored records; no codec runs
	$(BIN)/rdbench plot $(dir $(wildcard results/*/records.csv))

report: $(VENV)/.bench ## write report.html of every results folder
	$(BIN)/rdbench report $(dir $(wildcard results/*/records.csv))

paper: $(VENV)/.bench ## measure what is missing of results/aigc, draw the paper's figures, judge its claims
	$(BIN)/rdbench run aigc $(RUN_OPTIONS)
	$(BIN)/rdbench paper results/aigc

compare: $(VENV)/.bench ## BD figures of NEW against BASELINE (labels, or folder:label), in RESULTS
	@test -n "$(BASELINE)" -a -n "$(NEW)" || { echo "usage: make compare BASELINE=vvenc NEW=avif [RESULTS=results/kodak]"; exit 2; }
	$(BIN)/rdbench compare $(BASELINE) $(NEW) $(if $(RESULTS),--results $(RESULTS))

test: $(VENV)/.dev weights ## run the tests
	$(BIN)/python -m pytest -n 2

campaign: $(VENV)/.dev ## try hard to break it: damaged streams, kills, misbehaving codecs (docs/RELIABILITY.md)
	$(BIN)/python -m tests.campaign --streams 20000 --kills 100 --misbehaving 40 $(if $(SEED),--seed $(SEED))

perf: $(VENV)/.dev weights ## measure speed and memory (docs/PERFORMANCE.md)
	$(BIN)/python -m pytest tests/perf --override-ini addopts= --override-ini timeout=0 -q --import-mode=importlib

lint: $(VENV)/.dev ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## let ruff format and sort
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the virtual environment and caches; results stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
