# make demo   train, evaluate and predict on generated colonoscopy scenes, in a few minutes on a laptop
# make test   the whole test suite
PYTHON ?= python3
BIN    := .venv/bin

.PHONY: demo test test-fast lint clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@
