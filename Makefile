# `make run` and `make test` need Python 3.11 to 3.14 and make; the rest is installed into .venv.
SHELL := /bin/sh
PYTHON ?= python3
NEWEST_PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SDK := feature_flags/tests/sdk
# Three workers for two cores: tests of servers and mails wait in between.
PYTEST := python -m pytest -n 3 --dist loadscope --no-loadscope-reorder
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Compiling product and tests takes longer than running the tests of one app.
unexport PYTHONDONTWRITEBYTECODE

# What docker-compose.yml sets, with secrets of one use.
PRODUCTION = ENV_FILE= DEBUG=0 BASE_URL=https://api.example.org APP_URL=https://app.example.org \
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(48))') \
	USERS_TOKEN_SECRET=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(48))') \
	EMAIL_URL=smtp+tls://mail.example.org DEFAULT_FROM_EMAIL=noreply@example.org NOTIFICATIONS_ENGINE=worker

.PHONY: run test test-newest lint picture pictures e2e sdk bench bench-flags bench-notifications bench-accounts lock clean

run: $(VENV)/.run .env
	@echo "Bringing the database up to date and starting."
	@exec $(BIN)/python manage.py serve --migrate --first-admin

# SQLite first; then what touches a database once more, on the PostgreSQL that TEST_DATABASE_URL points to.
test: $(VENV)/.dev
	TEST_DATABASE_URL= $(BIN)/$(PYTEST) -m "not e2e and not sdk" $(PYTEST_ARGS)
	@if [ -n "$$TEST_DATABASE_URL" ]; then $(BIN)/$(PYTEST) -m "database and not e2e and not sdk" $(PYTEST_ARGS); fi

# The suite on the newest Django, 6.1, which needs Python 3.12 or newer: `make test-newest NEWEST_PYTHON=python3.13`.
# On SQLite; where TEST_DATABASE_URL is set, what touches a database on the PostgreSQL it points to.
test-newest: $(VENV)-newest/.dev
	$(VENV)-newest/bin/$(PYTEST) -m "$${TEST_DATABASE_URL:+database and }not e2e and not sdk" $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/python manage.py makemigrations --check --dry-run --settings project.tests.settings
	$(PRODUCTION) $(BIN)/python manage.py check --deploy --fail-level WARNING

# docs/images/architecture.svg, from the imports of the code.
picture: $(VENV)/.dev
	$(BIN)/python -m docs.draw_architecture

# Axe, which looks at every page, is among what npm brings.
# The pictures of the README, of a demo in a headless Chromium.
pictures: $(VENV)/.dev
	$(BIN)/python -m docs.take_pictures

e2e: $(VENV)/.dev $(SDK)/node_modules/.package-lock.json
	$(BIN)/$(PYTEST) -n 2 -m e2e $(PYTEST_ARGS)

# The SDKs of others, unmodified, against a running server. The lock file names versions; npm brings them.
sdk: $(VENV)/.dev $(SDK)/node_modules/.package-lock.json
	$(BIN)/$(PYTEST) -n 2 -m sdk $(PYTEST_ARGS)

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.run $(BENCH_ARGS)

bench-flags: $(VENV)/.dev
	$(BIN)/python -m benchmarks.flags $(BENCH_ARGS)

bench-notifications: $(VENV)/.dev
	$(BIN)/python -m benchmarks.notifications $(BENCH_ARGS)

bench-accounts: $(VENV)/.dev
	$(BIN)/python -m benchmarks.accounts $(BENCH_ARGS)

lock: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet uv
	for name in requirements requirements-dev; do \
		$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate --no-emit-index-url \
			--no-emit-find-links --custom-compile-command "make lock" $$name.in --output-file $$name.txt || exit 1; \
	done

clean:
	rm -rf $(VENV) $(VENV)-newest .mypy_cache .ruff_cache staticfiles

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Switchboard needs Python 3.11 or newer.")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt | $(BIN)/python
	@echo "Installing requirements.txt into $(VENV): once, about a minute."
	@$(BIN)/python -m pip install --quiet --requirement requirements.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt | $(BIN)/python
	@echo "Installing requirements.txt and requirements-dev.txt into $(VENV): once, about two minutes."
	@$(BIN)/python -m pip install --quiet --requirement requirements.txt --requirement requirements-dev.txt
	@touch $(VENV)/.run $@

$(SDK)/node_modules/.package-lock.json: $(SDK)/package-lock.json
	cd $(SDK) && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(VENV)-newest/.dev: requirements-dev.txt
	$(NEWEST_PYTHON) -m venv $(VENV)-newest
	grep -v '^django==' requirements-dev.txt > $(VENV)-newest/requirements.txt
	$(VENV)-newest/bin/python -m pip install --quiet --requirement $(VENV)-newest/requirements.txt 'django~=6.1.0'
	@touch $@

# Never overwritten: sessions and sign-ins hang on the key.
.env: | $(BIN)/python
	@umask 077 && printf 'DEBUG=1\nSECRET_KEY=%s\n' "$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(48))')" > $@
