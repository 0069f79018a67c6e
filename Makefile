# setup: everything a developer needs; check: style and types; test: all tests that are not slow, or what PYTEST_ARGS says;
# bench: figures on this machine; demo: the main job, end to end. See CONTRIBUTING.md.
PYTHON ?= python3
PYTEST_ARGS ?= -m "not slow"
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup services check test bench demo lock schemas clean

setup: $(STAMP)

$(STAMP): requirements/dev.txt pyproject.toml
	@echo "installing the locked packages into $(VENV): a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

services: setup
	$(BIN)/python -m tests.services install

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: services
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: demo
	$(BIN)/vidface bench out/demo/scene.mp4 --detect-every 1
	$(BIN)/vidface bench out/demo/scene.mp4 --detect-fps 5

demo: setup
	$(BIN)/vidface demo --output-dir out/demo

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
  --override requirements/overrides.txt pyproject.toml

lock: setup
	$(LOCK) --extra consumer --output-file requirements/consumer.txt
	$(LOCK) --extra cpu --extra mqtt --output-file requirements/cpu.txt
	$(LOCK) --extra gpu --extra mqtt --output-file requirements/gpu.txt
	$(LOCK) --extra cpu --extra mqtt --group dev --output-file requirements/dev.txt

schemas: setup
	$(BIN)/vidface config schema > configs/schemas/cameras.schema.json
	$(BIN)/vidface access schema > configs/schemas/doors.schema.json
	$(BIN)/python -m vidface.asyncapi configs/schemas

clean:
	rm -rf $(VENV) out .mypy_cache .pytest_cache .ruff_cache
