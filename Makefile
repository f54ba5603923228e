# Every target starts from a bare clone: it makes its own environment in .venv and installs what it needs.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
READY_TO_TEST := .venv/.ready-to-test
WORKSPACE ?= workspace

.PHONY: demo test lint docs bench clean

demo: $(READY)  ## the whole pipeline on the embedded model, then the browser (SERVE=0: without it)
	$(BIN)/sparselex demo $(WORKSPACE) $(if $(filter 0,$(SERVE)),--no-serve)

test: lint $(READY_TO_TEST)  ## lint, types and every test
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)  ## the code blocks of README and docs, run as tests
	$(BIN)/python -m pytest tests/test_docs.py

bench: $(READY)  ## every benchmark, each printing one table of ratios
	for name in harvest index training sweep gpu server; do $(BIN)/python -m benchmarks.$$name || exit 1; done

clean:
	rm -rf .venv

# torch comes first and pinned: another package's open range would pull the newest GPU build, gigabytes of it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

# Large, and needed by no demo: Triton's interpreter runs the GPU kernels on the CPU; TensorBoard reads back what was logged for it; datasets
# reads one from a hub of the tests' own.
$(READY_TO_TEST): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,gpu,tensorboard,datasets]"
	touch $@
