# shellcheck shell=bash
# Functions of the batch scripts, which source this file from the checkout, their working directory:
#   prepare                               check the job, find Python, set the OpenMP threads
#   launch MODULE [ARGUMENT...]           run python -m MODULE on every task; return its exit code
#   launch_on NODES MODULE [ARGUMENT...]  the same on the first NODES nodes of the job
#   finish CODE                           exit, or requeue the job if CODE is 85 or a node of the
#                                         job has failed
#   refuse LINE                           report a user error in one line and exit with code 2
#
# Environment variables at the submission of a job, with their defaults:
#   MURMURATION_PYTHON    interpreter (.venv/bin/python)
#   MURMURATION_LAUNCHER  srun, or mpirun from the folder of Python, else from PATH (srun)
#   MURMURATION_SRUN_MPI  an entry of `srun --mpi=list` (pmix, which Open MPI requires)
#   MURMURATION_RESTARTS  maximum number of requeues of a job (20)

INTERRUPTED=85 # exit code of a program that wrote a checkpoint after a stop signal

refuse() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

say() { printf '%s\n' "$*" >&2; }

prepare() {
    [[ -n ${SLURM_NTASKS:-} ]] || refuse "this is a batch script: submit it with sbatch"
    python=${MURMURATION_PYTHON:-.venv/bin/python}
    python=$(command -v "$python") ||
        refuse "no Python at ${MURMURATION_PYTHON:-.venv/bin/python}: create .venv in $PWD," \
            "or set MURMURATION_PYTHON"
    restarts=${MURMURATION_RESTARTS:-20}
    [[ $restarts =~ ^[0-9]+$ ]] ||
        refuse "MURMURATION_RESTARTS must be a non-negative integer, got '$restarts'"
    cores=${SLURM_CPUS_PER_TASK:-1}

    # Each rank has one thread per core. OMP_PROC_BIND stays unset: the launcher binds the ranks,
    # and without its binding, OMP_PROC_BIND would pin all ranks of a node to the same cores.
    export OMP_NUM_THREADS=$cores

    # All ranks exit with 85, or with 2, but at slightly different times. With --kill-on-bad-exit=1
    # srun would kill the other ranks after the first exit, and their code 137 would hide its code.
    # SLURM_WAIT still ends the job a few seconds after the death of a rank; without it the other
    # ranks would wait until the time limit.
    export SLURM_KILL_BAD_EXIT=0 SLURM_WAIT=${SLURM_WAIT:-30}

    # bash handles a signal at once only in `wait`, so the launcher runs in the background.
    launcher_pid='' stopping=no cancelled=no
    trap 'stopping=yes; forward' USR1 # from --signal, before the time limit
    trap 'stopping=yes cancelled=yes; forward' TERM # from scancel or a preemption
}

# The launcher forwards SIGUSR1 to its ranks. A SIGTERM is translated to SIGUSR1, because mpirun
# kills its ranks one second after a SIGTERM, before they have written a checkpoint.
forward() { [[ -z $launcher_pid ]] || kill -USR1 "$launcher_pid" 2>/dev/null || true; }

launch() { launch_on "$SLURM_NNODES" "$@"; }

launch_on() {
    local nodes=$1 module=$2 tasks code launcher
    shift 2
    ((SLURM_NTASKS % SLURM_NNODES == 0)) || ((nodes == SLURM_NNODES)) ||
        refuse "$SLURM_NTASKS tasks do not divide evenly among $SLURM_NNODES nodes: use" \
            "--ntasks-per-node instead of --ntasks"
    tasks=$((SLURM_NTASKS * nodes / SLURM_NNODES))
    find_launcher "$nodes" "$tasks"

    [[ $stopping == no ]] || return "$INTERRUPTED" # signal between two launches
    # With a wrong --mpi, or with the mpirun of another MPI, every task silently becomes a world of
    # one rank. The option --ranks refuses that.
    "${launcher[@]}" "$python" -m "$module" --ranks "$tasks" "$@" &
    launcher_pid=$!
    # A trapped signal ends `wait` with the code of the signal while the launcher still runs.
    while kill -0 "$launcher_pid" 2>/dev/null; do wait "$launcher_pid" || true; done
    code=0
    wait "$launcher_pid" || code=$?
    launcher_pid=''
    return "$code"
}

find_launcher() {
    case ${MURMURATION_LAUNCHER:-srun} in
        srun)
            # Since Slurm 22.05, srun does not inherit --cpus-per-task from sbatch.
            launcher=(srun --mpi="${MURMURATION_SRUN_MPI:-pmix}" --nodes="$1" --ntasks="$2"
                --cpus-per-task="$cores" --cpu-bind=cores)
            ;;
        mpirun)
            launcher=("$(dirname "$python")/mpirun")
            [[ -x ${launcher[0]} ]] || launcher=(mpirun)
            command -v "${launcher[0]}" >/dev/null ||
                refuse "MURMURATION_LAUNCHER is mpirun, but it is neither beside $python nor on PATH"
            # By default mpirun binds up to two ranks to cores and more to sockets. A node can have
            # fewer cores than its Slurm configuration, as in devcluster; results record ranks that
            # share cores.
            launcher+=(-n "$2" --map-by "slot:PE=$cores" --bind-to core:overload-allowed)
            ;;
        *) refuse "MURMURATION_LAUNCHER must be srun or mpirun, got '$MURMURATION_LAUNCHER'" ;;
    esac
}

# Return success if every node of the job responds. Slurm needs minutes to notice a failed node, so
# a rank may have died with its node.
all_nodes_answer() {
    ((SLURM_NNODES == 1)) || # this script runs on the only node
        timeout 30 srun --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --ntasks-per-node=1 \
            --mpi=none true >/dev/null 2>&1
}

finish() {
    local code=$1 count=${SLURM_RESTART_COUNT:-0} job=$SLURM_JOB_ID
    local reason='continues from its checkpoint'
    case $code in
        0 | 2) exit "$code" ;;
        "$INTERRUPTED") ;;
        138) # 128 + SIGUSR1
            say "error: the signal before the time limit arrived before the first checkpoint:" \
                "raise --time"
            exit "$code"
            ;;
        *)
            ! all_nodes_answer || exit "$code"
            reason="lost a node and $reason"
            ;;
    esac
    [[ -z ${SLURM_ARRAY_JOB_ID:-} ]] || job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    if [[ $cancelled == yes ]]; then
        say "job $job was cancelled, so it is not requeued: submit it again to continue"
    elif ((count >= restarts)); then
        say "job $job reached its limit of requeues ($count, MURMURATION_RESTARTS is $restarts):" \
            "submit it again to continue"
    else
        say "job $job $reason: requeue $((count + 1)) of $restarts"
        trap '' TERM # scontrol requeue sends SIGTERM to this script
        scontrol requeue "$job" && exit 0
        say "error: scontrol could not requeue job $job: submit it again to continue"
    fi
    exit "$code"
}
