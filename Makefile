# make demo    generate colonoscopy-like scenes, train on them, evaluate and predict: a few minutes on a laptop
# make test    the whole test suite, slow tests in a separate step
# make lint    check the style
PYTHON ?= python3
BIN    := .venv/bin

.PHONY: demo test lint clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: .venv/installed
	rm -rf demo
	$(BIN)/medseg data synthesize demo/synthetic --images 800 --size 256 --seed 0
	$(BIN)/medseg train --config recipes/synthetic/unet.yaml --data-root demo --out demo/run
	$(BIN)/medseg evaluate demo/run
	$(BIN)/medseg predict demo/run demo/synthetic/test/images --out demo/predictions
	@echo "predictions: demo/predictions"
	@echo "report:      demo/run/report/test/report.html"

test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m "not slow"
	$(BIN)/pytest -m slow

lint: .venv/installed
	$(BIN)/ruff check src tests benchmarks examples

clean:
	rm -rf demo .pytest_cache .ruff_cache
