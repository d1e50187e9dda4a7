# make demo: sets everything up, then runs the main job on the drawn Atelier set.
# make test: sets everything up, then runs every check and test; sharing twice, under the oldest Hub client too.
# Both need only Python 3.11 or newer, as `python3` or as PYTHON=...; tests run in WORKERS processes.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
PRODUCTS ?= 300
EPOCHS ?= 4
WORKERS ?= 2
BIN := $(VENV)/bin
# Each worker begins with a half of its own, so that what a module sets up is mostly set up once, and ends with a part
# of the other's.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# The lowest huggingface-hub that pyproject.toml allows: sharing is tested under it as well as under the newest.
LOWEST_HUB := 0.27.0

.PHONY: demo test test-core test-sharing lint browser clean

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "fashreg needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml contrib/fashreg-lite0/pyproject.toml
	bash .ci/install $(VENV) -e . -e contrib/fashreg-lite0
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed contrib/template/pyproject.toml contrib/fashreg-milvus/pyproject.toml \
		plugins/fashreg-acbn/pyproject.toml plugins/fashreg-famevil/pyproject.toml \
		plugins/fashreg-mclfir/pyproject.toml plugins/fashreg-moml/pyproject.toml
	bash .ci/install $(VENV) -e '.[dev]' -e contrib/fashreg-lite0 -e contrib/fashreg-milvus -e contrib/template \
		-e plugins/fashreg-acbn -e 'plugins/fashreg-famevil[test]' -e 'plugins/fashreg-mclfir[text]' -e plugins/fashreg-moml
	touch $@

# The main job. Each line is a command that a person would type; PRODUCTS and EPOCHS make it shorter.
demo: $(VENV)/.installed
	rm -rf $(DEMO)
	$(BIN)/fashreg data atelier --out $(DEMO)/atelier --products $(PRODUCTS)
	$(BIN)/fashreg train atelier --set data.table=$(DEMO)/atelier/table.csv --set trainer.epochs=$(EPOCHS) --out $(DEMO)/run
	$(BIN)/fashreg index build $(DEMO)/run/model --table $(DEMO)/atelier/table.csv --split test --out $(DEMO)/index
	$(BIN)/fashreg search $(DEMO)/index -k 5 --sheet $(DEMO)/hits.png
	@echo "open $(DEMO)/run/report.html in a browser: what the model finds, where it errs, how sure the numbers are"
	@echo "pictures: $(DEMO)/atelier/images   query and hits: $(DEMO)/hits.png   model: $(DEMO)/run/model"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Pages are tested in a real browser: Chromium, Chrome or Edge as found, else (as root) Debian's chromium.
browser: $(VENV)/.installed-dev
	$(BIN)/python tests/report/browser.py

# It lies in a folder of its own, beside the environment: PYTHONPATH puts it before the newest one.
$(VENV)/lowest-hub/.installed-$(LOWEST_HUB): $(VENV)/.installed-dev
	rm -rf $(VENV)/lowest-hub
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(VENV)/lowest-hub \
		huggingface-hub==$(LOWEST_HUB)
	touch $@

test-sharing: $(VENV)/lowest-hub/.installed-$(LOWEST_HUB)
	PYTHONPATH=$(abspath $(VENV)/lowest-hub) FASHREG_TEST_HUB=$(LOWEST_HUB) $(PYTEST) tests/hub

# What a change of the core needs while one works on it: all but sharing, the commands of the documentation, and the
# contracts of what plugins register. `make test` runs those too.
test-core: $(VENV)/.installed-dev
	FASHREG_PLUGINS= $(PYTEST) tests --ignore tests/hub --ignore tests/test_docs.py

test: lint browser test-sharing
	$(PYTEST) tests contrib plugins

clean:
	rm -rf $(VENV) $(DEMO) build dist .mypy_cache .ruff_cache .pytest_cache
