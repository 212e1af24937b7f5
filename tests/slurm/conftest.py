"""Fixtures of the tests of slurm/."""

import pytest

from tests.slurm.real import missing_slurm, skip_or_fail


@pytest.fixture(scope="session")
def slurm() -> None:
    """Skip the test without a running Slurm; fail it with MURMURATION_REQUIRE_SLURM=1."""
    if reason := missing_slurm():
        skip_or_fail(reason)
