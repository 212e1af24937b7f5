"""What holds for every algorithm: it goes on from a checkpoint as if it had never stopped."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from algorithms import ALGORITHMS
from algorithms.choco_sgd import ChocoSGD
from algorithms.exchange.trouble import Trouble
from algorithms.local_sgd import LocalSGD
from algorithms.protocol import Algorithm
from algorithms.push_sum import PushSum
from algorithms.relay_sgd import RelaySGD
from algorithms.robust_push_sum import RobustPushSum
from bench.optimizers import OPTIMIZERS
from bench.runtime.checkpoint import store
from bench.runtime.checkpoint.checkpoints import restore_training, roots
from bench.runtime.checkpoint.saving import read_checked, save
from tests.algorithms.test_contract import VARIANTS
from tests.helpers import Training, all_rows, everywhere, on, sha

BEFORE, AFTER = 5, 6
ASYNCHRONOUS = [n for n, x in ALGORITHMS.items() if x.needs.asynchronous]


@pytest.fixture
def result(comm: MPI.Intracomm) -> Iterator[Path]:
    """Where a result would be; the same on the ranks of the communicator."""
    folder = comm.bcast(tempfile.mkdtemp(prefix="checkpoint-") if comm.rank == 0 else None)
    yield Path(folder) / "run.h5"
    comm.Barrier()
    if comm.rank == 0:
        shutil.rmtree(folder)


def walked(made: Training, algorithm: Algorithm, state: Any, steps: int) -> None:
    for _ in range(steps):
        algorithm.step(made.exchange, made.workers, state)


def ended(made: Training, algorithm: Algorithm, state: Any) -> Any:
    """The (V, d) parameters after the steps that are left."""
    walked(made, algorithm, state, AFTER)
    algorithm.finish(made.exchange, made.workers, state)
    x = made.workers.x.copy()
    made.exchange.close()
    return x


def kept(comm: MPI.Intracomm, result: Path, made: Training, state: Any) -> Path:
    said = {"step": BEFORE, "elapsed_ns": 1, "workers": made.workers.total, "hash": "0"}
    said |= {"params": {}, "run_uuid": "1"}
    return save(comm, result, roots(made.exchange, made.workers, state), {}, said)


def stopped(
    comm: MPI.Intracomm, result: Path, made: Training, algorithm: Algorithm
) -> tuple[Path, Any]:
    """The checkpoint of a training after BEFORE steps, and where it goes itself from there."""
    state = algorithm.init(made.exchange, made.workers)
    walked(made, algorithm, state, BEFORE)
    checkpoint = kept(comm, result, made, state)
    return checkpoint, ended(made, algorithm, state)


def resumed(comm: MPI.Intracomm, checkpoint: Path, made: Training, algorithm: Algorithm) -> Any:
    """The (V, d) parameters of a training that goes on from a checkpoint."""
    state = algorithm.init(made.exchange, made.workers)
    about = read_checked(comm, checkpoint)
    restore_training(comm, checkpoint, about, made.exchange, made.workers, state)
    return ended(made, algorithm, state)


@pytest.mark.mpi
@on(3)
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_goes_on_as_if_nothing_had_happened(
    comm: MPI.Intracomm, result: Path, variant: str
) -> None:
    algorithm, total, alone = VARIANTS[variant], 7, MPI.COMM_SELF
    x = Training(comm, total).run(algorithm, BEFORE + AFTER)
    whole = sha(all_rows(comm, x))
    checkpoint, there = stopped(comm, result, Training(comm, total), algorithm)
    everywhere(comm, sha(there) == sha(x), "a checkpoint changes what it keeps")
    again = resumed(comm, checkpoint, Training(comm, total), algorithm)
    everywhere(comm, sha(again) == sha(x), "on the same ranks")
    again = resumed(alone, checkpoint, Training(alone, total), algorithm)
    everywhere(comm, sha(again) == whole, "on one rank")
    mine = result.with_name(f"alone{comm.rank}.h5")
    checkpoint, _ = stopped(alone, mine, Training(alone, total), algorithm)
    again = resumed(comm, comm.bcast(checkpoint), Training(comm, total), algorithm)
    everywhere(comm, sha(all_rows(comm, again)) == whole, "from one rank")


@pytest.mark.mpi
@on(2)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizer_goes_on_as_well(comm: MPI.Intracomm, result: Path, name: str) -> None:
    algorithm, total = LocalSGD(period=4), 7
    checkpoint, x = stopped(
        comm, result, Training(comm, total, optimizer=OPTIMIZERS[name]()), algorithm
    )
    again = resumed(
        comm, checkpoint, Training(comm, total, optimizer=OPTIMIZERS[name]()), algorithm
    )
    everywhere(comm, sha(again) == sha(x))
    alone = resumed(
        MPI.COMM_SELF,
        checkpoint,
        Training(MPI.COMM_SELF, total, optimizer=OPTIMIZERS[name]()),
        algorithm,
    )
    everywhere(comm, sha(alone) == sha(all_rows(comm, x)))


@pytest.mark.mpi
@on(4)
@pytest.mark.parametrize(
    "algorithm", [RobustPushSum(), RelaySGD(), PushSum()], ids=["robust", "relay", "plain"]
)
def test_the_same_messages_are_lost(
    comm: MPI.Intracomm, result: Path, algorithm: Algorithm
) -> None:
    def made() -> Training:
        return Training(comm, 7, trouble=Trouble(drop=0.4, seed=2))

    checkpoint, x = stopped(comm, result, made(), algorithm)
    everywhere(comm, sha(resumed(comm, checkpoint, made(), algorithm)) == sha(x))


@pytest.mark.mpi
@on(2, 4)
@pytest.mark.parametrize("name", ASYNCHRONOUS)
def test_what_all_change_is_kept(comm: MPI.Intracomm, result: Path, name: str) -> None:
    algorithm: Algorithm = ALGORITHMS[name]()
    made = Training(comm, 7)
    state = algorithm.init(made.exchange, made.workers)
    walked(made, algorithm, state, BEFORE)
    comm.Barrier()  # as at the end of a segment: nobody changes another's rows any more
    checkpoint = kept(comm, result, made, state)
    before = all_rows(comm, made.workers.x)
    algorithm.finish(made.exchange, made.workers, state)
    whole = all_rows(comm, made.workers.x)
    made.exchange.close()
    for there in (comm, MPI.COMM_SELF):
        fresh = Training(there, 7)
        state = algorithm.init(fresh.exchange, fresh.workers)
        restore_training(
            there, checkpoint, read_checked(there, checkpoint), fresh.exchange, fresh.workers, state
        )
        x = all_rows(there, fresh.workers.x)
        everywhere(comm, (x == before).all() and fresh.workers.drawn == BEFORE)
        algorithm.finish(fresh.exchange, fresh.workers, state)
        # Whoever comes first is added first, so the sums differ in rounding.
        apart = np.abs(all_rows(there, fresh.workers.x) - whole).max()
        everywhere(comm, apart < 1e-12, apart)
        fresh.exchange.close()


@pytest.mark.mpi
@on(1, 3)
def test_losses_and_what_each_rank_has_drawn_are_kept(comm: MPI.Intracomm, result: Path) -> None:
    made, algorithm = Training(comm, 7), LocalSGD()
    state = algorithm.init(made.exchange, made.workers)
    made.workers.drawn = 10 + comm.rank
    made.workers.losses[:] = made.workers.ids
    checkpoint = kept(comm, result, made, state)
    made.exchange.close()
    for there in (comm, MPI.COMM_SELF):
        fresh = Training(there, 7)
        state = algorithm.init(fresh.exchange, fresh.workers)
        restore_training(
            there, checkpoint, read_checked(there, checkpoint), fresh.exchange, fresh.workers, state
        )
        drawn, losses = fresh.workers.drawn, fresh.workers.losses.tolist()
        everywhere(comm, (drawn, losses) == (10 + there.rank, list(fresh.workers.ids)), drawn)
        fresh.exchange.close()


@pytest.mark.mpi
@on(1, 3)
def test_damage_of_any_file_is_told_on_every_rank(comm: MPI.Intracomm, result: Path) -> None:
    made, algorithm = Training(comm, 7), LocalSGD()
    checkpoint = kept(comm, result, made, algorithm.init(made.exchange, made.workers))
    made.exchange.close()
    everywhere(comm, [x.name for x in checkpoint.parent.iterdir()] == [f"{BEFORE:09d}"])
    for name in [*map(store.rank_file, range(comm.size)), store.MANIFEST]:
        path = checkpoint / name
        intact = path.read_bytes()
        comm.Barrier()
        if comm.rank == 0:
            path.write_bytes(intact[:-5] + b"other")
        comm.Barrier()
        with pytest.raises(store.DamagedError, match=name):
            read_checked(comm, checkpoint)
        if comm.rank == 0:
            path.write_bytes(intact)
        comm.Barrier()
    everywhere(comm, read_checked(comm, checkpoint).step == BEFORE)


@pytest.mark.mpi
@on(1)
def test_another_version_is_refused(comm: MPI.Intracomm, result: Path) -> None:
    made, algorithm = Training(comm, 7), LocalSGD()
    checkpoint = kept(comm, result, made, algorithm.init(made.exchange, made.workers))
    made.exchange.close()
    said = json.loads((checkpoint / store.MANIFEST).read_text().partition("\n")[2])
    text = json.dumps(said | {"version": 99})
    digest = hashlib.sha256(text.encode()).hexdigest()
    (checkpoint / store.MANIFEST).write_text(f"{digest}\n{text}\n")
    with pytest.raises(store.DamagedError, match="has version 99, this suite reads version 1"):
        read_checked(comm, checkpoint)


@pytest.mark.mpi
@on(1, 4)
def test_what_is_written_anew_is_not_kept(comm: MPI.Intracomm, result: Path) -> None:
    made, algorithm = Training(comm, 7), ChocoSGD()
    state = algorithm.init(made.exchange, made.workers)
    about = store.read_manifest(kept(comm, result, made, state))
    made.exchange.close()
    names = {x.partition("/")[2] for x in about.lengths if x.startswith("algorithm")}
    everywhere(comm, names == {"h", "s", "came"} and np.sum(about.lengths["x"]) == 7, names)
