# Strings the commands of CONTRIBUTING.md together. `make` alone lists the targets.
PYTHON ?= python3
UV ?= uv
LAB ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete

# A virtual environment of the caller must not leak into ours.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help venv rehearse test accept bench lint type fidelity lock clean

help: ## list the targets
	@echo 'make <target>, on any machine with Python 3.11 or newer:'
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14

venv: $(STAMP) ## set up .venv from requirements.lock (the other targets do it by themselves)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "rehost needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then \
	    echo 'Installing the Debian package python3-venv: $(PYTHON) cannot make virtual environments.'; \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3-venv; \
	  else echo '$(PYTHON) cannot make virtual environments. On Debian: apt install python3-venv' >&2; exit 1; fi; }
	@echo 'Setting up $(VENV) from requirements.lock (about a minute) ...'
	@$(PYTHON) -m venv --clear $(VENV)
	@# The lock is complete, so nothing is resolved; modules are compiled when first used. Both save half the time.
	@$(BIN)/pip install --quiet --use-pep517 --no-deps --no-compile --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

rehearse: $(STAMP) ## move the sample app off mocked AWS and prove it, on this machine
	$(BIN)/rehost rehearse seeds/february-2021 --target embedded --yes

test: $(STAMP) ## lint, types, tests; as root on Debian the lab tests too (LAB=0: without, LAB=1: with)
	@LAB='$(LAB)' $(BIN)/python tests/run.py

accept: $(STAMP) ## the long acceptance runs (up to an hour); LAB as for test
	@LAB='$(LAB)' $(BIN)/python tests/run.py accept

bench: $(STAMP) ## measure, and compare with the figures in the tests
	$(BIN)/python -m pytest -m accept tests/bench -s

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(STAMP) ## mypy --strict
	$(BIN)/mypy

fidelity: $(STAMP) ## write the generated pages again: fidelity.md and exit-items.md of docs/reference
	$(BIN)/python -m toolkit.report.fidelity > docs/reference/.fidelity.new
	mv docs/reference/.fidelity.new docs/reference/fidelity.md
	$(BIN)/python -m toolkit.exitplan.page > docs/reference/.items.new
	mv docs/reference/.items.new docs/reference/exit-items.md

# hatchling and editables are what `pip install -e .` builds with; locked, so that nothing is fetched unpinned.
lock: ## write requirements.lock and requirements-lab.lock again (needs uv; UPGRADE=--upgrade takes newer versions)
	@command -v $(UV) >/dev/null || { echo 'make lock needs uv: pip install uv, or make lock UV=/path/to/uv' >&2; exit 1; }
	printf 'hatchling\neditables\n' | $(UV) pip compile --quiet $(UPGRADE) --python-version 3.11 --generate-hashes \
	  --custom-compile-command 'make lock' --no-emit-index-url --no-emit-find-links --universal --extra dev pyproject.toml - -o requirements.lock
	printf 'libvirt-python==9.0.0\n' | $(UV) pip compile --quiet --python-version 3.11 --generate-hashes \
	  --custom-compile-command 'make lock' --no-emit-index-url --no-emit-find-links - -o requirements-lab.lock

clean: ## remove .venv and caches (run folders in .rehost stay)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find toolkit tests seeds -name __pycache__ -type d -prune -exec rm -rf {} +
