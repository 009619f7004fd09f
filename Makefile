# Needs make and Python 3.11 or newer; everything else goes into $(VENV).
#
#   make demo                     run the workshop (ARGS="--open" opens a browser)
#   make demo-redis               run it on two workers that share a Valkey
#   make test                     test the package, its client and the demo; COV=--cov
#   make faults                   the tests of faults in full; SESSIONSTORES_SEED repeats one
#   make lint                     judge style, types, layers, house rules, settings
#   make types                    of these, what depends on the versions of Python and Django
#   make sites                    follow README and tutorial where only the wheel is installed,
#                                 and play twenty steps in each front end with 300 ms of network
#   make docs                     build the documentation site into build/docs
#   make screenshots              take the pictures of the docs anew; ARGS=pages: each admin page
#                                 in each look, into build/screenshots
#   make bench                    print the figures beside their floors; two checkouts:
#                                 python benchmarks/compare.py --base PATH
#   make trace                    count a dispatch's and a frame's calls, files and changes
#   make soak                     watch memory for three minutes, or longer: HOURS=24
#   make test VENV=.venv-3.13 PYTHON=python3.13 DJANGO='Django>=6.1,<6.2'

PYTHON ?= python3
VENV ?= .venv
DJANGO ?=
ARGS ?=
# It takes half as long again, so only a CI run measures coverage unasked.
COV ?= $(if $(CI),--cov)
# Two more than there are cores: many tests wait for servers and browsers.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Playwright brings a Node.js; it serves where the machine has none.
NODE = $$(command -v node || ls $(VENV)/lib/python*/site-packages/playwright/driver/node)
CLIENT_TESTS = $(wildcard tests/client/*.test.js)
NPM = node_modules/.installed
# Those with real libraries, from npm, which a machine need not have.
NPM_TESTS = $(wildcard tests/client/react*.test.js tests/client/recipes.test.js \
	tests/client/htmx_fetches.test.js)

.PHONY: help demo demo-redis test faults lint types sites docs screenshots bench trace soak clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: $(VENV)/.demo
	@$(BIN)/python manage.py demo $(ARGS)

demo-redis: $(VENV)/.demo-redis
	@$(BIN)/python -m project.supervisor $(ARGS)

# Else each of the tests' processes compiles all that it imports anew.
test faults: export PYTHONDONTWRITEBYTECODE =

# Development tools; a machine without npm does without them.
$(NPM): package.json tests/client/react18/package.json
	@if command -v npm >/dev/null; then npm install --silent && touch $@ || \
		echo "npm install failed: no axe judges pages, no pyright types"; fi

test: $(VENV)/.dev $(NPM)
	@if [ -f $(NPM) -o -n "$$CI" ]; then tests="$(CLIENT_TESTS)"; \
		else tests="$(filter-out $(NPM_TESTS),$(CLIENT_TESTS))"; \
		echo "There are no packages of npm: React and other front ends are not tested"; fi; \
		if [ -n "$$tests" ]; then "$(NODE)" --test --test-reporter=spec $$tests; fi
	$(BIN)/python -m pytest $(COV) --numprocesses $(WORKERS) --dist loadfile \
		--no-loadscope-reorder $(ARGS)

# One after the other: they measure how long an outage lasts.
faults: $(VENV)/.dev
	SESSIONSTORES_FAULTS=full $(BIN)/python -m pytest --randomly-dont-reorganize \
		-o faulthandler_timeout=900 $(or $(ARGS),tests/faults tests/backends tests/contract)

lint: $(VENV)/.dev $(NPM)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_house.py
	$(BIN)/python benchmarks/trace.py --check
	@if [ -f $(NPM) ]; then npm run --silent types && npm run --silent size; \
	else echo "There are no packages of npm: the client's types and size are not checked"; fi
	@$(MAKE) --no-print-directory types

# What other versions of Python and Django may judge otherwise.
types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/python manage.py makemigrations --check --settings tests.settings
	$(BIN)/python manage.py check --deploy --fail-level WARNING \
		--settings tests.settings_deploy

# As somebody new does: a bare environment, the wheel, and the servers that the docs name.
# Then each front end of the docs, on a slow network.
sites: $(VENV)/.dev $(NPM)
	rm -rf build/site
	$(BIN)/python -m venv build/site
	build/site/bin/python -m pip install --quiet --disable-pip-version-check \
		. $(if $(DJANGO),'$(DJANGO)') daphne granian uvicorn websockets
	SESSIONSTORES_SITE_PYTHON=$(CURDIR)/build/site/bin/python $(BIN)/python -m pytest \
		tests/browser/install.py tests/browser/tutorial.py \
		tests/browser/tutorial_people.py tests/browser/front_end_steps.py \
		tests/browser/npm_package.py

# A warning is an error: a link that leads nowhere, a name that has no page.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx --nitpicky --fail-on-warning --keep-going --quiet \
		--builder html docs build/docs
	@echo "Open build/docs/index.html"

screenshots: $(VENV)/.dev
	PYTHONPATH=. $(BIN)/python docs/screenshots.py $(ARGS)

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py $(ARGS)

trace: $(VENV)/.dev
	@$(BIN)/python benchmarks/trace.py $(ARGS)

soak: $(VENV)/.dev
	PYTHONPATH=. $(BIN)/python benchmarks/soak.py $(if $(HOURS),--hours $(HOURS)) $(ARGS)

clean:
	rm -rf .venv* .nox .coverage .*_cache .hypothesis build dist

$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || \
		{ echo "There is no $(PYTHON). Name a Python 3.11 or newer: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is $$($(PYTHON) -V 2>&1). sessionstores needs Python 3.11" \
		"or newer; name one: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ $(PYTHON) -c 'import sys; print("This Python cannot make a virtual environment." \
		" On Debian and Ubuntu: apt install python%d.%d-venv" % sys.version_info[:2])' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: pyproject.toml $(VENV)/.python
	@echo "Installing what the demo needs into $(VENV) (once, about 15 seconds) ..."
	@$(PIP) --editable '.[demo]' $(if $(DJANGO),'$(DJANGO)')
	@touch $@

$(VENV)/.demo-redis: pyproject.toml $(VENV)/.python
	@echo "Installing what the demo needs into $(VENV) (once, about 20 seconds) ..."
	@$(PIP) --editable '.[demo-redis]' $(if $(DJANGO),'$(DJANGO)')
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: pyproject.toml $(VENV)/.python
	@echo "Installing what the documentation needs into $(VENV) (once, about 20 seconds) ..."
	@$(PIP) --editable '.[docs]' $(if $(DJANGO),'$(DJANGO)')
	@touch $@

$(VENV)/.dev: pyproject.toml requirements.txt $(VENV)/.python
	@echo "Installing what the tests need into $(VENV) (once, about a minute) ..."
	@$(PIP) --requirement requirements.txt $(if $(DJANGO),'$(DJANGO)')
	@touch $@ $(VENV)/.demo
