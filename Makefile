# Every target works alone on a fresh checkout: it makes .venv first, from Python 3.11+ and its venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 2

.PHONY: install dev demo test lint bench bench-diagnosis bench-canary bench-card bench-monitor storm test-tflite test-workstation \
  test-faults test-booted test-arm64 vectors clean

install: $(VENV)/.installed

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[collector,demo,signing]'
	@touch $@
	@echo "installed: $(BIN)/litewatch"

dev: $(VENV)/.dev

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[collector,demo,signing,dev]'
	@touch $@

demo: install
	$(BIN)/litewatch demo $(ARGS)

# Lint, types, tests: what a change must pass. The heavier proofs are stages of .ci/run.
test: dev lint
	$(PYTEST) -n $(WORKERS) --dist loadgroup

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Peers live in an environment of their own: they pin other versions of numpy.
.venv-peers/.installed: tools/bench/peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install -q --disable-pip-version-check -r tools/bench/peers.txt
	@touch $@

bench: install .venv-peers/.installed
	$(BIN)/litewatch bench --peers .venv-peers/bin/python --out build/bench.json $(ARGS)

# Faults injected into real models by code the diagnosis does not share: is the right cause named?
bench-diagnosis: dev
	$(BIN)/python -m tools.bench.diagnosis --out build/bench-diagnosis.json $(ARGS)

# Which single flipped bits of a model's weights do the golden tensors notice?
bench-canary: dev
	$(BIN)/python -m tools.bench.canary_coverage --out build/bench-canary.json $(ARGS)

# Streams with faults, against the peers: false alarms, power, delay, accuracy without labels, causes.
bench-monitor: dev
	$(BIN)/python -m tools.bench.monitor --out build/bench-monitor.json $(ARGS)

# What a day writes to the SD card at default settings.
bench-card: dev
	$(BIN)/python -m tools.bench.card_writes --out build/bench-card.json $(ARGS)

# 200 rounds of kill -9 on agent, broker and collector.
storm: dev
	LITEWATCH_STORM_ROUNDS=200 $(PYTEST) tests/test_storm.py --timeout 1200

# The second runtime: tflite-runtime with numpy 1, the only choice on armv7l.
.venv-tflite/.installed: pyproject.toml constraints-tflite.txt
	$(PYTHON) -m venv .venv-tflite
	.venv-tflite/bin/python -m pip install -q --disable-pip-version-check -c constraints-tflite.txt -e '.[tflite,collector,demo,signing]' pytest pytest-timeout pytest-xdist hypothesis jsonschema psutil scipy scikit-learn Pillow
	.venv-tflite/bin/python -m pip uninstall -q -y ai-edge-litert
	@touch $@

test-tflite: .venv-tflite/.installed
	.venv-tflite/bin/python -m pytest -m runtime -n $(WORKERS) --dist loadgroup

# Kill -9, power cuts, damaged databases, full disks, wrong clocks, bad networks, malformed inputs.
test-faults: dev
	$(PYTEST) tests/faults -n $(WORKERS) --dist loadfile --timeout 600 $(ARGS)

# The service on a booted systemd: installed by the script, killed, hung, upgraded, taken away.
test-booted: dev
	PYTHON=$(BIN)/python tests/booted/run $(ARGS)

# The exact constraints' aarch64 wheels, the agent and the ladder under emulation.
test-arm64: dev .venv-tflite/.installed
	$(BIN)/python tests/arm64/prove.py

# TensorFlow and Pillow still produce the committed vectors, and the demo's models can be trained.
.venv-workstation/.installed: pyproject.toml constraints-workstation.txt
	$(PYTHON) -m venv .venv-workstation
	.venv-workstation/bin/python -m pip install -q --disable-pip-version-check -c constraints-workstation.txt -e '.[workstation]' pytest pytest-timeout pytest-xdist hypothesis
	@touch $@

# What needs TensorFlow: quantization schemes, and the training examples of the docs.
test-workstation: .venv-workstation/.installed
	.venv-workstation/bin/python -m pytest tests/test_schemes.py tests/test_schemes_workstation.py tests/test_golden_docs.py tests/test_preprocess_docs.py

vectors: .venv-workstation/.installed
	.venv-workstation/bin/python tests/vectors/generate.py --check

clean:
	rm -rf build .venv .venv-peers .venv-tflite .venv-workstation *.egg-info
