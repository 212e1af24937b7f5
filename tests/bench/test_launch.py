"""Launches: the expected number of ranks, or one line with the correct command."""

import sys
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from mpi4py import MPI

from bench.common.cli import RANK_VARIABLES, launcher_rank
from bench.common.spec import UserError
from bench.common.text import counted
from bench.session.launch import check_launch, on_all_ranks, run

SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")


@pytest.mark.parametrize("variable", SIZES)
def test_singletons_of_a_foreign_launcher_are_refused(variable: str) -> None:
    with pytest.raises(UserError) as error:
        check_launch({variable: "4"}, 1, 0)
    assert str(error.value).startswith("the launcher started 4 ranks but MPI sees 1: ")
    assert "srun --mpi=pmix" in str(error.value)


@pytest.mark.parametrize("variable", SIZES)
def test_a_complete_world_passes(variable: str) -> None:
    check_launch({variable: "4"}, 4, 0)
    check_launch({variable: "4"}, 4, 4)


def test_python_without_a_launcher_is_a_world_of_one() -> None:
    check_launch({}, 1, 0)
    check_launch({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, 1, 1)  # inside an allocation


@pytest.mark.parametrize("here", [1, 2, 8])
def test_a_wrong_number_of_ranks_is_refused(here: int) -> None:
    with pytest.raises(UserError) as error:
        check_launch({"OMPI_COMM_WORLD_SIZE": str(here)}, here, 4)
    assert str(error.value) == (
        f"--ranks 4 differs from a launch of {counted(here, 'rank')}: launch with `mpirun -n 4`"
    )


def test_variables_of_mpirun_precede_those_of_a_slurm_step() -> None:
    check_launch({"SLURM_STEP_NUM_TASKS": "1", "OMPI_COMM_WORLD_SIZE": "4"}, 4, 4)
    assert launcher_rank({"SLURM_PROCID": "0", "OMPI_COMM_WORLD_RANK": "3"}) == 3


@pytest.mark.parametrize("variable", RANK_VARIABLES)
def test_the_rank_comes_from_the_launcher(variable: str) -> None:
    assert launcher_rank({variable: "3", "PATH": "/"}) == 3


def test_without_a_launcher_the_rank_is_0() -> None:
    assert launcher_rank({}) == 0


def test_on_all_ranks_raises_the_first_mistake_everywhere() -> None:
    def raise_mistake() -> int:
        raise ValueError("wrong value")

    assert on_all_ranks(MPI.COMM_SELF, lambda: 7) == 7
    with pytest.raises(UserError, match=r"^data: wrong value$"):
        on_all_ranks(MPI.COMM_SELF, raise_mistake, "data")
    communicator = SimpleNamespace(
        allgather=lambda line: ["", line, "error of rank 2", "error of rank 3"]
    )
    with pytest.raises(UserError, match=r"^error of rank 2$"):
        on_all_ranks(cast(Any, communicator), lambda: 7)


def test_exit_codes_and_messages_of_a_program(capfd: pytest.CaptureFixture[str]) -> None:
    reasons: list[str] = []

    def raise_mistake(comm: MPI.Intracomm) -> None:
        raise UserError("--steps must be >= 1, got 0")

    def raise_bug(comm: MPI.Intracomm) -> None:
        raise KeyError("x")

    assert run(lambda comm: None, reasons.append) == 0
    assert capfd.readouterr() == ("", "")
    assert run(raise_mistake, reasons.append) == 2
    assert capfd.readouterr() == ("", "error: --steps must be >= 1, got 0\n")
    assert reasons == []
    if MPI.COMM_WORLD.size == 1:  # with more ranks the error aborts the job
        assert run(raise_bug, reasons.append) == 1
        assert len(reasons) == 1
        assert reasons[0].startswith("rank 0 of 1 on ")
        assert reasons[0].endswith(": KeyError: 'x'")
        shown = capfd.readouterr().err
        assert shown.startswith("Traceback")
        assert shown.endswith(f"error: {reasons[0]}\n")

        def exhaust_memory(comm: MPI.Intracomm) -> None:
            np.empty(2**50)

        assert run(exhaust_memory, reasons.append) == 1
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith("error: rank 0 of 1: out of memory (Unable to allocate 8.00 PiB")


def test_a_missing_mpi_is_one_line(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)  # imports raise ImportError
    assert run(lambda comm: None, lambda message: None) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: mpi4py cannot load MPI (")
    assert "`make venv`" in line
