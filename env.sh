# Set up a shell for this checkout: `source env.sh` in bash or zsh, `. ./env.sh` in sh.
# shellcheck shell=sh disable=SC1091,SC3028
#
# Activates the virtual environment .venv and sets the variables that Open MPI needs as root, in a
# container, and for more ranks than cores. Variables that are set already keep their values. The
# Makefile sources this file, too.

if [ -n "${BASH_SOURCE:-}" ]; then
    murmuration_root=$BASH_SOURCE
elif [ -n "${ZSH_VERSION:-}" ]; then
    eval 'murmuration_root=${(%):-%x}' # a syntax error in other shells
else
    murmuration_root=./env.sh # sh does not state which file it reads
fi
murmuration_root=$(CDPATH='' cd -- "$(dirname -- "$murmuration_root")" && pwd)

if [ ! -e "$murmuration_root/.venv/ready" ]; then
    echo "error: there is no virtual environment $murmuration_root/.venv yet: run \`make venv\` there first" >&2
    unset murmuration_root
    return 2
fi
. "$murmuration_root/.venv/bin/activate"
unset murmuration_root

# Open MPI refuses root, and more ranks than cores (the second variable is that of Open MPI 4).
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export PRTE_MCA_rmaps_default_mapping_policy="${PRTE_MCA_rmaps_default_mapping_policy:-:oversubscribe}"
export OMPI_MCA_rmaps_base_oversubscribe="${OMPI_MCA_rmaps_base_oversubscribe:-1}"
# One-sided communication over UCX is broken in Open MPI's wheel.
export OMPI_MCA_osc="${OMPI_MCA_osc:-^ucx}"
# The component for windows over libfabric sleeps for a second in each start without a fabric.
export OMPI_MCA_btl="${OMPI_MCA_btl:-^ofi}"
# Ranks that share cores are slowed by threads of their own.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
