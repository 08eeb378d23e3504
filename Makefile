# Everything runs in a virtual environment of its own, made on the first call and renewed when the project's needs change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
# Libraries that tests compare with, whose own needs clash with ours, or would bring torchvision.
ALONE := torchattacks spikingjelly norse sinabs nirtorch pbr
# Waiting threads sleep instead of spinning: on a machine that does other work too, training is several times faster.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test lint check docs notebooks bench clean

demo: $(READY)
	$(BIN)/robustsnn run digits --out runs/digits

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile $(COVERAGE)

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy --strict src

check: lint
	$(MAKE) test COVERAGE="--cov --cov-report=term --cov-fail-under=90"
	$(MAKE) docs

# The site, docs/_build/html/index.html. It needs no network, and no warning passes.
docs: $(READY)
	$(BIN)/python -m sphinx -q -W --keep-going -d docs/_build/doctrees docs docs/_build/html

notebooks: $(READY)
	$(BIN)/python -m benchmarks.notebooks

bench: $(READY)
	$(BIN)/python -m benchmarks.bench

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch==2.13.0
	$(BIN)/pip install -q -c constraints.txt -e '.[datasets,hub,nir,onnx,docs,dev]'
	$(BIN)/pip install -q --no-deps -c constraints.txt $(ALONE)
	touch $(READY)

clean:
	rm -rf $(VENV) runs docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
