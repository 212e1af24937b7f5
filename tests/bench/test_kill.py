"""SIGKILL of a rank, of mpirun, of everything: the job ends, its files are whole and honest."""

from tests.drill_kill import TARGETS, drill


def test_kills_leave_readable_files_that_hold_what_was_told() -> None:
    outcomes = drill(3, ["synchronous", "consensus", "sweep"], seed=1)
    assert {outcome.target for outcome in outcomes} == set(TARGETS)
    for outcome in outcomes:
        assert outcome.good, outcome
