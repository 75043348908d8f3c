# `make demo` and `make test` need Python 3.11 or newer and nothing else: they create .venv.
#
#   make demo PYTHON=/opt/python3.12/bin/python3     another interpreter
#   make demo CUDA=1
#       PyPI's torch also where it brings CUDA along (Linux, gigabytes), in place of the CPU build

VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install -qq -c constraints.txt
SOURCES := setup.cfg pyproject.toml constraints.txt

PYTHON      ?=
CUDA        ?=
TORCH       := torch==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
DEMO_FLAGS  ?= --epochs 10 --batch-size 16 --seed 7
TEST_FLAGS  ?=
BENCH       ?= benchmarks/query.py

.PHONY: help venv demo test fuzz vendors oldest wheel lint docs bench clean
.DELETE_ON_ERROR:

help:
	@echo "make venv    create $(VENV) and install pilotcut with the versions of constraints.txt"
	@echo "make demo    train a 4-qubit network on Iris with 2 cuts, on this machine"
	@echo "make test    run the whole test suite"
	@echo "make fuzz    every property on ten times as many examples, drawn at random"
	@echo "make vendors environments of IQM, AQT, Braket and QRMI, and the tests that need them"
	@echo "make oldest  an environment of the oldest versions that setup.cfg allows, and tests in it"
	@echo "make wheel   sdist and wheel; the wheel alone in an environment of its own, and the README's commands"
	@echo "make lint    ruff, mypy, and the rules of the house (docs/architecture.md)"
	@echo "make docs    the documentation site, docs/_build/html/index.html; its notebooks run if they changed"
	@echo "make bench   ours against qiskit-addon-cutting, side by side"
	@echo "make clean   remove $(VENV) and caches; runs/ stays"

venv: $(VENV)/.installed
	@echo "$(VENV) is ready: try $(BIN)/pilotcut --help"

# A fresh run directory each time: the date, down to the second.
demo: $(VENV)/.installed
	$(BIN)/pilotcut train iris --cuts 2 --qubits 4 --mode counts --shots 1024 $(DEMO_FLAGS) \
	    --pilots laptop --run-dir runs/demo-$$(date +%Y%m%d-%H%M%S)

# Tests that start processes run one at a time, and so do those on Slurm: GROUPS in tests/conftest.py.
# Both mostly wait, so a third process computes beside them, also where there are two cores.
# As root on Debian it also installs Slurm and Chromium, for tests that skip where there is none;
# with PILOTCUT_MUST_RUN=1 what can be installed must be (tests/support/kinds.py).
test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 3 --dist loadgroup $(TEST_FLAGS)

fuzz: $(VENV)/.installed-test
	PILOTCUT_FUZZ=$(or $(FUZZ),10) $(BIN)/python -m pytest -n 2 -m "hypothesis" --timeout 3600 \
	    $(TEST_FLAGS)

# IQM's and AQT's clients want other versions of Qiskit than ours: four minutes and 1.7 GB, once.
vendors: $(VENV)/.installed-test
	$(BIN)/python tests/support/vendor_stacks
	$(BIN)/python -m pytest -m vendors $(TEST_FLAGS)

# From the lower bounds of setup.cfg; torch of that age brings CUDA along: three minutes and 5 GB, once.
oldest: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m support.oldest_stack
	PYTHONPATH=. .oldest/bin/python -m pytest -n 2 --dist loadgroup -o addopts=--strict-markers \
	    -m "not slow" tests/circuits tests/backends tests/execution tests/primitives $(TEST_FLAGS)

# Some 1.5 GB and minutes, in a temporary folder.
wheel: $(VENV)/.installed-test
	$(BIN)/python tests/support/wheel_alone.py

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python .ci/house.py

# Warnings are errors, and so is a link of the site to nothing. What notebooks print is kept in
# docs/.jupyter_cache, so the first time takes minutes and later ones half of one.
docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -q -W --keep-going -d docs/_build/doctrees docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

bench: $(VENV)/.installed-bench
	$(BIN)/python $(BENCH)

clean:
	rm -rf $(VENV) docs/_build docs/.jupyter_cache docs/reference/generated build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pilotcut tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and by its pinned version: left to itself, pip may take the newest and
# its CUDA libraries. setuptools comes with it, so that the build uses the pinned one too.
# The extras are those that the demo and README use.
$(VENV)/.installed: $(SOURCES)
	@$(ENSURE_VENV)
	@echo "Installing pilotcut into $(VENV) (a few minutes the first time) ..."
	@$(INSTALL_TORCH)
	@$(INSTALL) --no-build-isolation -e '.[train,report,slurm]'
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	@echo "Installing what '$*' needs into $(VENV) ..."
	@$(INSTALL) --no-build-isolation -e '.[$*]'
	@touch $@

# Where the usual torch would bring CUDA along, its CPU build is looked for, unless CUDA is asked for.
define INSTALL_TORCH
if [ -z "$(CUDA)" ] && $(INSTALL) --dry-run --report - $(TORCH) 2>/dev/null | \
        grep -qE '"name": "(nvidia|cuda)'; then \
    index="--extra-index-url $(TORCH_INDEX)"; \
fi; \
$(INSTALL) $$index $(TORCH) setuptools
endef

# A .venv that works is kept; a half-made or too old one is made anew.
RECENT := import sys; sys.exit(sys.version_info < (3, 11))
define ENSURE_VENV
if $(BIN)/python -c 'import pip; $(RECENT)' 2>/dev/null; then exit 0; fi; \
for python in $(or $(PYTHON),python3.11 python3 python3.12 python3.13 python3.14); do \
    if $$python -c 'import ensurepip; $(RECENT)' 2>/dev/null; then \
        echo "Creating $(VENV) with $$($$python --version) ..."; \
        exec $$python -m venv --clear $(VENV); \
    fi; \
done; \
echo "pilotcut needs Python 3.11 or newer with its venv module, found none in: \
$(or $(PYTHON),PATH); install one or name it: make PYTHON=/path/to/python3" >&2; \
exit 1
endef
