# Every target works on a fresh machine with Python 3.11 or newer and nothing else: .venv is made on first use.
PYTHON ?= python3
SOURCE ?= sandbox
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check bench browser format

demo: $(READY)    ## the whole way: scenes, corpus, catalog, pre-training, probe; ends with runs/demo/report.html
	$(BIN)/python -m benchmarks.demo --source $(SOURCE)

test: $(READY)    ## all tests that need no network
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(READY)   ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p catalog -p ingest -p dsjax
	$(BIN)/lint-imports

bench: $(READY)   ## benchmarks that take minutes; results in benchmarks/results
	$(BIN)/python -m benchmarks.match
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.chaos --out benchmarks/results/chaos.json

browser: $(READY) ## build STAC Browser once, with Node and npm, for `serve --browser`
	$(BIN)/python -m catalog.browser

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml constraints.txt
	bash tools/environment $(PYTHON) $(VENV)
	touch $@
