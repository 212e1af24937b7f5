"""Rows in tensors: `--device`, the same bits on torch's CPU as with arrays of NumPy, bfloat16."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from mpi4py import MPI

from algorithms import ALGORITHMS
from algorithms.exchange.mpi import MPIExchange
from algorithms.protocol import Ready, Workers, consecutive_layers
from bench.common.spec import UserError, parse_spec
from bench.device.devices import Found, find, shared
from bench.device.exchange import TorchExchange
from bench.device.rows import TorchRows
from bench.optimizers import OPTIMIZERS, blocks
from bench.runtime import setup, start
from bench.runtime.checkpoint.checkpoints import roots
from bench.runtime.checkpoint.state import read, state, write
from bench.runtime.evaluation import parameters_sha256
from bench.runtime.experiment import Experiment
from bench.runtime.options import TENSORS, TrainOptions
from tests.helpers import everywhere, on
from tests.launching import GPU, NO_GPU

SYNCHRONOUS = [name for name, cls in ALGORITHMS.items() if not cls.needs.asynchronous]
STEPS, D = 6, 23


class Trained:
    """Workers of the digits on a device after some steps; collective."""

    def __init__(self, comm: MPI.Intracomm, total: int, steps: int = STEPS, **options: Any) -> None:
        table: dict[str, Any] = {"task": "digits:hidden=4", "batch": 4} | options
        table |= {"partition": "shards:per_worker=2"}
        experiment = Experiment.resolve(TrainOptions(workers=total, seed=3, **table), comm.size)
        experiment.check()
        data, self.comm = setup.material(comm, experiment), comm
        on_host = experiment.options.device == "cpu"
        device = None if on_host else find(comm, experiment.options.device)
        self.exchange, self.workers = start.workers(comm, experiment, data, device)
        self.state = start.initial_state(experiment, self.exchange, self.workers)
        for _ in range(steps):
            experiment.algorithm.step(self.exchange, self.workers, self.state)
        if steps:
            experiment.algorithm.finish(self.exchange, self.workers, self.state)

    def end(self) -> np.ndarray:
        """Return the parameters of this rank's workers, (V, d)."""
        self.exchange.close()
        return np.asarray(self.workers.x)

    def digest(self) -> str:
        """Return the SHA-256 of all parameters, on every rank; collective."""
        return str(self.comm.bcast(parameters_sha256(self.comm, self.end())))


class Drifting(Workers):
    """Workers with gradients that depend on x, by operators on rows of either kind."""

    def __init__(self, exchange: MPIExchange) -> None:
        self.ids, self.total = exchange.ids, exchange.total
        self.x, self.g = exchange.rows(D), exchange.rows(D)
        self.x[:] = np.ones(D, np.float32)
        self.samples = np.arange(1, self.total + 1)
        self.layers = consecutive_layers([(5, 4), (3,)])
        self._steps = 0

    def gradient(self, ready: Ready | None = None) -> np.ndarray:
        """Set g to x / 7 and random numbers, and return losses (V,)."""
        self.g[:] = self.x
        self.g /= 7
        draws = [np.random.default_rng((self._steps, i)).standard_normal(D) for i in self.ids]
        self.g += np.array(draws, np.float32)
        self._steps += 1
        if ready:
            for layer in reversed(self.layers):
                ready(layer.start, layer.stop)
        return np.array([np.random.default_rng((self._steps, i)).random() for i in self.ids])

    def update(self) -> None:
        """Take a step of SGD."""
        self.g *= 0.1
        self.x -= self.g
        self.g /= 0.1


@pytest.mark.mpi
def test_rows_in_tensors_step_to_the_same_bits(comm: MPI.Intracomm) -> None:
    for name in SYNCHRONOUS:
        options = "start_step=2,min_compression=0" if name == "power_sgd" else ""
        algorithm = parse_spec(f"{name}:{options}".rstrip(":"), ALGORITHMS, "algorithm")
        ends = []
        for make in (MPIExchange, partial(TorchExchange, device=torch.device("cpu"))):
            exchange = make(comm, 5, seed=1, dtype="float32")
            workers: Any = Drifting(exchange)
            own = algorithm.init(exchange, workers)
            for _ in range(9):
                algorithm.step(exchange, workers, own)
            algorithm.finish(exchange, workers, own)
            ends.append(np.array(workers.x))
            exchange.close()
        everywhere(comm, np.array_equal(ends[0], ends[1]) and np.ptp(ends[0]), name)


@pytest.mark.mpi
@on(3)
def test_tensors_train_to_the_bits_of_arrays(comm: MPI.Intracomm) -> None:
    options: dict[str, Any] = {"optimizer": "adam", "accumulate": 2}
    options |= {"algorithm": "overlapped_allreduce_sgd"}
    arrays, tensors = (Trained(comm, 5, device=x, **options).digest() for x in ("cpu", TENSORS))
    everywhere(comm, arrays == tensors)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_tensors_of_a_gpu_step_to_the_parameters_of_arrays(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"optimizer": name, "accumulate": 2, "clip": 0.5}
    arrays, same = (Trained(MPI.COMM_SELF, 1, device=x, **options).end() for x in ("cpu", TENSORS))
    np.testing.assert_array_equal(same, arrays)
    monkeypatch.setattr(blocks, "view", lambda x: x)  # as on a GPU
    near = Trained(MPI.COMM_SELF, 1, device=TENSORS, **options).end()
    # float32, 6 steps of at most 0.1: roots of torch are rounded otherwise, norms added otherwise
    np.testing.assert_allclose(near, arrays, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_checkpoints_hold_rows_and_optimizers_in_tensors(dtype: str) -> None:
    options = {"algorithm": "overlap_push_sum", "optimizer": "adam", "device": TENSORS}
    trained, other = (
        Trained(MPI.COMM_SELF, 3, steps, dtype=dtype, **options) for steps in (STEPS, 0)
    )
    before, after = (state(roots(x.exchange, x.workers, x.state)) for x in (trained, other))
    assert before.arrays.keys() == after.arrays.keys()
    for path, array in before.arrays.items():
        values = read(array)
        assert values.dtype.kind in "fi", path
        write(after.arrays[path], values)
        np.testing.assert_array_equal(read(after.arrays[path]), values, path)
    np.testing.assert_array_equal(other.end(), trained.end())


def test_bfloat16_computes_in_bfloat16_and_is_near_float32() -> None:
    exact = Trained(MPI.COMM_SELF, 2, device=TENSORS).end()
    rounded = Trained(MPI.COMM_SELF, 2, device=TENSORS, dtype="bfloat16").end()
    assert rounded.dtype == np.float32
    assert not (rounded.view(np.uint32) & 0xFFFF).any()  # the lower half of each float32
    # 6 steps of at most 0.05, and parameters below 1: each rounded by 2^-9 of its size
    np.testing.assert_allclose(rounded, exact, rtol=0, atol=6 * 2**-8)


def test_the_device_is_part_of_the_case_unless_it_is_the_default() -> None:
    def case(**options: Any) -> Experiment:
        return Experiment.resolve(TrainOptions(workers=2, **options), 1)

    plain = case()
    assert "device" not in plain.params
    assert case(device="cpu").hash == plain.hash
    assert case(device=TENSORS).params["device"] == TENSORS
    assert len({plain.hash, case(device=TENSORS).hash, case(device="cuda").hash}) == 3


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"task": "quadratic"}, "quadratic computes with NumPy on the host: tasks of torch are"),
        ({"task": "digits:norm=batch"}, "computes with NumPy on the host"),
        ({"pipeline": "1f1b:stages=1"}, "--pipeline moves rows as arrays of NumPy"),
        ({"staleness": "pipedream:stages=2"}, "--staleness moves rows as arrays"),
        ({"algorithm": "ad_psgd", "clock": "model"}, "ad_psgd under --clock model steps worker"),
        ({"device": "cpu", "dtype": "bfloat16"}, "has no such type: add --device cpu:rows=torch"),
        ({"on_death": "adopt"}, "--on-death moves rows as arrays"),
        ({"churn": "mtbf=100steps,rejoin=50steps"}, "--churn moves rows as arrays"),
        ({"device": "cuda:0"}, "unknown device 'cuda:0'.*; known: cpu, cpu:rows=torch, cuda"),
    ],
)
def test_parts_that_cannot_compute_in_tensors_are_refused(options: Any, line: str) -> None:
    with pytest.raises(UserError, match=line):
        Experiment.resolve(TrainOptions(**{"device": TENSORS, "workers": 2} | options), 1).check()


@pytest.mark.skipif(torch.cuda.is_available(), reason=GPU)
def test_a_machine_without_gpu_is_named() -> None:
    with pytest.raises(UserError, match=r"--device cuda: torch .* finds no GPU on .*: install"):
        find(MPI.COMM_SELF, "cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_GPU)
@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_a_gpu_trains_to_the_parameters_of_the_cpu(name: str) -> None:
    host, device = (
        Trained(MPI.COMM_SELF, 3, algorithm=name, device=x).end() for x in ("cpu", "cuda")
    )
    np.testing.assert_allclose(device, host, rtol=0, atol=1e-4)  # float32, 6 steps


def test_ranks_that_share_gpus_are_noted() -> None:
    assert not shared([("a", "1"), ("a", "2"), ("b", "1")])
    assert shared([("a", "1"), ("a", "1"), ("b", "1")]) == [
        "2 ranks share 1 GPU of a: times are those of a shared device"
    ]
    gpus = Found(torch.device("cpu"), "cuda", ["H200", "H200"])
    places = [{"instructions": "AVX2"}, {"instructions": "AVX2"}]
    gpus.recorded(places)
    assert str(gpus) == "cuda: H200"
    assert places[1] == {"instructions": "AVX2 and H200"}


def test_images_of_views_are_views_of_one_image() -> None:
    x = TorchRows(torch.arange(12.0).reshape(3, 4))
    whole, part = x.down(), x[:, 1:3]
    part.image[:] = -1
    part.up()
    np.testing.assert_array_equal(whole[:, 1:3], -1)
    np.testing.assert_array_equal(np.asarray(x), whole)
