# Commands of this checkout. Each creates the virtual environment if it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/ready

# If there is an mpirun on PATH, its MPI is used; otherwise the wheel of Open MPI is installed.
MPIRUN := $(filter-out $(BIN)/%,$(shell command -v mpirun))
EXTRAS := $(if $(MPIRUN),test,test,mpi)
RANKS ?= 4
# Number of processes for the serial tests; each process runs one file at a time.
JOBS ?= 2

# Activates the virtual environment and sets the variables of Open MPI in the shell of a recipe.
ENTER := . ./env.sh || exit 2;

.PHONY: help venv demo table skew test drill check docs clean
.DELETE_ON_ERROR:

help:
	@echo "make venv    create the virtual environment; every other command does so, too. Then: source env.sh"
	@echo "make demo    train four algorithms on two partitions, three seeds each, at 4 ranks, then report"
	@echo "make table   every algorithm x three partitions x 4 to 256 workers x five seeds; continues an interrupted sweep"
	@echo "make skew    accuracy against label skew: four algorithms x five skews x five seeds on DATA=data/mnist"
	@echo "make test    the whole test suite, serial and under mpirun"
	@echo "make drill   the slow drills of tests/drill_*.py: damage, mistakes, kills, full disks, wide results"
	@echo "make check   ruff, mypy --strict and codespell"
	@echo "make docs    build the documentation into site/ and check its links"
	@echo "make clean   remove the virtual environment, caches and the demo's results"

venv: $(READY)

demo: $(READY)
	@$(ENTER) bash bench/demo.sh runs/demo

table: $(READY)
	$(ENTER) python -m bench.sweep bench/sweeps/table.toml --out runs/table --markdown runs/table/table.md

# Folder of MNIST from bench.fetch, or of another set of images.
DATA ?= data/mnist

skew: $(READY)
	mkdir -p runs/skew
	$(ENTER) python -m bench.sweep bench/sweeps/skew.toml --set data=$(DATA) --out runs/skew --figure runs/skew/skew.svg

# tests/launching.DEADLINE_S limits each wait of a test; these limits are for the whole session.
MPI_TESTS := timeout 5400 mpirun -n $(RANKS) python -m pytest -q -m mpi --with-mpi --color=no
SERIAL_TESTS := timeout 7200 python -m pytest -q -m "not mpi" --color=no -n $(JOBS) \
	--dist loadfile --no-loadscope-reorder tests/slurm tests/bench tests

# The serial part runs even if the MPI part fails; the exit code is the larger one of the two.
test: $(READY)
	@$(ENTER) mpi=0; $(MPI_TESTS) || mpi=$$?; \
	serial=0; $(SERIAL_TESTS) || serial=$$?; \
	exit $$((mpi > serial ? mpi : serial))

# Each drill prints its outcomes and fails if one is bad. DRILLS="kill disk" selects two of them.
#   damage   reads result files with random damage: each is read or reported in one line
#   compare  launches pairs of runs: a slowdown of 5 % is detected, equal runs show no difference
#   kill     kills ranks, mpirun or all processes at random moments: every file stays readable
#   disk     fills, removes or write-protects the folder of the results (as root on a tmpfs)
#   mistakes 600 mistakes on command lines and in files: each is one line and exit code 2
#   adopt    kills ranks under --on-death: every run ends with the parameters that its deaths predict
#   wide     writes and reads a result of 1,000 ranks, and prints sizes and times
#   clock    trains over slow links, and compares the steps with predictions made before (not in the default)
#   requeue  signals jobs before their time limit (requires slurm/devcluster; not in the default)
DRILLS ?= damage mistakes compare kill adopt disk wide

drill: $(READY)
	@$(ENTER) worst=0; for drill in $(DRILLS); do \
		echo "== $$drill"; python -m tests.drill_$$drill || worst=$$?; done; exit $$worst

check: $(READY)
	$(ENTER) ruff format --check .
	$(ENTER) ruff check .
	$(ENTER) mypy
	$(ENTER) codespell

docs: $(VENV)/ready-docs
	$(ENTER) NO_MKDOCS_2_WARNING=1 mkdocs build --strict

PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

$(READY): constraints.txt setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@echo "$$($(PYTHON) --version), $(if $(MPIRUN),MPI of $(MPIRUN),Open MPI as a wheel: no mpirun is on PATH)"
	@echo "installing torch, numpy, HDF5 and others into $(VENV): about 1700 MB (gigabytes more if torch brings CUDA)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) setuptools wheel
	@$(PIP) --no-build-isolation --editable '.[$(EXTRAS)]'
	@touch $@
	@echo "installed; for commands of your own: source env.sh"

$(VENV)/ready-docs: $(READY)
	@echo "installing mkdocs into $(VENV)"
	@$(PIP) --no-build-isolation --editable '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) build site *.egg-info .mypy_cache .ruff_cache .hypothesis runs/demo
