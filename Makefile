PYTHON ?= python

.PHONY: help check test long gpu lowest lowest-versions docs bench mind-mini

help:            ## Show the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

check:           ## Check format, lint and types, and the Dockerfile, as CI does.
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy benchmarks/seeded_faults/*.py # another __main__
	$(dir $(shell command -v $(PYTHON)))hadolint Dockerfile

test:            ## Run the tests; those on real data only if RECBOLE_TINYNEWS_DATA names its folder.
	$(PYTHON) -m pytest

long:            ## Run those that take tens of seconds: pages of the docs, the site, real exports.
	$(PYTHON) -m pytest -m long $$(grep -rl --include='*.py' 'mark\.long' tests)

gpu:             ## Run the tests of a CUDA card, and print how fast it trains.
	$(PYTHON) -m pytest tests/gpu -m long -n0
	$(PYTHON) benchmarks/train_step.py --device=cuda

lowest-versions: ## Make an environment of the lowest supported versions.
	$(PYTHON) -m venv .lowest
	.lowest/bin/pip install --quiet uv
	.lowest/bin/uv pip install --quiet --python .lowest -e ".[test]" -r tests/lowest.txt
	.lowest/bin/uv pip install --quiet --python .lowest --no-deps recbole==1.2.1

lowest:          ## Run unit tests once each in that environment, made if there is none, and remove it.
	[ -x .lowest/bin/pytest ] || $(MAKE) lowest-versions
	.lowest/bin/python -m pytest --once -m "not real and not whole" --ignore=tests/docs
	rm -rf .lowest

docs:            ## Build the site into site/; a broken link or any other warning is an error.
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

bench:           ## Run all benchmarks at a small size; writes their figures to bench.csv.
	$(PYTHON) benchmarks/all.py

mind-mini:       ## Regenerate the embedded synthetic data sets, bit for bit.
	$(PYTHON) -m tools.mind_mini.data_sets
