"""What the tests of slurm/ share."""

import pytest

from tests.slurm.real import skip_or_fail, why_no_slurm


@pytest.fixture(scope="session")
def slurm() -> None:
    """A Slurm that takes jobs: skip where there is none; fail with MURMURATION_REQUIRE_SLURM=1."""
    if reason := why_no_slurm():
        skip_or_fail(reason)
