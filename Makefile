PYTHON ?= python3
VENV ?= .venv
FSDD ?= data/fsdd.tar.gz
OUT ?= samples
DOCS_VENV ?= .venv-docs
NEWER_PYTHON ?= python3.13
NEWER_VENV ?= .venv-newer
NEWER_TESTS = 'pytest>=8.3' 'pytest-xdist>=3.6' 'hypothesis>=6.120' 'beartype>=0.23,<1'

.PHONY: sample test test-newer torture lint docs digits gpu-check

sample: $(VENV)/.run-time
	$(VENV)/bin/python sample.py --n 16 --out $(OUT)

test: $(VENV)/.test
	$(VENV)/bin/python -m pytest -q -n auto --dist loadfile

# The newest jax, which pip offers from Python 3.12 on: kernels, models, samplers, and a training run. A warning of a
# version that nothing here was written for is no failure.
test-newer: $(NEWER_VENV)/.test
	$(NEWER_VENV)/bin/python -m pytest -q -n auto --dist loadfile -o filterwarnings=default tests/kernels tests/models \
	  tests/generation/samplers \
	  tests/test_train_script.py::test_a_config_alone_trains_in_a_folder_of_its_name

# Long trials of what must never lose work or give wrong numbers; not part of the checks of a change.
torture: $(VENV)/.test
	nice -n 15 $(VENV)/bin/python -m pytest -q -s -m torture

lint: $(VENV)/.test
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

# The documentation as a site, in build/site; a warning is a failure.
docs: $(DOCS_VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --quiet --strict

# Trains the bundled model again, in two runs; see diffwave_jax/bundled/digits/README.md.
digits: $(VENV)/.run-time
	$(VENV)/bin/python train.py --config configs/digits.py --workdir runs/digits_first --config.data.archive=$(FSDD)
	$(VENV)/bin/python train.py --config configs/digits.py --workdir runs/digits --config.data.archive=$(FSDD) \
	  --config.train.init_from=runs/digits_first --config.seed=1 --config.train.num_steps=2500 \
	  --config.train.warmup_steps=100 --config.train.decay_steps=1750 --config.train.learning_rate=1e-3 \
	  --config.train.muon_learning_rate=3e-3

gpu-check:
	benchmarks/gpu_compile_gate.sh

$(VENV)/.run-time: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement requirements.txt
	touch $@

$(DOCS_VENV)/.docs: requirements-docs.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet --requirement requirements-docs.txt
	touch $@

$(NEWER_VENV)/.test: requirements.txt
	$(NEWER_PYTHON) -m venv $(NEWER_VENV)
	$(NEWER_VENV)/bin/python -m pip install --quiet --upgrade --requirement requirements.txt $(NEWER_TESTS)
	touch $@

$(VENV)/.test: requirements.txt requirements-test.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement requirements-test.txt
	touch $@
