"""bench.check: contracts that hold, and broken ones that it finds."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from mpi4py import MPI

from algorithms import ALGORITHMS
from algorithms.controllers import CONTROLLERS
from algorithms.controllers.protocol import Controller, Decision, Observation, Setting
from algorithms.d_psgd import DPSGD
from algorithms.protocol import Needs
from algorithms.relay_sgd import RelaySGD
from algorithms.topologies.protocol import Links, links
from algorithms.topologies.ring import Ring
from bench.check import algorithm, parts
from bench.check.__main__ import main
from bench.check.findings import FAILS, Finding, thing_of
from bench.common.spec import UserError
from bench.tasks.digits import Digits
from partitions.iid import IID
from partitions.placing import shards_of
from partitions.protocol import Partition, Samples
from tests.launching import launch

BROKEN = '''
from dataclasses import dataclass
import numpy as np
from algorithms.protocol import Algorithm

@dataclass
class State:
    unused: int = 0

@dataclass(frozen=True)
class Nothing(Algorithm):
    """No State."""
    def init(self, exchange, workers):
        return None
    def step(self, exchange, workers, state):
        workers.gradient()
        workers.update()

@dataclass(frozen=True)
class Local(Algorithm):
    """Mean over the workers of a rank, and a counter that no State keeps."""
    def init(self, exchange, workers):
        self.__dict__["count"] = 0
        return State()
    def step(self, exchange, workers, state):
        workers.gradient()
        workers.update()
        self.__dict__["count"] += 1
        workers.x[:] = workers.x.mean(0) + 0.01 * self.__dict__["count"]
'''


def failures(findings: Any) -> list[str]:
    return [x.subject for x in findings if x.state == FAILS]


@pytest.mark.parametrize("name", ["push_sum", "d_psgd", "elastic_averaging", "downpour"])
def test_algorithms_of_the_suite_hold(name: str) -> None:
    results: list[Finding] = list(algorithm.findings(MPI.COMM_SELF, name, ALGORITHMS[name]()))
    assert failures(results) == []
    assert {x.subject for x in results} >= {"workers", "placement"}
    if name == "d_psgd":
        texts = {x.subject: str(x) for x in results}
        assert texts["mean"].startswith("ok    mean        exchanges keep it")
        assert texts["loss"].startswith("ok    loss        20% of the messages lost")
        assert texts["checkpoint"].startswith("ok    checkpoint")


def test_the_parts_of_the_docs_hold(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "own-code.md").read_text()
    (code,) = (x for x in page.split("```") if x.startswith("python\n") and "Controller" in x)
    (tmp_path / "parts.py").write_text(code.removeprefix("python\n"))
    kinds = {"Halves": parts.partition, "Skip": parts.topology, "Later": parts.controller}
    for name, check in kinds.items():
        kind, thing = thing_of(f"{tmp_path}/parts.py:{name}")
        assert kind == check.__name__
        assert failures(check(thing)) == []


@pytest.mark.parametrize("name", CONTROLLERS)
def test_controllers_of_the_suite_hold(name: str) -> None:
    assert failures(parts.controller(CONTROLLERS[name]())) == []


def test_broken_controllers_are_found() -> None:
    @dataclass
    class Memory:
        count: int = 0

    @dataclass(frozen=True)
    class Counting(Controller):
        def memory(self, setting: Setting) -> Any:
            return Memory()

        def decide(self, setting: Setting, last: Observation, memory: Any) -> Decision:
            memory.count += 1
            return Decision(setting.algorithm, memory.count)

    @dataclass(frozen=True)
    class Stuck(Controller):
        def arms(self, setting: Setting) -> list[str]:
            return ["one"]

        def memory(self, setting: Setting) -> Any:
            return {"not": "a dataclass"}

        def decide(self, setting: Setting, last: Observation, memory: Any) -> Decision:
            return Decision(setting.algorithm, 0, arm=1)

    assert failures(parts.controller(Counting())) == ["pure", "checkpoint"]
    assert failures(parts.controller(Stuck())) == ["memory"]


def test_broken_algorithms_are_found_on_ranks(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    result = launch(0, "-m", "bench.check", f"{tmp_path}/broken.py:Local", "--ranks", "2")
    assert result.returncode == 1, result.stderr
    assert f"algorithm {tmp_path}/broken.py:Local, on 2 ranks" in result.stdout
    failed = [x.split()[1] for x in result.stdout.splitlines() if x.startswith("FAILS")]
    assert failed == ["placement", "checkpoint"]
    assert "note  mean        exchanges move it" in result.stdout


@dataclass(frozen=True)
class Relays(RelaySGD):
    """Gossip that moves the mean, with the declaration of one that keeps it."""

    needs: ClassVar[Needs] = Needs(conserves="x")


@dataclass(frozen=True)
class Misnamed(DPSGD):
    """A declaration of a field that no State has."""

    needs: ClassVar[Needs] = Needs(conserves="x + center")


def test_wrong_declarations_of_conserved_sums_are_found() -> None:
    moved = algorithm.conservation(Relays(), [1, 5])
    assert moved.state == FAILS
    assert re.fullmatch(
        r"exchanges move the sum of x by 0\.\d+ of its size at 5 workers", moved.text
    )
    missing = algorithm.conservation(Misnamed(), [2])
    assert missing.state == FAILS
    assert "'center' is no field of the State" in missing.text


def test_states_that_cannot_be_stored_are_found(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    spec = f"{tmp_path}/broken.py:Nothing"
    results = {x.subject: x for x in algorithm.findings(MPI.COMM_SELF, spec, thing_of(spec)[1])}
    assert results["checkpoint"].state == FAILS
    assert "algorithm is a NoneType" in results["checkpoint"].text


@dataclass(frozen=True)
class Loops(Ring):
    """Links of a worker to itself, more than the size, and no period."""

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        i = np.arange(total)
        return links(total, i, (i + 1 + k % 2) % total) if k % 3 else Links(total, i, i)

    def size(self, total: int) -> int:
        return 0


@dataclass(frozen=True)
class Sloppy(Partition):
    """Shards by numpy's global random numbers, some of them empty."""

    lost: int = field(default=1, metadata={"help": "samples left out"})

    def split(self, samples: Samples, parts: int, rng: np.random.Generator) -> Any:
        owners = np.random.randint(0, parts, samples.size)
        owners[: self.lost] = parts
        return shards_of(owners, parts + 1)[:parts]


@dataclass(frozen=True)
class Unseeded(Digits):
    """Labels that differ at every call."""

    def load(self, dtype: str, data: str = "") -> Any:
        problem = super().load(dtype, data)
        labels = np.random.default_rng().integers(0, 10, problem.samples.size)
        problem.samples = Samples(labels)
        return problem


def test_parts_of_the_suite_hold() -> None:
    assert failures(parts.topology(Ring())) == []
    assert failures(parts.partition(IID())) == []
    assert failures(parts.task(Digits(hidden=3))) == []


def test_broken_parts_are_found() -> None:
    assert failures(parts.topology(Loops())) == ["links", "size", "period"]
    assert failures(parts.partition(Sloppy())) == ["draws", "global", "refusal"]
    assert failures(parts.task(Unseeded(hidden=3))) == ["samples"]


@pytest.mark.parametrize(
    ("spec", "kind"),
    [("push_sum", "algorithm"), ("torus", "topology"), ("iid:size=3", "partition")],
)
def test_names_have_a_kind(spec: str, kind: str) -> None:
    assert thing_of(spec)[0] == kind


def test_unknown_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"unknown name 'push_sun' \(did you mean push_sum\?\)"):
        thing_of("push_sun")
    (tmp_path / "mine.py").write_text("class A: ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine.py", raising=False)
    with pytest.raises(UserError, match=r"mine\.py has no class 'B'; it defines A"):
        thing_of("mine.py:B")
    with pytest.raises(UserError, match=r"mine\.py:A is not a dataclass"):
        thing_of("mine.py:A")
    monkeypatch.delitem(sys.modules, "mine.py")


def test_the_program_prints_a_line_for_each_property(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ring"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "topology ring"
    assert [line.split()[0] for line in lines[1:]] == ["ok"] * 4 + ["note"]
