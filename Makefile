# Every target sets itself up: a fresh clone on a machine with Python 3.11 or newer, pip and make
# needs no other step.  The set-up lives in .venv and is redone when pyproject.toml changes.
#
#   make test PYTEST_FLAGS='-k ledger'     make demo DEMO_FLAGS=--fast
#   make bench BENCH_FLAGS=--json          make test PYTHON=python3.12

PYTHON ?= $(shell python3.11 --version >/dev/null 2>&1 && echo python3.11 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NIGHTLY_FUZZ_SECONDS ?= 600
NIGHTLY_KILLS ?= 50
NIGHTLY_SWARM_SEEDS ?= 1000
NIGHTLY_TRIALS ?= 1000
SWARM_SEEDS ?= 20
TEST_JOBS ?= $(shell nproc 2>/dev/null || echo 2)
SWARM_JOBS ?= $(shell nproc 2>/dev/null || echo 2)

STARTED := $(shell date +%s)
TIMED = @echo "make $@: $$(( $$(date +%s) - $(STARTED) )) s"

.PHONY: help demo test lint swarm bench nightly clean system
.NOTPARALLEL:
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z]*\): .*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | tr @ '\t' | expand -t 18

demo: $(STAMP)  ## a neighbourhood of real nodes on this machine plays a day; checks its own sums
	$(BIN)/python -m sim.demo $(DEMO_FLAGS)
	$(TIMED)

test: lint  ## style, types, every test, and a few seconds of fuzz
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadgroup $(PYTEST_FLAGS)
	$(TIMED)

lint: $(STAMP)  ## style and types only
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(TIMED)

swarm: $(STAMP)  ## 25 simulated nodes under every fault at once, for SWARM_SEEDS seeds (20)
	$(BIN)/python -m sim.cli sweep hostile --seeds 0:$(SWARM_SEEDS) --jobs $(SWARM_JOBS)
	$(TIMED)

bench: $(STAMP)  ## every figure beside the limit measured in the same run
	@set -e; for program in $$(grep -l __main__ bench/*.py); do \
	  name=$$(basename $$program .py); \
	  echo "bench.$$name" >&2; \
	  $(BIN)/python -m bench.$$name $(BENCH_FLAGS); \
	done
	$(TIMED)

nightly: lint  ## tests with long fuzz, the whole demo, it under kill -9, the swarm, npm's suite, the benches
	IOE_NIGHTLY=1 IOE_FUZZ_SECONDS=$(NIGHTLY_FUZZ_SECONDS) $(BIN)/python -m pytest $(PYTEST_FLAGS)
	$(BIN)/python -m sim.demo
	$(BIN)/python -m sim.demo --kills $(NIGHTLY_KILLS)
	$(MAKE) swarm SWARM_SEEDS=$(NIGHTLY_SWARM_SEEDS)
	$(BIN)/python -m sim.double_spend --trials $(NIGHTLY_TRIALS)
	$(BIN)/python -m tests.interop.client_suite 0.20.8
	$(BIN)/python -m tests.interop.client_suite 0.21.0
	$(MAKE) bench
	$(TIMED)

clean:  ## remove what the other targets made in this folder
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist .shots
	rm -rf web/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A Debian without python3-venv has no ensurepip; its own pip then fills the environment.
$(STAMP): pyproject.toml | system
	@echo "setting up $(VENV) (a minute or two the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || \
	  $(PYTHON) -m venv --without-pip --clear $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || \
	  $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# py-libp2p pins this fastecdsa, which compiles against GMP wherever PyPI has no wheel that fits.
FASTECDSA := fastecdsa==2.3.2
HEADERS := import sysconfig; print(sysconfig.get_path("include"))
COMPILES = printf '\#include <Python.h>\n\#include <gmp.h>\n' | \
	cc -fsyntax-only -x c -I"$$($(PYTHON) -c '$(HEADERS)')" - >/dev/null 2>&1
HAS_WHEEL = $(PYTHON) -m pip download --quiet --no-deps --only-binary=:all: \
	--dest "$$(mktemp -d)" $(FASTECDSA) >/dev/null 2>&1
# A Python that was not installed by the distribution has brought its own headers.
PYTHON_H = $(PYTHON) -c 'import os, sys; here = os.path.exists(sys.argv[1] + "/Python.h"); \
	print("" if here else "python%d.%d-dev" % sys.version_info[:2])' \
	"$$($(PYTHON) -c '$(HEADERS)')"
APT_GET = apt-get install -y gcc libc6-dev libgmp-dev $$($(PYTHON_H))

system:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "needs Python 3.11 or newer; install it, or name it: make PYTHON=/path/to/python3.11"; \
	  exit 1; }
	@$(BIN)/python -c 'import fastecdsa' 2>/dev/null && exit 0; \
	$(COMPILES) && exit 0; \
	$(HAS_WHEEL) && exit 0; \
	why="py-libp2p compiles fastecdsa against GMP, and gcc, Python.h or gmp.h is not here;"; \
	if ! command -v apt-get >/dev/null; then \
	  echo "$$why install them with this system's package manager and run make again"; exit 1; \
	elif [ "$$(id -u)" != 0 ]; then \
	  echo "$$why type: sudo $(APT_GET)"; exit 1; \
	fi; \
	echo "$(APT_GET)"; \
	{ apt-get update && DEBIAN_FRONTEND=noninteractive $(APT_GET); } >/dev/null
