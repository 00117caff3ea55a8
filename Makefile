# make install, make test, make demo: all that a fresh machine with Python >= 3.10 needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
BUNDLES := $(sort $(wildcard bundles/*))

export MLFLOW_DISABLE_TELEMETRY := true
# Tests start many small operations: more than one thread makes them slower.
test test-slow: export OMP_NUM_THREADS := 1
# Tests run in as many processes as there are cores, at most four.
WORKERS := -n auto --maxprocesses 4

.PHONY: help install test test-slow hostile lint demo dashboard clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

install: $(STAMP)  ## Create .venv with the pinned versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "medsemi needs Python 3.10 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	@touch $@

test: install  ## Run the quick tests
	$(BIN)/python -m pytest $(WORKERS) --dist loadfile -m "not slow and not gpu"

test-slow: install  ## Run the slow tests (whole commands, kills, two ranks)
	$(BIN)/python -m pytest $(WORKERS) --dist worksteal -m "slow and not gpu" || [ $$? -eq 5 ]  # 5: there are none

hostile: install  ## Let the program read 50,000 damaged files (six minutes on two cores)
	$(BIN)/python tests/hostile/campaign.py --count 50000 --first 2000 --workers 2

lint: install  ## Check style, types, layers and bundles
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	set -e; for bundle in $(BUNDLES); do $(BIN)/python -m medsemi.bundle.lint "$$bundle"; done

demo: install  ## Train, compare and segment phantoms in about ten minutes
	$(BIN)/python scripts/demo.py --output runs/demo

# MLflow would start six more processes for jobs that nobody sends.
dashboard: export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
dashboard: install  ## Show all runs in a browser, at http://127.0.0.1:5000
	@mkdir -p runs
	$(BIN)/mlflow server --backend-store-uri sqlite:///runs/mlflow.db --host 127.0.0.1 --port 5000 --workers 1

clean:  ## Remove the environment and what the tools leave, but no results
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find medsemi scripts benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
