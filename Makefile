# make run    the panel on this machine            make test     the tests (also: ARGS="-k word")
# make bench  ratios against restic and borg       make check    lint, formatting, types, import contracts
# make soak   long tests (up to an hour)           make scale    large volumes in PostgreSQL
# make setup  the environment only, in .venv/      make lock     renew the locked requirements

.DEFAULT_GOAL := help
.PHONY: help setup setup-run run test check format bench soak scale screenshots lock packages clean

BIN  := .venv/bin
JOBS ?= 4
ARGS ?=
environment = python="$$(.ci/find-python)" && "$$python" .ci/environment.py

help:
	@sed -n 's/^# \{0,1\}//; 1,4p' Makefile

setup:
	@$(environment) dev

setup-run:
	@$(environment) run

packages: setup
	@$(BIN)/python .ci/packages.py

run: setup-run
	@exec $(BIN)/python manage.py up

test: setup packages
	@$(BIN)/python -m pytest -rs -n $(JOBS) --dist loadgroup $(ARGS)

soak: setup packages
	@HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -m soak -n $(JOBS) --dist loadgroup --timeout 3600 $(ARGS)

scale: setup packages
	@$(BIN)/python -m pytest -m scale --timeout 3600 -s $(ARGS)

screenshots: setup packages
	@$(BIN)/python -m pytest -m screenshots --timeout 1800 $(ARGS)

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# SCALE=0.1 for a small run, REPS=3, DATA="site dump media many", BORG=install to build borg in a folder of its own.
bench: setup
	@$(BIN)/python -m tests.bench $(if $(SCALE),--scale $(SCALE)) $(if $(REPS),--reps $(REPS)) \
		$(if $(BORG),--borg $(BORG)) $(ARGS) $(DATA)

COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url $(if $(UPGRADE),--upgrade) pyproject.toml --extra build

lock:
	@[ -x $(BIN)/uv ] || { $(environment) dev; }
	$(COMPILE) -o requirements.lock
	$(COMPILE) --extra dev -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache backups/*/_*.so
