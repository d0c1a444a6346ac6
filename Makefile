# The two commands that matter: `make demo` and `make test`. Both work from a bare clone: they make their own
# virtual environment from requirements.lock.

VENV ?= .venv
PYTHON ?= python3
ARGS ?=
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo demo-db test lint audit bench chaos docs package chart lock clean

demo: $(INSTALLED)
	$(BIN)/tunewright demo $(ARGS)

# A private PostgreSQL under load, attached, tuned for three minutes, and put back.
demo-db: $(INSTALLED)
	scripts/system-packages pg_createcluster=postgresql
	$(BIN)/tunewright demo-db $(ARGS)

test: $(INSTALLED)
	scripts/system-packages chromium pg_createcluster=postgresql mariadb-install-db=mariadb-server sysbench
ifeq ($(ARGS),)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -m alone
else
	$(BIN)/python -m pytest $(ARGS)
endif

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Known vulnerabilities in what is installed, and risky constructs in our own code.
audit: $(INSTALLED)
	$(BIN)/bandit -q -c pyproject.toml -r tunewright service workers optimizers models db_knobs
	$(BIN)/pip-audit --skip-editable

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.control_plane $(ARGS)

# Kill services, runners, workers, Ray and the store at random for some minutes; nothing may get lost.
chaos: $(INSTALLED)
	scripts/system-packages pg_createcluster=postgresql
	$(BIN)/python -m benchmarks.chaos $(ARGS)

# The handbook as a site, in build/docs; a warning is an error. ARGS="-b linkcheck" follows its links into the world.
docs: $(INSTALLED)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q $(ARGS) docs build/docs

# An sdist and a wheel, in dist.
package: $(INSTALLED)
	scripts/package $(BIN)/python dist

# The Helm chart, made of deploy/kubernetes/base.
chart: $(INSTALLED)
	$(BIN)/python scripts/helm-chart dist

# Resolve pyproject.toml anew and pin what comes out.
lock:
	scripts/lock

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(INSTALLED): requirements.lock pyproject.toml assets.lock.json
	scripts/install "$(PYTHON)" "$(VENV)"
	touch $@
