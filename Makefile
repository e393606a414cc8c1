# Works with GNU make on Linux, macOS and Windows. Every recipe is one plain command without
# shell syntax, so that Windows' cmd.exe runs it as well as sh does.

ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := .venv/Scripts
ACTIVATE := .venv\\Scripts\\activate
else
PYTHON ?= $(firstword $(shell command -v python3) $(shell command -v python))
BIN := .venv/bin
ACTIVATE := source .venv/bin/activate
endif

PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input install -qq
UV ?= uv
STAMP := .venv/coordkit-installed

# The upper bound is the lock's: its compiled packages have wheels for 3.11 to 3.14.
CHECK_PYTHON = import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 15) else \
'coordkit needs Python 3.11 to 3.14, and ' + sys.executable + ' is ' + sys.version.split()[0] + \
'. Name another one: make setup PYTHON=python3.12')

ANNOUNCE = print('Installing the locked packages into .venv: once, 1 to 3 minutes, 1.3 GB on disk.')
FINISH = import pathlib; pathlib.Path('$(STAMP)').touch(); print('Installed. To type coordkit commands: $(ACTIVATE)')

LITTER := .venv build dist .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
CLEAN = import shutil; [shutil.rmtree(p, ignore_errors=True) for p in '$(LITTER)'.split()]

.DEFAULT_GOAL := help
.PHONY: help setup run lab test book notebooks bench lint data lock clean

define HELP
make setup   install everything into .venv (once, 1 to 3 minutes, 1.3 GB; the others do it first)
make run     climb the ladder of layers on both cases, print the failure rates (no key, no network)
make lab     open the first notebook in JupyterLab
make test    run the tests and re-run every notebook against its committed output
make book    the notebooks as static pages in build/book, to read without Jupyter
make notebooks   execute the notebooks again and write them back, for a commit
make bench   time the hot paths
make lint    ruff and mypy
make data    make the sample data in data/ again
make lock    make requirements.lock again from pyproject.toml (needs uv)
make clean   delete .venv and the caches; your results in runs/ stay

Another Python:  make setup PYTHON=python3.12
endef

help:
	$(info $(HELP))
	@cd .

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(if $(PYTHON),,$(error No Python found. Install Python 3.11 to 3.14, or name one: make setup PYTHON=/path/to/python))
	@$(PYTHON) -c "$(CHECK_PYTHON)"
	@$(PYTHON) -c "$(ANNOUNCE)"
	@$(PYTHON) -m venv .venv
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@$(PY) -c "$(FINISH)"

run: setup
	@$(BIN)/coordkit ladder billing support

lab: export JUPYTER_CONFIG_PATH := $(CURDIR)/.jupyter
lab: setup
	@$(PY) -m jupyter lab notebooks/00_the_gap.ipynb

# One call, so that there is one closing line and one exit code. loadscope keeps a notebook's
# cells on one worker. The benchmarks run once each, untimed.
test: setup
	@$(PY) -m pytest -n 2 --dist loadscope --benchmark-disable --nbval --nbval-current-env tests notebooks

book: setup
	@$(PY) -m coordkit.book site build/book

notebooks: setup
	@$(PY) -m coordkit.book run
	@$(PY) -m ruff format --quiet notebooks

bench: setup
	@$(PY) -m pytest tests/benchmarks --benchmark-only

lint: setup
	@$(PY) -m ruff check --output-format concise
	@$(PY) -m ruff format --check
	@$(PY) -m mypy

data: setup
	@$(BIN)/coordkit data

# fewest: one version of each package for every platform and Python, so results compare.
lock:
	@$(UV) pip compile pyproject.toml --all-extras --universal --python-version 3.11 --fork-strategy fewest --upgrade --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet --output-file requirements.lock

clean:
	@$(PYTHON) -c "$(CLEAN)"
