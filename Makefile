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

.PHONY: run refusals test test-newest lint picture pictures e2e sdk bench bench-flags bench-notifications bench-accounts lock upgrade licences audit sbom deploy-check clean

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
	$(BIN)/python -m docs.list_licences --check
	$(PRODUCTION) $(BIN)/python manage.py check --deploy --fail-level WARNING

# project/refusals.json, from the code: after a change of what an operation raises.
refusals: $(VENV)/.dev
	DJANGO_SETTINGS_MODULE=project.tests.settings $(BIN)/python -c \
		"import django; django.setup(); from release import refusals; refusals.write()"

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

# Each lock file with the hashes of all its wheels. What is pinned stays; the same input gives the same output.
COMPILE = $(VENV)-tools/bin/uv pip compile --quiet --no-progress --universal --generate-hashes --no-annotate \
	--no-strip-extras --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(LOCK_ARGS)

lock: $(VENV)-tools/.done
	for name in requirements requirements-dev requirements-tools; do \
		$(COMPILE) --python-version 3.11 $$name.in --output-file $$name.txt || exit 1; \
	done
	for name in $(basename $(wildcard requirements/*.in)); do \
		$(COMPILE) --python-version 3.11 $$name.in --constraints requirements-dev.txt --output-file $$name.txt || exit 1; \
	done
	$(COMPILE) --python-version 3.12 --no-deps requirements-newest.in --output-file requirements-newest.txt

# To the newest releases that have stood for a week: a stolen one is mostly found by then.
upgrade: $(VENV)-tools/.done
	sed -i "s/^exclude-newer = .*/exclude-newer = \"$$(date --utc --date '7 days ago' +%FT00:00:00Z)\"/" pyproject.toml
	$(MAKE) lock licences LOCK_ARGS=--upgrade

# docs/licences.md, of what the lock files name; `make lint` fails when a licence is not among those allowed.
licences: $(VENV)/.dev
	$(BIN)/python -m docs.list_licences

# Known vulnerabilities of what is locked, from the database of PyPI; fails as well where that cannot be asked.
audit: $(VENV)-tools/.done
	@$(VENV)-tools/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off --requirement requirements.txt \
		--requirement requirements-dev.txt || { echo "Not clean, or not asked: see the line above."; exit 1; }

# sbom.json, CycloneDX, of what an image with these extras holds: `make sbom EXTRAS=celery,ses`.
comma := ,
sbom: $(VENV)-tools/.done
	cat requirements.txt $(patsubst %,requirements/%.txt,$(subst $(comma), ,$(EXTRAS))) | \
		$(VENV)-tools/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file sbom.json -

# What deploy/ holds, by the programs that read it; those that are not installed are named.
deploy-check: $(VENV)-tools/.done
	$(VENV)-tools/bin/kubernetes-validate --strict --quiet deploy/kubernetes/*.yaml
	@command -v caddy >/dev/null || echo "not checked, caddy is not installed: deploy/proxies/Caddyfile"
	@! command -v caddy >/dev/null || caddy validate --adapter caddyfile --config deploy/proxies/Caddyfile
	@command -v systemd-analyze >/dev/null || echo "not checked, systemd-analyze is not installed: deploy/systemd"
	@! command -v systemd-analyze >/dev/null || ! systemd-analyze verify deploy/systemd/* 2>&1 | grep -v 'python is not executable'

clean:
	rm -rf $(VENV) $(VENV)-newest $(VENV)-tools .mypy_cache .ruff_cache staticfiles

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Switchboard needs Python 3.11 or newer.")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt | $(BIN)/python
	@echo "Installing requirements.txt into $(VENV): once, about a minute."
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt | $(BIN)/python
	@echo "Installing requirements.txt and requirements-dev.txt into $(VENV): once, about two minutes."
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.txt --requirement requirements-dev.txt
	@touch $(VENV)/.run $@

$(SDK)/node_modules/.package-lock.json: $(SDK)/package-lock.json
	cd $(SDK) && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(VENV)-newest/.dev: requirements-dev.txt requirements-newest.txt
	$(NEWEST_PYTHON) -m venv $(VENV)-newest
	sed '/^django==/,/[^\\]$$/d' requirements-dev.txt > $(VENV)-newest/requirements.txt
	$(VENV)-newest/bin/python -m pip install --quiet --require-hashes \
		--requirement $(VENV)-newest/requirements.txt --requirement requirements-newest.txt
	@touch $@

$(VENV)-tools/.done: requirements-tools.txt | $(BIN)/python
	$(PYTHON) -m venv $(VENV)-tools
	$(VENV)-tools/bin/python -m pip install --quiet --require-hashes --requirement requirements-tools.txt
	@touch $@

# Never overwritten: sessions and sign-ins hang on the key.
.env: | $(BIN)/python
	@umask 077 && printf 'DEBUG=1\nSECRET_KEY=%s\n' "$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(48))')" > $@
