"""Number of source files that a training step executes."""

from tests.launching import launch
from tests.step_files import LIMIT


def test_a_step_of_local_sgd_executes_few_files() -> None:
    result = launch(2, "tests/step_files.py")
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"at most {LIMIT}" in result.stdout
