# Everything here needs only make, a POSIX shell and Python 3.11 or later.
# `make` alone lists what there is.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install install-dev run test chaos fuzz schema-fuzz mutants bench lint fmt types agent migrate \
        messages clean pytest-parallel pytest-serial browser-check

PY := .venv/bin/python
# ONCE=1: run the demonstration and end. BROWSER=0: leave the browser tests out.
ONCE ?= 0
BROWSER ?= 1
# How many pytest processes run side by side, and more options for pytest.
JOBS ?= 2
PYTEST_ARGS ?=
# How long `make chaos` breaks things and `make fuzz` sends them, and which plan it follows (none: a new one, which it names).
MINUTES ?= 10
SEED ?=
# make bench: how many simulated agents, which figures (create,one,…; empty: all), and a page whose
# tables are replaced (docs/performance.md).
AGENTS ?= 10000
ONLY ?=
PAGE ?=

# The checks need no real secret; every real start of the project makes or asks for one.
CHECK_ENV = DM_SECRET_KEY="$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(64))')"

SERIAL := tests/concurrency tests/invariants tests/plans tests/e2e tests/faults

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

install: ## .venv with what `make run` needs
	@deploy/environment.sh embedded

install-dev: ## .venv with what `make test` needs
	@deploy/environment.sh embedded,dev

run: install ## everything on this machine, with three agents and a real task (ONCE=1: then end)
	@$(PY) -m devops_manager.standalone $(if $(filter 1,$(ONCE)),--once)

test: install-dev browser-check ## lint, types, contracts and the whole suite (BROWSER=0: no browser)
	@set -e; began=$$(date +%s); \
	for part in lint pytest-parallel pytest-serial; do \
	    from=$$(date +%s); \
	    $(MAKE) --no-print-directory $$part; \
	    echo "== $$part: $$(($$(date +%s) - from)) s"; \
	done; \
	echo "== make test: $$(($$(date +%s) - began)) s"
	@if [ "$(BROWSER)" = 0 ]; then echo "BROWSER=0: the browser tests were left out."; fi

chaos: install-dev ## break everything at random under load, check every promise (MINUTES=10 SEED=n)
	@$(PY) -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

pytest-parallel: install-dev
	$(PY) -m pytest -n $(JOBS) $(addprefix --ignore=,$(SERIAL)) $(PYTEST_ARGS)

pytest-serial: install-dev browser-check
	$(PY) -m pytest $(SERIAL) $(if $(filter 0,$(BROWSER)),-m "not browser") $(PYTEST_ARGS)

browser-check:
	@if [ "$(BROWSER)" != 0 ] && ! command -v chromium >/dev/null 2>&1; then \
	    echo "The browser tests need Chromium (Debian: apt install chromium)." >&2; \
	    echo "Without one, make test BROWSER=0 leaves these tests out." >&2; \
	    exit 1; \
	fi

lint: install-dev ## format, lint, types, import contracts, migrations, settings, translations
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	@$(MAKE) --no-print-directory types
	.venv/bin/lint-imports --no-logo
	@$(CHECK_ENV) $(PY) -m devops_manager.embedded $(PY) manage.py makemigrations --check --dry-run
	@$(CHECK_ENV) DM_TLS=1 DM_TRUSTED_PROXIES=127.0.0.1 $(PY) manage.py check --deploy --fail-level WARNING
	$(PY) -m devops_manager.messages check

types: install-dev ## mypy, strict
	@echo "$(PY) -m mypy"; $(CHECK_ENV) $(PY) -m mypy

fmt: install-dev ## format the code and apply safe fixes
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

fuzz: install-dev ## send and print anything to a gateway for MINUTES; nothing takes a second
	@DM_FUZZ_SECONDS=$$(($(MINUTES) * 60)) $(PY) -m pytest tests/faults/test_fuzz.py -s

bench: install-dev ## floors and figures in one table (AGENTS=10000 ONLY=create,one PAGE=…)
	$(PY) -m loadtests.bench --agents $(AGENTS) $(if $(ONLY),--only $(ONLY)) \
	    $(if $(PAGE),--write $(PAGE))

agent: install ## build the agent: one file, for Python 3.9 and later
	$(PY) -m agents_app.agent_build

migrate: install ## bring the database in DATABASE_URL (or that of `make run`) up to date
	@$(CHECK_ENV) $(PY) -m devops_manager.embedded --keep run $(PY) manage.py migrate

messages: install-dev ## collect the strings for translation and compile the catalogues
	$(PY) -m devops_manager.messages update

schema-fuzz: install-dev ## the API against its own description (MINUTES=5 SEED=n)
	@DM_SCHEMA_FUZZ_MINUTES=$(MINUTES) $(if $(SEED),DM_SCHEMA_FUZZ_SEED=$(SEED)) \
	    $(PY) -m pytest -s tests/integration/test_schema_fuzz.py $(PYTEST_ARGS)

mutants: install-dev ## take each safeguard out in a copy, and see the test that guards it fail
	@$(PY) -m devops_manager.embedded $(PY) -m tests.mutants

clean: ## remove .venv, caches, and what `make run` and `make test` left, also outside the clone
	@if [ -x $(PY) ] && [ -d var ]; then $(PY) -m devops_manager.embedded --clean; \
	elif [ -s var/embedded.place ]; then place=$$(cat var/embedded.place); \
	    if [ -f "$$place/.devops-manager-embedded" ]; then rm -rf "$$place"; fi; fi
	rm -rf .venv var build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache \
	    .import_linter_cache .hypothesis htmlcov .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
