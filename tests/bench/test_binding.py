"""Threads and cores: the threads of a rank, and the flaws of a binding."""

import os
import socket

import pytest
import torch
from mpi4py import MPI

from bench.common.limits import Quota
from bench.common.spec import UserError
from bench.session.binding import (
    binding_flaws,
    check_threads,
    quota_groups,
    threads_for,
    use_threads,
)


@pytest.mark.parametrize(
    ("option", "cores", "ranks", "variable", "threads"),
    [
        (3, 8, 4, "2", 3),  # the option first
        (0, 8, 4, "5", 5),  # then OMP_NUM_THREADS
        (0, 8, 4, "4,2", 4),  # of the outer level
        (0, 8, 2, "", 4),  # then an equal share of the cores
        (0, 8, 3, "many", 2),
        (0, 8, 3, "0", 2),
        (0, 2, 4, "", 1),  # but at least one
    ],
)
def test_threads_come_from_option_environment_or_cores(
    option: int, cores: int, ranks: int, variable: str, threads: int
) -> None:
    environment = {"OMP_NUM_THREADS": variable} if variable else {}
    assert threads_for(option, cores / ranks, environment) == threads


@pytest.mark.parametrize(
    ("masks", "threads"),
    [
        ([(0,), (1,), (2,), (3,)], 1),  # a core each
        ([(0, 1), (2, 3)], 2),
        ([(0, 1, 2, 3)] * 2, 2),  # unbound, with enough cores for all
        ([(5,)], 1),
    ],
)
def test_a_good_binding_has_no_flaw(masks: list[tuple[int, ...]], threads: int) -> None:
    assert binding_flaws(masks, threads) == []


def test_more_threads_than_cores_of_a_rank_are_a_flaw() -> None:
    (flaw,) = binding_flaws([(0,), (1,)], 2)
    assert flaw == (
        "a rank is bound to 1 core but runs 2 threads: use --threads 1, or "
        "`mpirun --map-by slot:PE=2 --bind-to core`"
    )
    (flaw,) = binding_flaws([(0, 1), (2,)], 2)  # the smallest mask counts
    assert "bound to 1 core" in flaw


def test_more_ranks_than_cores_are_a_flaw() -> None:
    (flaw,) = binding_flaws([(0, 1)] * 4, 1)
    assert flaw == (
        "4 ranks x 1 thread share 2 cores: times are those of an oversubscribed machine"
    )
    (flaw,) = binding_flaws([(0, 1)] * 4, 2)
    assert flaw.startswith("4 ranks x 2 threads share 2 cores")
    assert flaw.endswith("; set OMP_NUM_THREADS=1")
    (flaw,) = binding_flaws([(3,)] * 2, 1)  # all bound to the same core
    assert flaw.startswith("2 ranks x 1 thread share 1 core")


def test_a_quota_of_a_cgroup_counts_as_cores() -> None:
    groups = quota_groups([("a", [Quota("/job", 0.5)]), ("b", []), ("a", [Quota("/job", 0.5)])])
    assert groups == {"a": [(0.5, 2)], "b": []}
    (flaw,) = binding_flaws([(0, 1)] * 2, 1, groups["a"])
    assert flaw.startswith("2 ranks x 1 thread share 0.5 cores")
    assert binding_flaws([(0, 1)] * 2, 1, [(2.0, 2)]) == []
    assert threads_for(0, 0.25, {}) == 1


def test_more_threads_than_the_machine_has_cores_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    check_threads(MPI.COMM_SELF, 4)
    check_threads(MPI.COMM_SELF, 0)
    with pytest.raises(UserError, match=r"--threads 5: .* has 4 cores?: give no more"):
        check_threads(MPI.COMM_SELF, 5)
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    with pytest.raises(UserError, match=r"OMP_NUM_THREADS=100000: "):
        check_threads(MPI.COMM_SELF, 0)


def test_use_threads_sets_the_threads_and_returns_the_placement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {8, 1, 0, 2, 10})
    try:
        (place,), flaws = use_threads(MPI.COMM_SELF, 3)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    here = {"host": socket.gethostname(), "pid": os.getpid(), "threads": 3, "cpu_mask": "0-2,8,10"}
    here["instructions"] = torch.backends.cpu.get_cpu_capability()
    assert (place, flaws) == (here, [])
    (place,), flaws = use_threads(MPI.COMM_SELF, before)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4})
    (place,), (flaw,) = use_threads(MPI.COMM_SELF, before + 1)
    torch.set_num_threads(before)
    assert place["cpu_mask"] == "4"
    assert flaw.startswith("a rank is bound to 1 core")
