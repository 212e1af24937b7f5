"""Tests of SIGKILL to a rank, mpirun, or all processes: the job ends and its files are valid."""

from tests.drill_kill import TARGETS, drill


def test_kills_leave_readable_files_with_the_reported_progress() -> None:
    outcomes = drill(3, ["synchronous", "consensus", "sweep"], seed=1)
    assert {outcome.target for outcome in outcomes} == set(TARGETS)
    for outcome in outcomes:
        assert outcome.good, outcome
