# What CI calls is what people call. PYTHON names the interpreter that the environment is made with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test check format bench bench-ingest bench-ranker clean

help:
	@echo "make demo    simulate a shop, train, evaluate, serve and ask it, in an environment of its own"
	@echo "make test    the whole test suite, in the same environment"
	@echo "make check   formatting, lint, types and the order of rooms"
	@echo "make format  write the formatting"
	@echo "make bench   measure quality on real cases: DATA=folder of data sets JUDGE=folder of the judge"
	@echo "make bench-ingest  measure ingest up to 50 million events: needs 25 GB of disk, no data, and up to an hour"
	@echo "make bench-ranker  measure parity and speed of the ranker on a simulated shop of 100,000 items"

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/readrank demo demo-shop

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/quality.py --data "$(DATA)" --judge "$(JUDGE)" --out benchmarks/quality.json

bench-ingest: $(VENV)/.installed
	$(BIN)/python benchmarks/ingest.py --out benchmarks/ingest.json

bench-ranker: $(VENV)/.installed
	$(BIN)/python benchmarks/ranker.py --out benchmarks/ranker.json

clean:
	rm -rf $(VENV) demo-shop
