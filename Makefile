PYTHON ?= python3
VENV ?= .venv
FSDD ?= data/fsdd.tar.gz
OUT ?= samples

.PHONY: sample test lint digits gpu-check

sample: $(VENV)/.run-time
	$(VENV)/bin/python sample.py --n 16 --out $(OUT)

test: $(VENV)/.test
	$(VENV)/bin/python -m pytest -q -n auto --dist loadfile

lint: $(VENV)/.test
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

# Trains the bundled model again; see diffwave_jax/bundled/digits/README.md.
digits: $(VENV)/.run-time
	$(VENV)/bin/python train.py --config configs/digits.py --workdir runs/digits --config.data.archive=$(FSDD)

gpu-check:
	benchmarks/gpu_compile_gate.sh

$(VENV)/.run-time: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement requirements.txt
	touch $@

$(VENV)/.test: requirements.txt requirements-test.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement requirements-test.txt
	touch $@
