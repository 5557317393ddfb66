PYTHON ?= python

.PHONY: help check test lowest bench mind-mini

help:            ## Show the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

check:           ## Format, lint and types, as CI checks them.
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

test:            ## All tests; those on real data where RECBOLE_TINYNEWS_DATA names its folder.
	$(PYTHON) -m pytest

lowest:          ## Unit tests on the lowest supported versions, in an environment of their own.
	$(PYTHON) -m venv --clear .lowest
	.lowest/bin/pip install --quiet -e ".[test]" -r tests/lowest.txt
	.lowest/bin/python -m pytest -m "not real and not whole"
	rm -rf .lowest

bench:           ## All benchmarks at a small size; their figures go into bench.csv.
	$(PYTHON) benchmarks/all.py

mind-mini:       ## Write the embedded synthetic data set anew, bit for bit.
	$(PYTHON) dataset/make_mind_mini.py
