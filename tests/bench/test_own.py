"""Classes of the user's own in the place of registered names: specs, mistakes, results."""

import json
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mpi4py import MPI

from algorithms import ALGORITHMS
from bench.common import own
from bench.common.labels import labels
from bench.common.spec import UserError, format_spec, own_files, parse_spec
from bench.data.opening import digest
from bench.loop import attach
from bench.results.reader import read
from bench.results.validation import flaws
from bench.runtime import identity, repeat
from bench.runtime.experiment import Experiment
from bench.runtime.options import TrainOptions
from bench.tasks import TASKS
from bench.train import train
from partitions import PARTITIONS
from slurm.case import TRAIN, Case, Geometry
from slurm.plan import CHECKS

GOSSIP = '''
"""Algorithm, topology and partition of one's own."""
from dataclasses import dataclass, field

import numpy as np

from algorithms.protocol import Algorithm
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.protocol import links
from algorithms.topologies.ring import Ring
from helper import ALPHA
from partitions.placing import shards_of
from partitions.protocol import Partition


@dataclass
class State:
    mixed: np.ndarray


@dataclass(frozen=True)
class MyGossip(Algorithm):
    """Average with the neighbours."""

    alpha: float = field(default=ALPHA, metadata={"help": "own weight"})
    topology: Ring = field(default=Ring(), metadata={"help": "graph", "registry": TOPOLOGIES})

    def __post_init__(self):
        if not 0 <= self.alpha < 1:
            raise ValueError(f"alpha must be in [0, 1), got {self.alpha}")

    def init(self, exchange, workers):
        return State(np.zeros_like(workers.x))

    def step(self, exchange, workers, state):
        P = exchange.mixing(self.topology, "uniform", k=0)
        workers.gradient()
        workers.update()
        exchange.mix(workers.x, P, state.mixed)
        workers.x *= self.alpha
        state.mixed *= 1 - self.alpha
        workers.x += state.mixed


@dataclass(frozen=True)
class Shift:
    """One link to a worker some places ahead."""

    by: int = field(default=1, metadata={"help": "distance"})

    def period(self, total):
        return 1

    def size(self, total):
        return total

    def links(self, total, k, rng):
        i = np.arange(total)
        return links(total, i, (i + self.by) % total)


@dataclass(frozen=True)
class Parity(Partition):
    """Classes dealt in turn."""

    def split(self, samples, parts, rng):
        return shards_of(samples.labels % parts, parts)


class NoData(Algorithm):
    def init(self, exchange, workers): ...

    def step(self, exchange, workers, state): ...


@dataclass
class Soft(Algorithm):
    def init(self, exchange, workers): ...

    def step(self, exchange, workers, state): ...


@dataclass(frozen=True)
class NoStep(Algorithm):
    def init(self, exchange, workers): ...


@dataclass(frozen=True)
class NoLinks:
    def period(self, total): ...
'''
SPEC = "mine.py:MyGossip:alpha=0.25,topology=mine.py:Shift:by=2"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with mine.py and forget what was imported from it."""
    (tmp_path / "mine.py").write_text(GOSSIP)
    (tmp_path / "helper.py").write_text("ALPHA = 0.5\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("mine.py", "helper", "bad.py"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mine.py")


def test_specs_of_own_classes_are_read_and_written() -> None:
    algorithm: Any = parse_spec(SPEC, ALGORITHMS, "algorithm")
    assert algorithm.alpha == 0.25
    assert algorithm.topology.by == 2
    assert format_spec(algorithm, ALGORITHMS) == SPEC
    assert own_files(algorithm, "algorithm") == {
        "algorithm": "mine.py",
        "algorithm topology": "mine.py",
    }
    registered: Any = parse_spec("d_psgd:topology=mine.py:Shift", ALGORITHMS, "algorithm")
    assert own_files(registered, "algorithm") == {"algorithm topology": "mine.py"}
    assert own_files(parse_spec("d_psgd", ALGORITHMS, "algorithm"), "algorithm") == {}


@pytest.mark.parametrize(
    ("text", "head", "short", "options"),
    [
        ("push_sum", "push_sum", "push_sum", ""),
        ("push_sum:topology=ring", "push_sum", "push_sum", "topology=ring"),
        ("lib/mine.py:A:b=1,c=2", "lib/mine.py:A", "A", "b=1,c=2"),
        ("lib/run.py", "lib/run.py", "run.py", ""),
    ],
)
def test_parts_of_a_spec(text: str, head: str, short: str, options: str) -> None:
    assert own.short(text) == short
    assert own.options_of(text) == options
    assert own.head(text) == head


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mine.py", "mine.py needs a class, as mine.py:NAME; it defines State, MyGossip, Shift"),
        ("mine.py:MyGosip", "has no class 'MyGosip' (did you mean MyGossip?)"),
        ("mine.py:MyGossip:alpha=2", "mine.py:MyGossip: alpha must be in [0, 1), got 2.0"),
        ("mine.py:MyGossip:beta=1", "unknown option of algorithm mine.py:MyGossip 'beta'"),
        ("mine.py:NoData", "NoData is not a dataclass: write @dataclass(frozen=True) above it"),
        ("mine.py:Soft", "Soft can change: write @dataclass(frozen=True) above it"),
        ("mine.py:NoStep", "mine.py:NoStep lacks step"),
        ("mine.py:Parity", "does not inherit from Algorithm: write class Parity(Algorithm)"),
        ("mine.py:MyGossip:topology=mine.py:NoLinks", "NoLinks lacks links, size"),
        ("none.py:X", "none.py is not a file"),
        ("bad.py:X", "bad.py cannot be imported: line 2, ZeroDivisionError: division by zero"),
        ("syntax.py:X", "syntax.py cannot be imported: line 1, SyntaxError"),
    ],
)
def test_mistakes_are_one_line(text: str, words: str) -> None:
    Path("bad.py").write_text("x = 1\ny = x / 0\n")
    Path("syntax.py").write_text("def f(:\n")
    with pytest.raises(UserError) as error:
        parse_spec(text, ALGORITHMS, "algorithm")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_an_exception_of_own_code_has_the_frames_of_the_user() -> None:
    Path("raising.py").write_text(
        "from dataclasses import dataclass\n"
        "from bench.tasks.own import TorchTask\n"
        "@dataclass(frozen=True)\n"
        "class Gone(TorchTask):\n"
        "    def model(self):\n"
        "        return None\n"
        "    def samples(self):\n"
        "        return {}['gone']\n"
    )
    task = parse_spec("raising.py:Gone", TASKS, "task")
    with pytest.raises(KeyError) as error:
        task.load("float32")
    shown = own.traceback_of(error.value)
    assert 'raising.py", line 8, in samples' in shown
    assert "own_problem.py" not in shown


def experiment(**options: Any) -> Experiment:
    chosen: dict[str, Any] = {"steps": 12, "workers": 3, "eval_every": 6, "out": "runs"} | options
    return Experiment.resolve(TrainOptions(**chosen), 1)


def test_the_hash_is_that_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    first = experiment(algorithm=SPEC)
    assert first.default_name.startswith("digits-MyGossip-iid-sgd-w3-r1-s0-")
    assert set(first.params["sources"]) == {"algorithm", "algorithm topology"}
    Path("mine.py").write_text(GOSSIP + "\n# another\n")
    forget(monkeypatch)
    assert experiment(algorithm=SPEC).hash != first.hash
    assert "sources" not in experiment(algorithm="d_psgd").params


def test_results_record_and_compare_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = experiment(algorithm=SPEC, partition="mine.py:Parity")
    assert train(MPI.COMM_SELF, chosen, [], quiet=True) == 0
    assert flaws(chosen.path) == []
    run = read(chosen.path)
    assert run.attributes["algorithm"] == SPEC
    assert run.attributes["partition"] == "mine.py:Parity"
    sums = json.loads(run.attributes["inputs_json"])
    places = ["--algorithm source", "--algorithm topology source", "--partition source"]
    assert sorted(sums) == places
    assert repeat.settings(chosen.path)["algorithm"] == SPEC
    again = experiment(algorithm=SPEC, partition="mine.py:Parity", repeat=str(chosen.path))
    assert train(MPI.COMM_SELF, again, [], quiet=True) == 0
    second = read(chosen.path.with_name(f"{chosen.path.stem}-2.h5"))
    assert second.attributes["parameters_sha256"] == run.attributes["parameters_sha256"]
    Path("mine.py").write_text(GOSSIP + "\n# another\n")
    files = identity.inputs(chosen)
    with pytest.raises(UserError, match="of another file of --algorithm source: the SHA-256"):
        identity.check_inputs(chosen.path, run.attributes, files, "leave --repeat out")


def test_a_loop_records_the_source_of_its_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.excepthook", lambda *_: None)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with closing(attach(model, optimizer, SPEC, comm=MPI.COMM_SELF)) as exchange:
        exchange.step(lambda: model(torch.ones(1, 3)).sum())
        run = read(exchange.save("loop.h5"))
    assert flaws(run.path) == []
    sums = json.loads(run.attributes["inputs_json"])
    assert set(sums) == {"script", "algorithm", "algorithm topology"}
    assert sums["algorithm"] == digest("mine.py")


def test_reports_label_options_of_own_classes() -> None:
    texts = {"task": "digits", "optimizer": "sgd", "partition": "iid"}
    runs = [
        (texts | {"algorithm": f"mine.py:MyGossip{text}"}, {"algorithm": {"alpha": alpha}})
        for text, alpha in (("", 0.5), (":alpha=0.25", 0.25))
    ]
    shown = [x["algorithm"] for x in labels(runs)]
    assert shown == ["mine.py:MyGossip:alpha=0.5", "mine.py:MyGossip:alpha=0.25"]


def test_jobs_need_a_path_that_they_find() -> None:
    place = Geometry(1, 1, 1, 5)
    case = Case(TRAIN, {"algorithm": SPEC}, "", "", place, "case")
    with pytest.raises(UserError, match=r"mine.py is not a file for a job, which starts in "):
        CHECKS[TRAIN](case)
    absolute = SPEC.replace("mine.py", str(Path("mine.py").absolute()))
    planned = CHECKS[TRAIN](Case(TRAIN, {"algorithm": absolute}, "", "", place, "case"))
    assert planned.name.startswith("digits-MyGossip-iid-sgd-w1-r1")
    assert os.sep not in planned.name


def test_own_partitions_separate() -> None:
    scheme: Any = parse_spec("mine.py:Parity", PARTITIONS, "partition")
    chosen = experiment(partition="mine.py:Parity", workers=2)
    problem = chosen.task.load("float32")
    shards = scheme.split(problem.samples, 2, np.random.default_rng(0))
    assert set(problem.samples.labels[shards[1]] % 2) == {1}
