# shellcheck shell=bash
# What the batch scripts share; they source it from the checkout, where a job starts.
#   prepare                               check the job, find Python, tell OpenMP its cores
#   launch MODULE [ARGUMENT...]           python -m MODULE on every task; returns its exit code
#   launch_on NODES MODULE [ARGUMENT...]  the same on as many nodes of the job, the first ones
#   finish CODE                           end the job, or queue it again: where CODE is 85, or a
#                                         node of it is lost
#   refuse LINE                           a mistake of the user: one line, exit code 2
#
# What can be set in the environment where a job is submitted:
#   MURMURATION_PYTHON    the interpreter (.venv/bin/python)
#   MURMURATION_LAUNCHER  srun, or mpirun: the one beside Python, else the one on PATH (srun)
#   MURMURATION_SRUN_MPI  one of `srun --mpi=list` (pmix: what Open MPI speaks)
#   MURMURATION_RESTARTS  times a job is queued again at most (20)

INTERRUPTED=85 # exit code of a program that was asked to end and has written a checkpoint

refuse() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

say() { printf '%s\n' "$*" >&2; }

prepare() {
    [[ -n ${SLURM_NTASKS:-} ]] || refuse "this is a batch script: submit it with sbatch"
    python=${MURMURATION_PYTHON:-.venv/bin/python}
    python=$(command -v "$python") ||
        refuse "no Python at ${MURMURATION_PYTHON:-.venv/bin/python}: make .venv in $PWD," \
            "or set MURMURATION_PYTHON"
    restarts=${MURMURATION_RESTARTS:-20}
    [[ $restarts =~ ^[0-9]+$ ]] ||
        refuse "MURMURATION_RESTARTS must be a whole number from 0, got '$restarts'"
    cores=${SLURM_CPUS_PER_TASK:-1}

    # A rank's threads are as many as its cores. They are not pinned (OMP_PROC_BIND): the launcher
    # binds a rank, and where it cannot, all ranks of a node would be pinned to the same cores.
    export OMP_NUM_THREADS=$cores

    # Every rank exits with 85, or 2, but not at the same moment: with --kill-on-bad-exit=1 the
    # first one's exit has srun kill the others, and their 137 hides its code. SLURM_WAIT ends the
    # job, too, seconds after a rank has died; without it the others wait until the time limit.
    export SLURM_KILL_BAD_EXIT=0 SLURM_WAIT=${SLURM_WAIT:-30}

    # bash answers a signal at once only while it is in `wait`, so the launcher runs behind it.
    launched='' asked=no cancelled=no
    trap 'asked=yes; forward' USR1 # of --signal, before the time limit
    trap 'asked=yes cancelled=yes; forward' TERM # of scancel, or of a preemption
}

# A launcher hands SIGUSR1 to its ranks. SIGTERM is not passed on as such: mpirun kills its ranks a
# second after one, before a checkpoint is written.
forward() { [[ -z $launched ]] || kill -USR1 "$launched" 2>/dev/null || true; }

launch() { launch_on "$SLURM_NNODES" "$@"; }

launch_on() {
    local nodes=$1 module=$2 tasks code launcher
    shift 2
    ((SLURM_NTASKS % SLURM_NNODES == 0)) || ((nodes == SLURM_NNODES)) ||
        refuse "$SLURM_NTASKS tasks are not dealt evenly to $SLURM_NNODES nodes: use" \
            "--ntasks-per-node instead of --ntasks"
    tasks=$((SLURM_NTASKS * nodes / SLURM_NNODES))
    find_launcher "$nodes" "$tasks"

    [[ $asked == no ]] || return "$INTERRUPTED" # between two launches
    # With the wrong --mpi every task is a world of one rank, without a warning; another mpirun
    # does the same. --ranks refuses that.
    "${launcher[@]}" "$python" -m "$module" --ranks "$tasks" "$@" &
    launched=$!
    # A trapped signal ends `wait`, with a code of its own, while the launcher still runs.
    while kill -0 "$launched" 2>/dev/null; do wait "$launched" || true; done
    code=0
    wait "$launched" || code=$?
    launched=''
    return "$code"
}

find_launcher() {
    case ${MURMURATION_LAUNCHER:-srun} in
        srun)
            # Since Slurm 22.05 srun does not take over sbatch's --cpus-per-task.
            launcher=(srun --mpi="${MURMURATION_SRUN_MPI:-pmix}" --nodes="$1" --ntasks="$2"
                --cpus-per-task="$cores" --cpu-bind=cores)
            ;;
        mpirun)
            launcher=("$(dirname "$python")/mpirun")
            [[ -x ${launcher[0]} ]] || launcher=(mpirun)
            command -v "${launcher[0]}" >/dev/null ||
                refuse "MURMURATION_LAUNCHER is mpirun, but there is none beside $python or on PATH"
            # By itself it binds two ranks and fewer to a core, more to a socket. A node may have
            # fewer cores than Slurm says, as devcluster's: results tell where ranks share them.
            launcher+=(-n "$2" --map-by "slot:PE=$cores" --bind-to core:overload-allowed)
            ;;
        *) refuse "MURMURATION_LAUNCHER must be srun or mpirun, got '$MURMURATION_LAUNCHER'" ;;
    esac
}

# A rank that died may have died with its node, which Slurm notices only after minutes.
all_nodes_answer() {
    ((SLURM_NNODES == 1)) || # this one does
        timeout 30 srun --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --ntasks-per-node=1 \
            --mpi=none true >/dev/null 2>&1
}

finish() {
    local code=$1 count=${SLURM_RESTART_COUNT:-0} job=$SLURM_JOB_ID why='goes on from its checkpoint'
    case $code in
        0 | 2) exit "$code" ;;
        "$INTERRUPTED") ;;
        138) # 128 + SIGUSR1
            say "error: the signal before the time limit came before there was anything to keep:" \
                "raise --time"
            exit "$code"
            ;;
        *)
            ! all_nodes_answer || exit "$code"
            why="has lost a node, and $why"
            ;;
    esac
    [[ -z ${SLURM_ARRAY_JOB_ID:-} ]] || job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    if [[ $cancelled == yes ]]; then
        say "job $job was told to end, so it is not queued again: submit it again to go on"
    elif ((count >= restarts)); then
        say "job $job has been queued again $count times, MURMURATION_RESTARTS allows $restarts:" \
            "submit it again to go on"
    else
        say "job $job $why: queued again, $((count + 1)) of $restarts times"
        trap '' TERM # what requeueing a job sends to this script
        scontrol requeue "$job" && exit 0
        say "error: scontrol could not requeue job $job: submit it again to go on"
    fi
    exit "$code"
}
