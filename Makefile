PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
NOTEBOOKS := $(wildcard notebooks/*.ipynb)

# Toy models are slower on several threads than on one, and parallel tests would fight for the cores.
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1
# Modules are compiled when they are first imported, and most of what is installed never is.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo quick test lab notebooks results bench

demo: $(READY)
	$(BIN)/python -m mmlib.runs notebooks/studies/demo.yaml --fresh

# A file stays on one worker: fixtures of modules are made once, and cells run in order. conftest.py puts long files first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Unit tests alone: under two minutes on two cores.
quick: $(READY)
	$(PYTEST) -m "not slow" tests

# Everything, with checks of types and shapes at each call, and the notebooks against their stored outputs.
test: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(PYTEST) "--jaxtyping-packages=mmlib,beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))" \
		--nbval --nbval-current-env --nbval-sanitize-with tests/notebooks.cfg \
		tests $(NOTEBOOKS)

# In containers the user is often root, which Jupyter refuses unless it is told. LAB_ARGS="--ip=0.0.0.0 --no-browser"
lab: $(READY)
	$(BIN)/python -m ipykernel install --user --name mmlib --display-name "mmlib"
	$(BIN)/jupyter lab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_ARGS)

# Progress bars are for the person who watches; stored in a notebook they are noise.
quick test notebooks: export TQDM_DISABLE = 1

notebooks: $(READY)
	for nb in $(NOTEBOOKS); do \
		$(BIN)/jupyter nbconvert --to notebook --execute --inplace --log-level=WARN $$nb && \
		$(BIN)/nbstripout --keep-id --keep-output --keep-count --extra-keys \
			"metadata.papermill cell.metadata.papermill cell.metadata.execution metadata.language_info" $$nb || exit 1; \
	done

# Everything that is drawn or said from data/results: figures, the results notebook, the README's blocks.
results: $(READY)
	mkdir -p runs
	cd notebooks && ../$(BIN)/papermill results.ipynb ../runs/results.ipynb -p figures_dir ../figures --log-level WARNING
	$(MAKE) notebooks NOTEBOOKS=notebooks/results.ipynb
	$(BIN)/python -m mmlib.report.readme

bench: $(READY)
	$(BIN)/python -m tests.bench

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --progress-bar on --no-compile --editable '.[all]' --constraint constraints.txt
	touch $@
