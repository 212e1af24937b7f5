# Commands of this checkout. Each creates the virtual environment if it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/ready

# If there is an mpirun on PATH, its MPI is used; otherwise the wheel of Open MPI is installed.
EXTRAS := $(if $(shell command -v mpirun),test,test,mpi)
RANKS ?= 4
# Number of processes for the serial tests; each process runs one file at a time.
JOBS ?= 2

# By default Open MPI refuses root and more ranks than cores. The wheel has broken windows over UCX.
export PATH := $(BIN):$(PATH)
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
export PRTE_MCA_rmaps_default_mapping_policy ?= :oversubscribe
export OMPI_MCA_osc ?= ^ucx
export OMP_NUM_THREADS ?= 1

.PHONY: help demo table skew test drill check docs clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    train four algorithms on two partitions at 4 ranks, then report"
	@echo "make table   every algorithm x three partitions x 4 to 256 workers x five seeds; continues an interrupted sweep"
	@echo "make skew    accuracy against label skew: four algorithms x five skews x five seeds on DATA=data/mnist"
	@echo "make test    the whole test suite, serial and under mpirun"
	@echo "make drill   the slow drills of tests/drill_*.py: damage, kills, full disks, wide results"
	@echo "make check   ruff, mypy --strict and codespell"
	@echo "make docs    build the documentation into site/ and check its links"
	@echo "make clean   remove the virtual environment, caches and the demo's results"

demo: $(READY)
	bash bench/demo.sh runs/demo

table: $(READY)
	python -m bench.sweep bench/sweeps/table.toml --out runs/table --markdown runs/table/table.md

# Folder of MNIST from bench.fetch, or of another set of images.
DATA ?= data/mnist

skew: $(READY)
	mkdir -p runs/skew
	python -m bench.sweep bench/sweeps/skew.toml --set data=$(DATA) --out runs/skew --figure runs/skew/skew.svg

# tests/launching.DEADLINE_S limits each wait of a test; these limits are for the whole session.
MPI_TESTS := timeout 5400 mpirun -n $(RANKS) python -m pytest -q -m mpi --with-mpi --color=no
SERIAL_TESTS := timeout 7200 python -m pytest -q -m "not mpi" --color=no -n $(JOBS) \
	--dist loadfile --no-loadscope-reorder tests/slurm tests/bench tests

# The serial part runs even if the MPI part fails; the exit code is the larger one of the two.
test: $(READY)
	@mpi=0; $(MPI_TESTS) || mpi=$$?; \
	serial=0; $(SERIAL_TESTS) || serial=$$?; \
	exit $$((mpi > serial ? mpi : serial))

# Each drill prints its outcomes and fails if one is bad. DRILLS="kill disk" selects two of them.
#   damage   reads result files with random damage: each is read or reported in one line
#   compare  launches pairs of runs: a slowdown of 5 % is detected, equal runs show no difference
#   kill     kills ranks, mpirun or all processes at random moments: every file stays readable
#   disk     fills, removes or write-protects the folder of the results (as root on a tmpfs)
#   wide     writes and reads a result of 1,000 ranks, and prints sizes and times
#   requeue  signals jobs before their time limit (requires slurm/devcluster; not in the default)
DRILLS ?= damage compare kill disk wide

drill: $(READY)
	@worst=0; for drill in $(DRILLS); do \
		echo "== $$drill"; python -m tests.drill_$$drill || worst=$$?; done; exit $$worst

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
