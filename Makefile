# Every command does its own set-up; where nothing changed since, that takes no time.
# PYTHON names the interpreter to build on, 3.11 or later; for another than before: make clean test PYTHON=python3.13

PYTHON ?= python3
export PYTHON

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# .venv checks and tests; .venv-demo holds the vendor's Link SDK, which cannot live beside what the tests need.
VENV := .venv
DEMO := .venv-demo
LOCK := .venv-lock
NODE := tests/node/node_modules
WEB := web/node_modules

.PHONY: help
help:  ## this list
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(DEMO)/.ready  ## one call of each kind with the official SDK against a Link SDK device
	@$(DEMO)/bin/linkstead demo

# The tests find the commands and, where the machine has none, the Node.js of .venv on PATH.
TESTS_READY := $(VENV)/.ready $(DEMO)/.ready $(NODE)/.ready $(WEB)/.ready
# A file of tests stays together; so many files at a time.
TEST_JOBS ?= auto
RUN_TESTS := LINKSTEAD_DEMO_PYTHON="$(CURDIR)/$(DEMO)/bin/python" PATH="$(CURDIR)/$(VENV)/bin:$$PATH" \
	$(VENV)/bin/python -m pytest --numprocesses=$(TEST_JOBS) --dist=loadfile

.PHONY: test
test: system check $(TESTS_READY) test-compiled  ## check, then every test but the long ones
	@$(RUN_TESTS)

.PHONY: test-long
test-long: system $(TESTS_READY)  ## the long tests: soak, fuzz, real waits
	@$(RUN_TESTS) -m long

.PHONY: simulate
simulate: $(VENV)/.ready  ## a long run of the simulation (SIMULATE="--seeds 1000 --calls 10000000 --results FILE")
	@PYTHONPATH=src $(VENV)/bin/python -m tests.simulation $(SIMULATE)

# Two modules stay as they are: the simulation puts classes of its own over theirs.
SIMULATED := build/simulated/src
.PHONY: simulate-compiled
simulate-compiled: $(SIMULATED)/.ready  ## the same with the modules of a call compiled
	@PYTHONPATH="$(CURDIR)/$(SIMULATED)" $(VENV)/bin/python -m tests.simulation $(SIMULATE)

COMPILED := build/compiled/src
# The rooms with modules that are compiled, and whole calls through all of them.
TESTS_OF_COMPILED := tests/api tests/http tests/invocation tests/mqtt tests/registry tests/sessions tests/uplink tests/test_compiled.py tests/test_eager.py \
	tests/alink/test_credentials.py tests/test_newcomers.py tests/test_system_ids.py \
	tests/test_rrpc.py tests/test_rrpc_strays.py tests/test_rrpc_verdicts.py tests/test_services.py tests/test_publishing.py \
	tests/actions/test_thing_service.py tests/alink/test_services.py tests/models/test_shelf.py \
	tests/store/test_batches.py tests/store/test_history.py tests/tsl/test_checking.py tests/tsl/test_literal.py
.PHONY: test-compiled
test-compiled: $(TESTS_READY) $(COMPILED)/.ready  ## the tests of the modules that can be compiled, on the compiled ones
	@PYTHONPATH="$(CURDIR)/$(COMPILED)" LINKSTEAD_COMPILED=1 $(RUN_TESTS) -p no:cacheprovider $(TESTS_OF_COMPILED)

.PHONY: compiled
compiled: $(COMPILED)/.ready  ## the package with the modules of a call compiled, in build/compiled/src

.PHONY: check
check: $(VENV)/.ready  ## format, lint, types, import contracts
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo

.PHONY: format
format: $(VENV)/.ready  ## mend what check finds and a program can mend
	@$(VENV)/bin/ruff check --fix-only --quiet
	@$(VENV)/bin/ruff format

# PYTHON names what .venv is made of; what the benchmark runs is in .venv.
IN_VENV := PYTHON="$(CURDIR)/$(VENV)/bin/python" PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
.PHONY: bench
bench: $(VENV)/.ready $(COMPILED)/.ready  ## Linkstead against the floor and the peers, a few minutes (BENCH="--only rrpc --rounds 1")
	@$(IN_VENV) bench/run.sh --install --compiled build/compiled $(BENCH)

.PHONY: bench-full
bench-full: $(VENV)/.ready $(COMPILED)/.ready  ## every load of the benchmark, about an hour; in parts with BENCH="--only services"
	@$(IN_VENV) bench/run.sh --install --compiled build/compiled --full --rounds 5 $(BENCH)

.PHONY: bench-report
bench-report:  ## write docs/performance.md from the results of the benchmark
	@.venv-bench/bin/python -m bench.report $(RESULTS)

.PHONY: bench-scale
bench-scale: $(VENV)/.ready  ## measure what docs/scale.md is made of, on PostgreSQL and NATS servers (BENCH="--rounds 1")
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/python -m bench.scale.measure $(BENCH)

.PHONY: bench-scale-report
bench-scale-report: $(VENV)/.ready  ## write the tables and plots of docs/scale.md
	@test -x .venv-bench/bin/python || tools/environment .venv-bench bench/peers/requirements.txt
	@PYTHONPATH=src $(VENV)/bin/python -m bench.scale.page
	@.venv-bench/bin/python -m bench.scale.plots

.PHONY: bench-profile
bench-profile: $(VENV)/.ready  ## write docs/profile.md: where the time of a call goes, line by line
	@test -x .venv-bench/bin/py-spy || tools/environment .venv-bench bench/peers/requirements.txt
	@$(VENV)/bin/python -m bench.profile

.PHONY: bench-guard
bench-guard: $(VENV)/.ready  ## fail where a call became 10 % dearer than in the last release (AGAINST=COMMIT)
	@$(IN_VENV) bench/guard $(if $(AGAINST),--against $(AGAINST))

.PHONY: soak
soak: $(VENV)/.ready  ## 15,000 devices for an hour and a half: is memory flat? (SOAK="--minutes 10")
	@$(VENV)/bin/python -m bench.soak $(SOAK)

.PHONY: fuzz
fuzz: $(VENV)/.ready  ## a million mutated inputs for each parser, with progress, an hour (FUZZ="mqtt --inputs 10000")
	@$(VENV)/bin/python -m tests.fuzz $(FUZZ)

.PHONY: audit
audit: $(VENV)/.ready .venv-audit/.ready  ## ask which locked packages have known weaknesses; 2 where nobody can be asked (ADVISORIES=FOLDER)
	@$(VENV)/bin/python tools/audit .venv-audit/bin/pip-audit $(ADVISORIES)

.venv-audit/.ready: requirements/audit.txt tools/environment
	@tools/environment .venv-audit requirements/audit.txt
	@touch $@

.PHONY: screenshots
screenshots: system $(TESTS_READY)  ## take the pictures of the console in docs/images/console
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/python -m tests.console.screenshots

.PHONY: console
console: $(WEB)/.ready  ## what the console's pages load from npm packages; a built wheel has it already

.PHONY: venv
venv: $(VENV)/.ready $(WEB)/.ready  ## the environment to work in, .venv

.PHONY: system
system:  ## the system packages that the tests need
	@tools/system-packages

# Keeps the versions that still fit; UPGRADE=--upgrade takes the newest.
COMPILE = $(LOCK)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url $(UPGRADE)
.PHONY: lock
lock: $(LOCK)/.ready  ## compile the locks anew (UPGRADE=--upgrade: with the newest versions)
	@$(COMPILE) requirements/lock.in -o requirements/lock.txt
	@$(COMPILE) requirements/build.in -o requirements/build.txt
	@$(COMPILE) requirements/node.in -o requirements/node.txt
	@$(COMPILE) requirements/audit.in -o requirements/audit.txt
	@$(COMPILE) pyproject.toml -o requirements/run.txt
	@$(COMPILE) pyproject.toml --extra cluster --extra otel requirements/dev.in -o requirements/dev.txt
	@$(COMPILE) pyproject.toml --extra demo -c requirements/run.txt -c requirements/build.txt -o requirements/demo.txt
	@$(COMPILE) bench/peers/requirements.in -o bench/peers/requirements.txt
	@cd tests/node && npm install --package-lock-only
	@cd web && npm install --package-lock-only
	@cd bench/peers && npm install --package-lock-only

.PHONY: clean
clean:  ## remove all that these commands made
	@rm -rf $(VENV) $(DEMO) $(LOCK) .venv-bench .venv-audit $(NODE) bench/peers/node_modules $(WEB) \
		src/linkstead/console/static/vendor build dist htmlcov .coverage* .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache
	@find src tests bench tools -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(VENV)/.ready: requirements/build.txt requirements/dev.txt pyproject.toml tools/environment
	@tools/environment --editable $(VENV) requirements/build.txt requirements/dev.txt
	@touch $@

$(DEMO)/.ready: requirements/build.txt requirements/demo.txt pyproject.toml tools/environment
	@tools/environment --editable $(DEMO) requirements/build.txt requirements/demo.txt
	@touch $@

$(SIMULATED)/.ready: $(shell find src -name '*.py') pyproject.toml tools/compile $(VENV)/.ready
	@$(VENV)/bin/python tools/compile $(SIMULATED) --without uplink/uplink invocation/journal
	@touch $@

$(COMPILED)/.ready: $(shell find src -name '*.py') pyproject.toml tools/compile $(VENV)/.ready
	@$(VENV)/bin/python tools/compile $(COMPILED)
	@touch $@

$(LOCK)/.ready: requirements/lock.txt tools/environment
	@tools/environment $(LOCK) requirements/lock.txt
	@touch $@

$(NODE)/.ready: tests/node/package.json tests/node/package-lock.json tools/node-packages $(VENV)/.ready
	@tools/node-packages $(VENV)
	@touch $@

$(WEB)/.ready: web/package.json web/package-lock.json tools/node-packages tools/console-files $(VENV)/.ready
	@tools/node-packages $(VENV) web
	@tools/console-files
	@touch $@
