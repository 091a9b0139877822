# Every target sets up what it needs; `make demo` and `make test` work from a clean clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: all test test-slow lint demo bench-load bench-runtime clean setup
all: test

setup: $(READY)

# One constraints file, so that a clean clone gets the versions that the figures were measured with.
$(READY): setup.py deploy/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip setuptools wheel
	$(BIN)/pip install --quiet torch==2.13.0 -c deploy/constraints.txt
	$(BIN)/pip install --quiet -e '.[runtime,pack,controller,actions,test]' -c deploy/constraints.txt
	$(BIN)/pip install --quiet --no-deps pytorchcv==0.0.67
	touch $@

clean:
	rm -rf $(VENV) node_modules build *.egg-info .demo
