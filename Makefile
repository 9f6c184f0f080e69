# `make demo` and `make test` each work alone on a fresh machine with Python 3.11 or newer: they make .venv first.
PYTHON ?= python3
BIN := .venv/bin

# Without compiled bytecode each process compiles torch anew, which takes longer than most of what is run here.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo test test-lowest lint format fuzz mutants tables docs release-check clean

setup: .venv/ready

# uv lives inside the environment, so nothing is installed outside it.
.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "skipway needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[dev]'
	@touch $@

# The run's folder is made anew each time, so that the demo can be repeated.
demo: setup
	@rm -rf runs/demo
	$(BIN)/skipway train digits --out runs/demo
	$(BIN)/skipway predict runs/demo docs/digit.png

test: setup lint
	$(BIN)/python -m pytest -n 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Ten thousand hostile inputs for each surface, counted in results/fuzz.json: half an hour of one core.
fuzz: setup
	$(BIN)/python -m benchmarks.fuzz

# How many faults of one token the tests notice, in results/mutants.json: an hour of one core. Those that are not
# noticed are tried again with more time: python -m benchmarks.mutants --survivors --seconds 120
mutants: setup
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[dev,mutation]'
	$(BIN)/python -m benchmarks.mutants

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Write the README's tables and the studies' pages from results/.
tables: setup
	$(BIN)/python -m benchmarks.tables
	$(BIN)/skipway study report --results results/studies --docs docs/studies --out build/studies

# The documentation's site, build/docs/index.html, without a network. Warnings are errors, and internal links are checked.
docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -j 1 -d build/doctrees docs build/docs
	@echo "open build/docs/index.html"

# Whether the source can be released; with TAG=v1.2.3, whether as that. The distributions are left in dist/.
release-check: setup
	$(BIN)/python -m release.check $(if $(TAG),--tag $(TAG))

# The oldest versions that pyproject.toml allows, in an environment of their own: what depends on other packages most.
LOWEST := tests/test_bundle.py tests/test_hardware.py tests/test_python_api.py tests/test_estimator.py tests/data \
	tests/tasks tests/evaluation tests/deploy/test_export.py tests/deploy/test_engines.py tests/training/test_loop.py \
	tests/training/test_resume.py tests/training/test_tracking.py tests/test_push.py

test-lowest: setup
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/lowest
	$(BIN)/uv pip install --quiet --python build/lowest/bin/python --resolution lowest-direct '.[all]' \
		'pytest>=8.2' 'pytest-timeout>=2.3' 'httpx>=0.27' 'hypothesis>=6.100'
	build/lowest/bin/python -m pytest $(LOWEST)

clean:
	rm -rf .venv build dist src/*.egg-info
