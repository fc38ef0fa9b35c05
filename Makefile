# Two commands for a bare machine with Debian and Python 3.10 to 3.13:
#   make sweep   set-up, then the grid of configs/fmnist_stdcnn.yaml in its quick profile
#   make test    set-up, then all tests, in three processes: some of them wait for machines that are gone
# and for developers: make check (lint and the tests that train nothing), make lint, make faults (kills sweeps at random moments; TFSGD_FAULTS=9 of them),
# make results (the reports of docs/results anew, and the tables of README.md and docs/ from their records),
# make api (the page of the Python API, in build/api/), make wheel-test (a fresh environment with the wheel, and a tiny sweep in it)

PYTHON ?= python3
BIN := .venv/bin
DATA := $(wildcard data)
RUN := $(if $(DATA),TFSGD_DATA="$${TFSGD_DATA:-$(abspath $(DATA))}" )$(BIN)

.PHONY: sweep test check tensorboard faults lint api results wheel-test setup

sweep: setup
	$(RUN)/python -m tfsgd.sweep configs/fmnist_stdcnn.yaml --quick
	$(BIN)/python -m tfsgd.report logs/fmnist_stdcnn-quick

test: setup
	@sh scripts/get-browser
	$(RUN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Two minutes of processor time with the lint; none trains a network. `ranges` and `regimes` take another one and a half.
FAST := bounds checks claims cli config dialect identities labels models own_data paper results statistics structure

check: lint
	$(RUN)/python -m pytest -n 2 $(FAST:%=tests/test_%.py)

tensorboard: setup
	$(BIN)/tensorboard --logdir logs --host 127.0.0.1

faults: setup
	$(RUN)/python -m pytest -m "faults or long" -s

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

api: setup
	$(BIN)/python -m scripts.api_page build/api

results: setup
	$(BIN)/python -m scripts.results

wheel-test: setup
	@sh scripts/get-browser
	$(if $(DATA),TFSGD_DATA="$${TFSGD_DATA:-$(abspath $(DATA))}" )sh scripts/test-wheel $(BIN)/python

setup: .venv/.complete
	@sh scripts/get-fashion-mnist

.venv/.complete: setup.cfg pyproject.toml constraints.txt
	sh scripts/make-venv "$(PYTHON)"
	touch $@

include bench/bench.mk
