# Every target does its own set-up: a fresh machine needs only make and Python 3.11 or later.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test check examples bench docs dist clean

demo: .venv/.demo
	$(BIN)/python examples/mlp_digits.py
	$(BIN)/python examples/lstm_sunspots.py
	@echo "The pictures are in out/"

test: .venv/.test
	$(BIN)/python -m pytest -n auto

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layering.py tests/test_measures.py

examples: .venv/.examples
	@for example in examples/*.py; do \
		echo "$$example --short"; $(BIN)/python "$$example" --short || exit 1; \
	done

# A few minutes; the full form is each line without --short. Libraries that are not in .venv are named and left out.
bench: .venv/.demo
	$(BIN)/python -m benchmarks.cold
	$(BIN)/python -m benchmarks.run --short
	$(BIN)/python -m benchmarks.tables
	$(BIN)/python -m benchmarks.lightness
	$(BIN)/python -m benchmarks.growth --short
	$(BIN)/python -m benchmarks.memory

# The site, in docs/_build/html: a warning is an error. All anew but the examples that are as they were.
docs: .docs-venv/.docs
	rm -rf docs/_build
	.docs-venv/bin/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

# The wheel and the source archive in dist/, checked; what is installed from the wheel, alone, trains.
dist: .dist-venv/.dist
	rm -rf dist
	.dist-venv/bin/python -m build
	.dist-venv/bin/python -m twine check --strict dist/*
	.dist-venv/bin/check-wheel-contents dist/*.whl
	$(PYTHON) -m venv --clear .dist-venv/fresh
	.dist-venv/fresh/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd .dist-venv && fresh/bin/python -I ../.ci/smoke.py

clean:
	rm -rf .venv .docs-venv .dist-venv docs/_build docs/_examples docs/gallery docs/reference/functions
	rm -rf out dist build .mypy_cache .pytest_cache .ruff_cache
	find minidl tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp file per set of extras, so that the installation is done once and again when the needs change.
.venv/.demo: EXTRAS = plot
.venv/.examples: EXTRAS = plot,examples
.venv/.test: EXTRAS = plot,test
.venv/.dev: EXTRAS = plot,dev
.docs-venv/.docs: EXTRAS = docs
.dist-venv/.dist: EXTRAS = dist
.venv/.demo .venv/.examples .venv/.test .venv/.dev .docs-venv/.docs .dist-venv/.dist: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "minidl needs Python 3.11 or later: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@
