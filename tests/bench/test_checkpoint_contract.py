"""Contract of every algorithm: training resumes from a checkpoint with the same numbers."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
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
from bench.common.spec import UserError
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
    """Return the path of a result, the same on all ranks of the communicator."""
    folder = comm.bcast(tempfile.mkdtemp(prefix="checkpoint-") if comm.rank == 0 else None)
    yield Path(folder) / "run.h5"
    comm.Barrier()
    if comm.rank == 0:
        shutil.rmtree(folder)


def walked(original: Training, algorithm: Algorithm, state: Any, steps: int) -> None:
    for _ in range(steps):
        algorithm.step(original.exchange, original.workers, state)


def ended(original: Training, algorithm: Algorithm, state: Any) -> Any:
    """Return the parameters after the remaining steps, (V, d)."""
    walked(original, algorithm, state, AFTER)
    algorithm.finish(original.exchange, original.workers, state)
    x = original.workers.x.copy()
    original.exchange.close()
    return x


def save_training(comm: MPI.Intracomm, result: Path, original: Training, state: Any) -> Path:
    entries = {"step": BEFORE, "elapsed_ns": 1, "workers": original.workers.total, "hash": "0"}
    entries |= {"params": {}, "run_uuid": "1"}
    return save(comm, result, roots(original.exchange, original.workers, state), {}, entries)


def stopped(
    comm: MPI.Intracomm, result: Path, original: Training, algorithm: Algorithm
) -> tuple[Path, Any]:
    """Return the checkpoint of a training after BEFORE steps, and its own final parameters."""
    state = algorithm.init(original.exchange, original.workers)
    walked(original, algorithm, state, BEFORE)
    checkpoint = save_training(comm, result, original, state)
    return checkpoint, ended(original, algorithm, state)


def resumed(comm: MPI.Intracomm, checkpoint: Path, original: Training, algorithm: Algorithm) -> Any:
    """Return the parameters of a training that resumes from a checkpoint, (V, d)."""
    return ended(original, algorithm, restored(comm, checkpoint, original, algorithm))


def restored(comm: MPI.Intracomm, checkpoint: Path, fresh: Training, algorithm: Algorithm) -> Any:
    """Restore a training from a checkpoint; return the State of its algorithm."""
    state = algorithm.init(fresh.exchange, fresh.workers)
    manifest = read_checked(comm, checkpoint)
    restore_training(comm, checkpoint, manifest, fresh.exchange, fresh.workers, state)
    return state


@pytest.mark.mpi
@on(3)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_restored_training_equals_the_original(
    comm: MPI.Intracomm, result: Path, variant: str
) -> None:
    algorithm, total, alone = VARIANTS[variant], 7, MPI.COMM_SELF
    x = Training(comm, total).run(algorithm, BEFORE + AFTER)
    whole = sha(all_rows(comm, x))
    checkpoint, final = stopped(comm, result, Training(comm, total), algorithm)
    everywhere(comm, sha(final) == sha(x), "a checkpoint changes what it keeps")
    again = resumed(comm, checkpoint, Training(comm, total), algorithm)
    everywhere(comm, sha(again) == sha(x), "on the same ranks")
    if comm.rank == 0:
        again = resumed(alone, checkpoint, Training(alone, total), algorithm)
        own_result = result.with_name("alone.h5")
        checkpoint, _ = stopped(alone, own_result, Training(alone, total), algorithm)
    everywhere(comm, comm.rank > 0 or sha(again) == whole, "on one rank")
    again = resumed(comm, comm.bcast(checkpoint), Training(comm, total), algorithm)
    everywhere(comm, sha(all_rows(comm, again)) == whole, "from one rank")


@pytest.mark.mpi
@on(2)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizer_is_restored(comm: MPI.Intracomm, result: Path, name: str) -> None:
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
    def original() -> Training:
        return Training(comm, 7, trouble=Trouble(drop=0.4, seed=2))

    checkpoint, x = stopped(comm, result, original(), algorithm)
    everywhere(comm, sha(resumed(comm, checkpoint, original(), algorithm)) == sha(x))


@pytest.mark.mpi
@on(2, 4)
@pytest.mark.parametrize("name", ASYNCHRONOUS)
def test_shared_windows_are_restored(comm: MPI.Intracomm, result: Path, name: str) -> None:
    algorithm: Algorithm = ALGORITHMS[name]()
    original = Training(comm, 7)
    state = algorithm.init(original.exchange, original.workers)
    walked(original, algorithm, state, BEFORE)
    comm.Barrier()  # as at the end of a segment: nobody changes another's rows any more
    checkpoint = save_training(comm, result, original, state)
    before = all_rows(comm, original.workers.x)
    algorithm.finish(original.exchange, original.workers, state)
    whole = all_rows(comm, original.workers.x)
    original.exchange.close()
    for subset in (comm, MPI.COMM_SELF):
        fresh = Training(subset, 7)
        state = restored(subset, checkpoint, fresh, algorithm)
        x = all_rows(subset, fresh.workers.x)
        everywhere(comm, (x == before).all() and fresh.workers.drawn == BEFORE)
        algorithm.finish(fresh.exchange, fresh.workers, state)
        # The order of arrival is the order of addition, so the sums differ in rounding.
        apart = np.abs(all_rows(subset, fresh.workers.x) - whole).max()
        everywhere(comm, apart < 1e-12, apart)
        fresh.exchange.close()


@pytest.mark.mpi
@on(1, 3)
def test_losses_and_drawn_minibatches_are_restored(comm: MPI.Intracomm, result: Path) -> None:
    original, algorithm = Training(comm, 7), LocalSGD()
    state = algorithm.init(original.exchange, original.workers)
    original.workers.drawn = 10 + comm.rank
    original.workers.losses[:] = original.workers.ids
    checkpoint = save_training(comm, result, original, state)
    original.exchange.close()
    for subset in (comm, MPI.COMM_SELF):
        fresh = Training(subset, 7)
        restored(subset, checkpoint, fresh, algorithm)
        drawn, losses = fresh.workers.drawn, fresh.workers.losses.tolist()
        everywhere(comm, (drawn, losses) == (10 + subset.rank, list(fresh.workers.ids)), drawn)
        fresh.exchange.close()


@pytest.mark.mpi
@on(1, 3)
def test_damage_of_any_file_is_reported_on_every_rank(comm: MPI.Intracomm, result: Path) -> None:
    original, algorithm = Training(comm, 7), LocalSGD()
    checkpoint = save_training(
        comm, result, original, algorithm.init(original.exchange, original.workers)
    )
    original.exchange.close()
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
    original, algorithm = Training(comm, 7), LocalSGD()
    checkpoint = save_training(
        comm, result, original, algorithm.init(original.exchange, original.workers)
    )
    original.exchange.close()
    entries = json.loads((checkpoint / store.MANIFEST).read_text().partition("\n")[2])
    text = json.dumps(entries | {"version": 99})
    digest = hashlib.sha256(text.encode()).hexdigest()
    (checkpoint / store.MANIFEST).write_text(f"{digest}\n{text}\n")
    with pytest.raises(store.DamagedError, match="has version 99, this suite reads version 1"):
        read_checked(comm, checkpoint)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("entry", "value", "reason"),
    [
        ("lengths", {}, "'x' is missing"),
        ("numbers", {}, "'algorithm/k' is missing"),
        ("numbers", {"algorithm/k": ["one"]}, "invalid literal"),
        ("landed", {"algorithm/none": ["x"]}, "'algorithm/none' is missing"),
    ],
)
@on(1)
def test_a_checkpoint_of_another_state_is_a_mistake(
    comm: MPI.Intracomm, result: Path, entry: str, value: Any, reason: str
) -> None:
    original, algorithm = Training(comm, 7), LocalSGD()
    state = algorithm.init(original.exchange, original.workers)
    checkpoint = save_training(comm, result, original, state)
    manifest = replace(store.read_manifest(checkpoint), **{entry: value})
    with pytest.raises(UserError, match=f"does not hold the state of this run .{reason}"):
        restore_training(comm, checkpoint, manifest, original.exchange, original.workers, state)
    original.exchange.close()


@pytest.mark.mpi
@on(1, 4)
def test_arrays_of_another_shape_are_a_mistake(comm: MPI.Intracomm, result: Path) -> None:
    original, algorithm = Training(comm, 7), LocalSGD()
    state = algorithm.init(original.exchange, original.workers)
    checkpoint = save_training(comm, result, original, state)
    manifest = store.read_manifest(checkpoint)
    if comm.rank == 0:
        with h5py.File(checkpoint / store.rank_file(0), "r+") as file:
            del file["x"]
            file["x"] = np.zeros((7, 2))
    comm.Barrier()
    with pytest.raises(UserError, match=r"x is \(\d, 2\) float64, the run has"):
        restore_training(comm, checkpoint, manifest, original.exchange, original.workers, state)
    original.exchange.close()


@pytest.mark.mpi
@on(1, 4)
def test_scratch_arrays_are_not_saved(comm: MPI.Intracomm, result: Path) -> None:
    original, algorithm = Training(comm, 7), ChocoSGD()
    state = algorithm.init(original.exchange, original.workers)
    manifest = store.read_manifest(save_training(comm, result, original, state))
    original.exchange.close()
    names = {x.partition("/")[2] for x in manifest.lengths if x.startswith("algorithm")}
    everywhere(comm, names == {"h", "s", "came"} and np.sum(manifest.lengths["x"]) == 7, names)
