# setup: everything a developer needs; check: style and types; test: all tests that are not slow, or what PYTEST_ARGS says;
# bench: figures on this machine; demo: the main job, end to end. workshop: an environment with torch, for training and
# optimising weights; test-workshop: its tests. See CONTRIBUTING.md.
PYTHON ?= python3
PYTEST_ARGS ?= -m "not slow"
VENV := .venv
WORKSHOP := .venv-train
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup services check test workshop test-workshop bench demo lock schemas clean

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

workshop: $(WORKSHOP)/.installed

$(WORKSHOP)/.installed: requirements/train.txt pyproject.toml
	@echo "installing the locked packages of the weights workshop into $(WORKSHOP): 3 GB of torch, a few minutes"
	$(PYTHON) -m venv $(WORKSHOP)
	$(WORKSHOP)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/train.txt
	$(WORKSHOP)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

test-workshop: workshop
	$(WORKSHOP)/bin/python -m pytest $(PYTEST_ARGS) tests/workshop

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
	$(LOCK) --extra cpu --extra mqtt --extra train --group dev --output-file requirements/train.txt

schemas: setup
	$(BIN)/vidface config schema > configs/schemas/cameras.schema.json
	$(BIN)/vidface access schema > configs/schemas/doors.schema.json
	$(BIN)/python -m vidface.asyncapi configs/schemas

clean:
	rm -rf $(VENV) $(WORKSHOP) out .mypy_cache .pytest_cache .ruff_cache
