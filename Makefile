# Needs Python 3.11 or newer (with venv and pip), git and make. Everything else goes into .venv.
PYTHON ?= python3
DATA ?= ../shared/data
WORKERS ?= 2
PYTEST_ARGS ?=

VENV := .venv
LEGACY := .venv-legacy
SIGNING := .venv-signing
BIN := $(VENV)/bin
.DEFAULT_GOAL := help

.PHONY: help setup demo sst2 bench test soak check docs lint-fix clean legacy signing

help: ## show this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 22

demo: $(VENV)/.installed-all ## install, then compress a digits classifier and benchmark it (3 to 5 minutes)
	$(BIN)/edgepress run examples/digits.yaml

sst2: $(VENV)/.installed-all ## compress a sentiment classifier; DATA=folder with models/ and text/ (30 minutes)
	DATA="$(DATA)" $(BIN)/edgepress run examples/sst2.yaml

bench: $(VENV)/.installed-all ## both examples from scratch; writes README's result table (30 minutes)
	DATA="$(DATA)" $(BIN)/python examples/reproduce.py digits sst2

test: $(VENV)/.installed-dev legacy signing ## all tests; PYTEST_ARGS="-m 'not slow'" for the quick ones
	EDGEPRESS_DATA="$(DATA)" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

soak: $(VENV)/.installed-dev ## 10,000 hostile recipes, 2,000 bits flipped in a bundle, and a run killed 100 times (30 minutes)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -s -p no:cacheprovider --recipes 10000 tests/compress/recipe/test_hostile_recipes.py tests/compress/fleet/test_fleet_file.py
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -s -p no:cacheprovider --tamper 2000 tests/compress/bundle/test_bundle*.py tests/benchmarks/devices/test_device_record.py
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s -p no:cacheprovider --kills 100 tests/end_to_end/test_random_kills.py

check: $(VENV)/.installed-dev .typing ## format, lint and types, as in CI
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# mypy finds packages by path: links that give each folder its import name.
.typing: setup.py
	mkdir -p .typing/edgepress
	ln -sfn ../../compress/face/__init__.py .typing/edgepress/__init__.py
	ln -sfn ../../compress/face/py.typed .typing/edgepress/py.typed
	for folder in compress targets benchmarks; do ln -sfn ../../$$folder .typing/edgepress/$$folder; done
	@touch .typing

docs: $(VENV)/.installed-dev ## write the generated parts of docs/ anew
	$(BIN)/python docs/generate.py

lint-fix: $(VENV)/.installed-dev ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

legacy: $(LEGACY)/.installed ## a second environment with tflite-runtime 2.14, for the tests of `compatibility: legacy`

signing: $(SIGNING)/.installed ## a third environment with OpenSSF model-signing, for the tests of signatures

setup: $(VENV)/.installed-dev ## only install, with the development tools

clean: ## remove the virtual environment, build outputs and caches; runs/ stays
	rm -rf $(VENV) $(LEGACY) $(SIGNING) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find compress targets benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each set of extras, so that an install that was cut off is done again and a finished one is not.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(VENV)/.created
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[$*]" -c constraints.txt
	@touch $@

# tflite-runtime 2.14 is the last one; its wheels end with Python 3.11. The tests that need it say so where it is missing.
$(LEGACY)/.installed: tests/targets/legacy.txt | $(VENV)/.created
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || echo "no tflite-runtime for this Python: tests of the old runtime are skipped"
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] == (3, 11))' || { $(PYTHON) -m venv $(LEGACY) && $(LEGACY)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps -r $<; }
	@mkdir -p $(LEGACY) && touch $@

# model-signing needs a newer pydantic than the converter of TFLite allows. The test that needs it says so where it is missing.
$(SIGNING)/.installed: tests/compress/signing.txt | $(VENV)/.created
	$(PYTHON) -m venv $(SIGNING) && $(SIGNING)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps -r $<
	@touch $@

$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || { echo "edgepress needs Python 3.11 or newer, and '$(PYTHON)' is not here. Install one, or name it: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "edgepress needs Python 3.11 or newer; $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12" % sys.version_info[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks venv or pip. Install them (Debian, Ubuntu: apt install python3-venv) and run make again." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@
