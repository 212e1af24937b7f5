"""Ranks that survive the death of others, by ULFM: detection, agreement, shrunk communicators.

User-Level Failure Mitigation is part of Open MPI 5 under `mpirun --with-ft ulfm`. A call that needs
a dead rank raises an MPI.Exception. The first rank that meets one revokes the communicators of the
run, upon which all calls on them end with an error on every rank, and the survivors shrink the
communicator and begin again. Bland, Bouteiller, Herault, Bosilca, Dongarra, "Post-failure recovery
of MPI communication capability", IJHPCA 2013.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mpi4py import MPI

from bench.common.spec import UserError
from bench.session.starting import tolerates_faults

LOST = (MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING, MPI.ERR_REVOKED)
"""Classes of the errors after the death of a rank."""
VENDOR = "Open MPI"
"""MPI library with ULFM."""
LAUNCH = "mpirun -n 4 --with-ft ulfm python -m bench.train ..."
NEWS_S = 1.0
"""Time in which every rank learns of a death: the launcher tells within milliseconds."""


class Family(MPI.Intracomm):
    """Communicator that knows all communicators derived from it, to revoke them together."""

    members: list[MPI.Intracomm]

    @classmethod
    def of(cls, comm: MPI.Intracomm) -> Family:
        """Return a communicator as the first one of a family."""
        family = cls(comm)
        family.members = [family]
        return family

    def _derived(self, comm: Any) -> Any:
        if comm == MPI.COMM_NULL:
            return comm
        child = type(self)(comm)
        child.members = self.members
        self.members.append(child)
        return child

    def Dup(self, info: MPI.Info | None = None) -> Family:  # noqa: N802
        """Duplicate the communicator; collective."""
        child: Family = self._derived(super().Dup(info))
        return child

    def Split(self, color: int = 0, key: int = 0) -> Family:  # noqa: N802
        """Split the communicator by colour; collective."""
        child: Family = self._derived(super().Split(color, key))
        return child

    def Split_type(  # noqa: N802
        self, split_type: int, key: int = 0, info: MPI.Info = MPI.INFO_NULL
    ) -> Family:
        """Split the communicator by a type, such as a shared host; collective."""
        child: Family = self._derived(super().Split_type(split_type, key, info))
        return child

    def Free(self) -> None:  # noqa: N802
        """Free the communicator; collective."""
        self.members[:] = [x for x in self.members if x is not self]
        super().Free()

    def revoke(self) -> None:
        """End all calls on the communicators of the family, on all ranks."""
        for member in self.members:
            with suppress(MPI.Exception):
                member.Revoke()

    def rest(self) -> Family:
        """Return the first communicator of a new family, of the ranks that live; collective."""
        rest = self.Shrink()
        assert isinstance(rest, MPI.Intracomm)
        return Family.of(rest)

    def agree(self, done: bool) -> bool:
        """Return True if all ranks live and `done` is True on all of them; collective.

        It works after a death and on a revoked communicator, and returns the same on all ranks.
        """
        while True:
            self.Ack_failed(self.size)
            try:
                agreed = bool(self.Agree(int(done)))
            except MPI.Exception as error:
                if error.Get_error_class() not in LOST:
                    raise
                continue  # another rank has died since
            return agreed and not self.lost()

    def is_broken(self, error: BaseException) -> bool:
        """Return whether an error follows from the death of a rank.

        A collective that a death disturbs may return wrong data without an error, upon which
        anything can fail. The news of the death then arrives within NEWS_S.
        """
        if isinstance(error, MPI.Exception) and error.Get_error_class() in LOST:
            return True
        end_s = time.monotonic() + NEWS_S
        while not (self.Is_revoked() or self.lost()) and time.monotonic() < end_s:
            with suppress(MPI.Exception):
                self.Iprobe()
            time.sleep(0.01)
        return self.Is_revoked() or bool(self.lost())

    def lost(self) -> list[int]:
        """Return the ranks that are known to be dead, ascending."""
        failed = self.Get_failed()
        ranks = failed.Translate_ranks(None, self.Get_group())
        return sorted(ranks)


def check_faults(environment: Mapping[str, str], vendor: str, ranks: int) -> None:
    """Check that a launch can continue after the death of a rank.

    vendor: name of the MPI library. Errors: UserError with the way out.
    """
    if vendor != VENDOR:
        raise UserError(
            f"--on-death: {vendor} ends the whole job when a rank dies: take {VENDOR} 5, or give "
            "--checkpoint-every and start again with --resume"
        )
    if environment.get("PMIX_NAMESPACE", "").startswith("slurm."):
        raise UserError(
            "--on-death: srun ends the whole step when a rank dies: launch by mpirun within the "
            f"allocation, `{LAUNCH}`, or give --checkpoint-every and --requeue"
        )
    if not tolerates_faults(environment):
        raise UserError(
            "--on-death: this launch ends when a rank dies, as fault tolerance is off: launch with "
            f"`{LAUNCH}`"
        )
    if ranks == 1:
        raise UserError("--on-death: one rank has no other to go on: launch with `mpirun -n 2`")
