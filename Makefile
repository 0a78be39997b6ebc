.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := libs/common services/gateway services/auth services/chat cli
LOCK = --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group build \
	$(addprefix --no-emit-package parley-,common gateway auth chat cli) $(addsuffix /pyproject.toml,$(PACKAGES))
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: help up test check format migration compose lock clean
help: ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/up ## Start everything on http://localhost:8000, state in .parley/ (Ctrl-C stops it)
	@exec $(BIN)/parley up

test: $(VENV)/dev ## Run the whole test suite (no Docker needed; ARGS="-k name" narrows it)
	@$(BIN)/pytest $(ARGS)

check: $(VENV)/dev ## What CI checks besides the tests: format, lint, types, import direction, spelling
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/basedpyright && $(BIN)/lint-imports --no-cache && $(BIN)/codespell

format: $(VENV)/dev ## Format and fix what can be fixed
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

migration: $(VENV)/dev ## Write a new migration from the tables: make migration NAME="add topics"
	@$(BIN)/parley migration "$(NAME)"

compose: ## Build and start the production layout on http://localhost:8080
	docker compose up --build

lock: $(VENV)/dev ## Resolve the dependencies anew (hashes, no index addresses)
	@$(BIN)/uv pip compile --quiet $(LOCK) -o requirements.lock
	@$(BIN)/uv pip compile --quiet $(LOCK) --extra embedded -c requirements.lock -o requirements-embedded.lock
	@$(BIN)/uv pip compile --quiet $(LOCK) --extra embedded --group dev -c requirements-embedded.lock -o requirements-dev.lock

clean: ## Remove the environment; state in .parley/ stays
	rm -rf $(VENV) web/node_modules

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit("Parley needs Python 3.11 or newer: make PYTHON=python3.13 up" if sys.version_info < (3, 11) else 0)'
	@echo "Creating the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/up: requirements-embedded.lock $(addsuffix /pyproject.toml,$(PACKAGES)) | $(VENV)/bin/pip
	@echo "Installing the pinned dependencies (first time only, about a minute)"
	@$(INSTALL) --require-hashes -r requirements-embedded.lock
	@$(INSTALL) --no-deps --no-build-isolation $(addprefix -e ,$(PACKAGES))
	@touch $@

$(VENV)/dev: requirements-dev.lock $(VENV)/up
	@echo "Installing the development tools"
	@$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@
