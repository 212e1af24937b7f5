"""A killed rank takes the job down and leaves a readable file that does not claim completion."""

from tests.drill_kill import drill


def test_three_kills_leave_three_readable_files() -> None:
    for outcome in drill(3, seed=1):
        assert outcome.steps >= 0, "readable"
        assert outcome.status == "died"
        assert outcome.code != 0, "the job ended, and not as a success"
