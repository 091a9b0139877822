# Every target sets up what it needs; `make demo` and `make test` work from a clean clone with Python 3.11 or newer.
# JSON=1 prints one JSON object instead of a table, QUICK=1 ends within a minute (demo and benchmarks).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUN := $(BIN)/python -m

.PHONY: all setup lint test test-slow image controller-image demo bench-load bench-pipeline bench-runtime bench-transform bench-image bench-starts bench-invoker fuzz clean
all: test

setup: $(READY)

# One constraints file, so that a clean clone gets the versions that the figures were measured with. pip's words go to
# standard error, since standard output may have to be one JSON object.
$(READY): setup.py deploy/constraints.txt
	@echo "setting up $(VENV) (some minutes, once)" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --upgrade pip setuptools wheel >&2
	@$(BIN)/pip install --quiet torch==2.13.0 -c deploy/constraints.txt >&2
	@$(BIN)/pip install --quiet -e '.[runtime,pack,cluster,actions,demo,test]' -c deploy/constraints.txt >&2
# Packages whose own requirements would pull a second torch, or that need nothing of what they ask for.
	@$(BIN)/pip install --quiet --no-deps -r deploy/no-deps.txt >&2
	@touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(RUN) pytest

# All 60 and more models, bit by bit, at two batch sizes: about half an hour.
test-slow: $(READY)
	$(RUN) pytest -m slow

# The action image, on the Docker Engine that runs: base, wheels, build. Nothing is done again that need not be.
image: $(READY)
	@$(RUN) deploy.image $(if $(JSON),--json)

# The image of the dispatcher and of the invoker, made as the action image is.
controller-image: $(READY)
	@$(RUN) deploy.image controller $(if $(JSON),--json)

demo: $(READY)
	@$(RUN) actions.demo

bench-load: $(READY)
	@$(RUN) tests.bench.bench_load

# Also draws the timeline of one load, into build/bench.
bench-pipeline: $(READY)
	@$(RUN) tests.bench.bench_pipeline

bench-runtime: $(READY)
	@$(RUN) tests.bench.bench_runtime

# Each parser and each border between processes, SECONDS in all. What breaks a promise is left in build/fuzz.
fuzz: $(READY)
	@$(RUN) tests.fuzz

# Packs its models once, into build/transform (4 GB); `instar profile` first, if this kind of device has none.
bench-transform: $(READY)
	@$(RUN) tests.bench.bench_transform

bench-image: $(READY)
	@$(RUN) tests.bench.bench_image

# Through `instar serve`, with processes and with Docker.
bench-starts: $(READY)
	@$(RUN) tests.bench.bench_starts

# `instar invoker` on a broker and a database of the tests, with up to 1,000 containers that run nothing.
bench-invoker: $(READY)
	@$(RUN) tests.bench.bench_invoker

clean:
	rm -rf $(VENV) build *.egg-info tests/controller/npm/node_modules
