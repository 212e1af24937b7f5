"""Deaths of ranks: refusals, copies in memory, tables of the result, and real kills."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from mpi4py import MPI

from algorithms.exchange.membership import DEALT, Leave
from algorithms.wire.placement import Placement
from bench.common.spec import UserError
from bench.results import epochs, lost
from bench.results.epochs import GONE, Event
from bench.results.lost import Death, Homes
from bench.results.reader import Run, read
from bench.results.recorder import Block
from bench.results.validation import flaws
from bench.runtime.checkpoint.copies import Copies
from bench.runtime.checkpoint.saving import Snapshot, manifest_of
from bench.runtime.experiment import Experiment
from bench.runtime.recording import dealt
from bench.runtime.repeat import read_options
from bench.session.starting import rank_processes
from bench.session.survivors import check_faults
from bench.train import train as train_here
from tests.launching import DEADLINE_S, command, own_lines, train, wait_until
from tests.writers import listen

ULFM = {"OMPI_MCA_mpi_ft_enable": "1", "PMIX_NAMESPACE": "prterun-host-7@1"}


@pytest.mark.parametrize(
    ("environment", "vendor", "ranks", "refusal"),
    [
        (ULFM, "MPICH", 4, "MPICH ends the whole job when a rank dies: take Open MPI 5"),
        (ULFM, "Intel MPI", 4, "Intel MPI ends the whole job"),
        (ULFM | {"PMIX_NAMESPACE": "slurm.pmix.7.0"}, "Open MPI", 4, "srun ends the whole step"),
        ({}, "Open MPI", 4, "fault tolerance is off: launch with `mpirun -n 4 --with-ft ulfm"),
        (ULFM | {"OMPI_MCA_mpi_ft_enable": "0"}, "Open MPI", 4, "fault tolerance is off"),
        (ULFM, "Open MPI", 1, "one rank has no other"),
    ],
)
def test_launches_without_fault_tolerance_are_refused(
    environment: dict[str, str], vendor: str, ranks: int, refusal: str
) -> None:
    with pytest.raises(UserError, match=re.escape(refusal)):
        check_faults(environment, vendor, ranks)


def test_a_launch_with_fault_tolerance_is_accepted() -> None:
    check_faults(ULFM, "Open MPI", 2)


def test_columns_of_a_dead_rank_repeat_times_and_count_bytes_once() -> None:
    counts = np.arange(1, 5).reshape(2, 2)
    block = Block(
        counts, np.ones((2, 2, 6), np.int64), counts.copy(), counts, counts, counts / np.float64(2)
    )
    columns = dealt(block, [0, 1, 1])  # rank 2 of the launch is dead, rank 1 has its workers
    assert columns.start_ns.tolist() == [[1, 2, 2], [3, 4, 4]]
    assert columns.loss.tolist() == [[0.5, 1, 1], [1.5, 2, 2]]
    assert columns.bytes_sent.tolist() == [[1, 2, 0], [3, 4, 0]]
    assert columns.messages.sum() == counts.sum()


def test_deaths_of_a_launch_replace_their_own_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        lost.write(file, [Death(1, attempt=2, step=7)], [Homes(1, 0, [0, 1]), Homes(2, 5, [0, 0])])
        later = [Death(0, attempt=4, step=9)]
        lost.write(file, later, [Homes(3, 6, [0, 1])])  # resumed, before the recovery
        lost.write(file, [Death(0, 4, 9, 8, 10**6, 2)], [Homes(3, 6, [0, 1]), Homes(4, 8, [1, 1])])
        assert file["homes/rank"][()].tolist() == [[0, 1], [0, 0], [0, 1], [1, 1]]
    table = lost.read(path)
    assert table["rank"].tolist() == [1, 0]
    assert table["back"].tolist() == [0, 8]
    assert lost.text(path).endswith("; rank 0 at step 9, back to step 8 in 1 ms")


ABOUT = {"elapsed_ns": 0, "workers": 0, "hash": "", "run_uuid": "", "params": {}, "step": 0}


@pytest.mark.mpi
def test_copies_outlast_a_rank_unless_its_buddy_dies_too(comm) -> None:  # type: ignore[no-untyped-def]
    total, copies = 7, Copies(0)
    for step in (10, 20):
        bounds = Placement.dealt(total, comm.size).bounds
        rows = np.arange(bounds[comm.rank], bounds[comm.rank + 1])[:, None] + 100.0 * step
        part = Snapshot({"x": rows}, {}, {})
        parts = comm.allgather(({}, part.lengths, part.numbers, {}))
        copies.take(comm, part.values, manifest_of(part, parts, ABOUT | {"step": step}))
    left = comm.Split(int(comm.rank == 0 and comm.size > 1), comm.rank)  # rank 0 leaves
    copy = copies.newest(left)
    if comm.rank == 0 and comm.size > 2:
        assert copy is None  # the parts of the others are not here
    elif comm.size > 1:
        assert copy is not None
        assert copy.manifest.step == 20
        pieces = {
            then: [("x", slice(0, n), slice(0, n))]
            for then, n in enumerate(copy.manifest.lengths["x"])
        }
        received = copy.read(left, pieces)
        together = np.concatenate([received[then][0] for then in sorted(received)])
        assert together[:, 0].tolist() == [2000 + i for i in range(total)]
    left.Free()


def test_copies_wait_for_fifty_times_the_time_of_the_fastest_one() -> None:
    copies = Copies(0)
    assert [copies.due(1, ms * 10**6, 0) for ms in (19, 1)] == [False, True]
    copies = Copies(0)
    assert [copies.due(1, ms * 10**6, 10**6) for ms in (19, 30, 1)] == [False, False, True]
    for _ in range(3):
        copies.take(MPI.COMM_SELF, {}, manifest_of(Snapshot({}, {}, {}), [({}, {}, {}, {})], ABOUT))
    assert 0 < copies.cost_ns <= copies.spent_ns / 3


def printed(lines: list[tuple[float, str]], text: str, since: int = 0) -> Callable[[], bool]:
    """Return a function that tells whether a line from `since` on begins with a text."""
    return lambda: any(line.startswith(text) for _, line in lines[since:])


def killed(
    folder: Path, name: str, options: str, victims: Sequence[Sequence[int]], at: str = "step"
) -> Run:
    """Train on 3 ranks, kill some after the others at an evaluation; return the result.

    at: beginning of the line of the evaluation.
    """
    line = f"-m bench.train {LINE} --out {folder} --name {name} {options}"
    launch = command(3, *line.split())
    launch[1:1] = ["--with-ft", "ulfm"]
    lines: list[tuple[float, str]] = []
    with subprocess.Popen(launch, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        threading.Thread(target=listen, args=(job.stdout, lines), daemon=True).start()
        try:
            for some in victims:
                wait_until(printed(lines, at, len(lines)), f"a step before the death of {some}")
                pids, known = rank_processes(job.pid), len(lines)
                for victim in some:
                    os.kill(pids[victim], signal.SIGKILL)
                wait_until(printed(lines, "rank", known), f"the recovery from the death of {some}")
            wait_until(lambda: job.poll() is not None, "the end of the run")
        finally:
            job.kill()
    assert job.returncode == 0
    assert not flaws(folder / f"{name}.h5")
    return read(folder / f"{name}.h5")


LINE = "--steps 600 --eval-every 100 --workers 5"
QUICK = "--task quadratic"
LATE = "--straggler probability=1,delay=5ms"
"""Delay of every step, so that a run lasts until its ranks are killed."""


def trained_here(folder: Path, name: str, options: str, **changes: Any) -> Run:
    """Train the same experiment on one rank, in this process; changes: of the experiment."""
    argv = f"{LINE} --out {folder} --name {name} {options}".split()
    experiment = replace(Experiment.resolve(read_options(argv), 1), **changes)
    assert train_here(MPI.COMM_SELF, experiment, [], quiet=True) == 0
    return read(folder / f"{name}.h5")


def test_a_run_ends_with_the_same_bits_after_two_deaths(tmp_path: Path) -> None:
    """Rank 1 is killed in the middle, then rank 0, which writes the files; the task is torch's."""
    local = "--algorithm local_sgd --save-model best.pt"
    result = killed(tmp_path, "a", f"{local} --on-death adopt --protect-every 40", ((1,), (0,)))
    calm = trained_here(tmp_path, "calm", local)
    assert result.attributes["parameters_sha256"] == calm.attributes["parameters_sha256"]
    assert result.row().steps == 600
    assert np.array_equal(result.evals["loss"], calm.evals["loss"])
    ours, theirs = (torch.load(tmp_path / f"{name}.best.pt") for name in ("a", "calm"))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert lost.read(result.path)["rank"].tolist() == [1, 0]


def test_a_rank_and_its_buddy_are_restored_from_disk(tmp_path: Path) -> None:
    local = f"{QUICK} --algorithm local_sgd"
    options = f"{local} {LATE} --on-death adopt --protect-every 600 --checkpoint-every 40"
    result = killed(tmp_path, "a", options, ((1, 2),), at="step    2")
    calm = trained_here(tmp_path, "calm", local)
    assert result.attributes["parameters_sha256"] == calm.attributes["parameters_sha256"]
    table = lost.read(result.path)
    assert sorted(table["rank"].tolist()) == [1, 2]
    assert set(table["back"].tolist()) <= set(range(160, 600, 40))


DYING = """
import os, sys
from bench.runtime.checkpoint.copies import Copies
from bench.runtime.recording import Recording
from bench.train import main

deaths = dict(word.split(":") for word in sys.argv.pop(1).split(","))
moment = deaths.get(os.environ["OMPI_COMM_WORLD_RANK"])
take, close, number = Copies.take, Recording.close, 0

def before(*arguments):
    global number
    number += 1
    if str(number) == moment:
        os.kill(os.getpid(), 9)
    take(*arguments)

def after(*arguments):
    close(*arguments)
    if moment == "end":
        os.kill(os.getpid(), 9)

Copies.take, Recording.close = before, after
sys.exit(main())
"""
"""Trains; each rank R of the argument R:N,... dies before its copy N, or after the end."""


@pytest.mark.parametrize(
    ("deaths", "ranks", "steps", "back"),
    [
        ("1:4,0:5", [1, 0], [120, 80], [80, 0]),  # rank 0 before the survivors have a copy
        ("0:end", [0], [600], [560]),  # after it has completed the file
    ],
)
def test_a_run_survives_deaths_at_the_worst_moments(
    tmp_path: Path, deaths: str, ranks: list[int], steps: list[int], back: list[int]
) -> None:
    local = f"{QUICK} --algorithm local_sgd"
    line = f"{LINE} --out {tmp_path} --name a {local} --on-death adopt --protect-every 40"
    launch = command(3, "-c", DYING, deaths, *line.split())
    launch[1:1] = ["--with-ft", "ulfm"]
    subprocess.run(launch, timeout=DEADLINE_S, check=True)
    result, calm = read(tmp_path / "a.h5"), trained_here(tmp_path, "calm", local)
    assert not flaws(result.path)
    assert result.attributes["parameters_sha256"] == calm.attributes["parameters_sha256"]
    assert np.array_equal(result.evals["loss"], calm.evals["loss"])
    table = lost.read(result.path)
    assert [table[x].tolist() for x in ("rank", "step", "back")] == [ranks, steps, back]


def test_a_run_without_the_workers_of_rank_0_has_the_bits_of_one_rank(tmp_path: Path) -> None:
    """One rank that hosts all workers, of which the same one leaves, ends with the same bits."""
    algorithm = f"{QUICK} --algorithm overlap_push_sum:delay=2"
    result = killed(tmp_path, "a", f"{algorithm} {LATE} --on-death leave:shards=dealt", ((0,),))
    events, (back,) = epochs.read(result.path), lost.read(result.path)["back"].tolist()
    assert events == [Event(back, 0, GONE)]
    assert result.attributes["participation"] == pytest.approx(1 - (600 - back) / 5 / 600)
    departures = tuple((event.worker, event.step) for event in events)
    again = trained_here(tmp_path, "again", algorithm, churn=Leave(DEALT), departures=departures)
    assert again.attributes["parameters_sha256"] == result.attributes["parameters_sha256"]
    with pytest.raises(UserError, match="workers left the run with their ranks"):
        read_options(["--repeat", str(result.path)])


STARTING = """
import os
from bench.session import launch, starting
starting.GRACE_S = 0.5
if os.environ["OMPI_COMM_WORLD_RANK"] == "1":
    os.kill(os.getpid(), 9)
launch.world()
"""


def test_a_death_before_mpi_has_started_ends_the_launch() -> None:
    launch = command(3, "-c", STARTING)
    launch[1:1] = ["--with-ft", "ulfm"]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode
    assert own_lines(done.stderr) == [
        "error: a rank of this host has died during MPI_Init: start the run again"
    ]


FAILING = """
import sys
import numpy as np
from algorithms.wire.waiting import until
from bench.session import launch

def program(comm):
    assert comm.rank != 1, "broken on purpose"
    until(comm.Irecv(np.zeros(1), 1).Test)

sys.exit(launch.run(program, lambda reason: None))
"""


def test_an_exception_ends_a_launch_that_tolerates_deaths() -> None:
    """After an MPI_Abort of rank 1, three others would wait for its message without end."""
    launch = command(4, "-c", FAILING)
    launch[1:1] = ["--with-ft", "ulfm"]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode
    assert any("AssertionError: broken on purpose" in x for x in own_lines(done.stderr))


def test_without_fault_tolerance_on_death_is_one_line(tmp_path: Path) -> None:
    done = train(2, tmp_path, "--on-death", "adopt")
    (line,) = own_lines(done.stderr)
    assert done.returncode == 2
    assert line.startswith("error: --on-death: this launch ends when a rank dies")
    assert not list(tmp_path.iterdir())
