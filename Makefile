# On a fresh machine with Python and make, these two are enough: make demo, make test.
# Each makes the virtual environment .venv first, where it isn't there yet or is out of date.

VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
COMPILED := kmax_tf/protos/.compiled

# The first interpreter that really runs (version managers leave shims that don't) and can make
# environments; 3.11 first, as it has the primary stack. Choose another with make PYTHON=...
CANDIDATES := python3.11 python3.10 python3.9 python3.12 python3.13 python3
PROBE := import ensurepip, sys, venv; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in $(CANDIDATES); do \
  $$python -c '$(PROBE)' >/dev/null 2>&1 && { echo $$python; break; }; done)

# Two processes, each file in one of them (tests/conftest.py): TensorFlow's import is paid twice, not
# once a test.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test test-slow check package format protos clean install
.DELETE_ON_ERROR:

demo: install  ## Generate, train, evaluate, export and predict, on a laptop
	@$(BIN)/kmax demo

test: install  ## The tests, but for those marked slow
	$(PYTEST) -m "not slow"

test-slow: install  ## Those marked slow: what takes a minute or more and cannot be made quick
	$(PYTEST) -m slow

check: install  ## What can be said without running: style, types, layers, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

package: install  ## Build dist/: the source distribution and, of it, the wheel
	@$(BIN)/python -m build >$(VENV)/build.log 2>&1 || { cat $(VENV)/build.log >&2; exit 1; }
	@! grep -i -A 9 deprecat $(VENV)/build.log
	@ls dist/*

format: install  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(INSTALLED) $(COMPILED)

protos: $(INSTALLED)  ## Compile protos/ into kmax_tf/protos
	@$(BIN)/python -c 'import pathlib, setup; setup.compile_protos(pathlib.Path("."))'
	@touch $(COMPILED)

# The stamp comes last, so an interrupted installation is taken up again. An environment that was
# left without a working pip is made anew.
$(INSTALLED): pyproject.toml setup.py $(wildcard requirements/*)
	@test -n "$(PYTHON)" || { echo "No Python 3.9 to 3.13 with venv and ensurepip found." \
	  "Install one (Debian: apt install python3-venv) or give make PYTHON=..." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  echo "Making the virtual environment $(VENV) with $(PYTHON)"; $(PYTHON) -m venv --clear $(VENV); }
	@$(BIN)/python requirements/install.py
	@touch $@

$(COMPILED): $(wildcard protos/*.proto) | $(INSTALLED)
	@$(MAKE) --no-print-directory protos

clean:  ## Remove what is made from the sources; environments and runs stay
	rm -rf build dist *.egg-info kmax_tf/protos/*_pb2.py* $(COMPILED)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find kmax_tf tests -name __pycache__ -prune -exec rm -rf {} +
