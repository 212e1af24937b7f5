# The three commands of this checkout. Each makes the virtual environment when it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/ready

# A site's own MPI is used where there is an mpirun; else Open MPI's wheel brings one.
EXTRAS := $(if $(shell command -v mpirun),test,test,mpi)
RANKS ?= 4
# Serial tests run in so many processes, each a file of them at a time.
JOBS ?= 2

# Open MPI refuses root and more ranks than cores unless told; UCX windows are broken in its wheel.
export PATH := $(BIN):$(PATH)
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
export PRTE_MCA_rmaps_default_mapping_policy ?= :oversubscribe
export OMPI_MCA_osc ?= ^ucx
export OMP_NUM_THREADS ?= 1

.PHONY: help demo table skew test check docs clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    train four algorithms on two partitions at 4 ranks, then report"
	@echo "make table   every algorithm x three partitions x 4 to 256 workers x five seeds; goes on where it was"
	@echo "make skew    accuracy against label skew: four algorithms x five skews x five seeds on DATA=data/mnist"
	@echo "make test    the whole test suite, serial and under mpirun"
	@echo "make check   ruff, mypy --strict and codespell"
	@echo "make docs    build the documentation into site/ and check its links"
	@echo "make clean   remove the virtual environment, caches and the demo's results"

demo: $(READY)
	bash bench/demo.sh runs/demo

table: $(READY)
	python -m bench.sweep bench/sweeps/table.toml --out runs/table --markdown runs/table/table.md

# Where bench.fetch puts MNIST; any pictures will do.
DATA ?= data/mnist

skew: $(READY)
	mkdir -p runs/skew
	python -m bench.sweep bench/sweeps/skew.toml --set data=$(DATA) --out runs/skew --figure runs/skew/skew.svg

test: $(READY)
	timeout 900 mpirun -n $(RANKS) python -m pytest -q -m mpi --with-mpi --color=no
	timeout 1500 python -m pytest -q -m "not mpi" --color=no -n $(JOBS) --dist loadfile --no-loadscope-reorder tests/slurm tests/bench tests

check: $(READY)
	ruff format --check .
	ruff check .
	mypy
	codespell

docs: $(VENV)/ready-docs
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

$(READY): constraints.txt setup.py pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt setuptools wheel
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation \
		--editable '.[$(EXTRAS)]'
	touch $@

$(VENV)/ready-docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation \
		--editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build site *.egg-info .mypy_cache .ruff_cache .hypothesis runs/demo
