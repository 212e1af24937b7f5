"""Survival of a run when ranks die: the others continue, with their workers or without.

Recovery is a resumption inside the process. After a death the survivors shrink the communicator,
agree on the newest copy in memory that is whole, and build everything that depends on the
communicator again, by the path of --resume on another number of ranks. As placement does not
matter, a synchronous run that adopts the workers ends with the bits of an undisturbed one. A run
that they leave restores them first and changes its members before the next step, as with --churn.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from mpi4py import MPI

from algorithms import ALGORITHMS
from algorithms.collectives import ALLREDUCES
from algorithms.collectives.auto import Auto
from algorithms.collectives.library import Library
from algorithms.exchange.membership import Leave
from algorithms.wire.placement import Placement
from bench.common.spec import UserError
from bench.results.claims import Claim
from bench.results.lost import NOWHERE, Death, Homes
from bench.results.resultfile import part_of
from bench.runtime.checkpoint import resuming
from bench.runtime.checkpoint.copies import Copies
from bench.runtime.checkpoint.resuming import Resumed
from bench.runtime.experiment import Experiment
from bench.runtime.opening import take_on_root
from bench.runtime.options import CPU
from bench.runtime.separation import Separation, separation
from bench.runtime.setup import Plan
from bench.runtime.start import warm
from bench.session.clocks import Reading
from bench.session.launch import mark_failed, write_stderr
from bench.session.signals import EXIT_RESUME
from bench.session.survivors import Family, check_faults


class Survival:
    """State of a process that outlasts a membership of the run.

    comm: of the ranks of the launch. results: claims of the run. Errors: UserError on every rank
    of a launch that ends with the death of a rank.
    """

    def __init__(self, comm: MPI.Intracomm, results: list[Claim]) -> None:
        check_faults(os.environ, MPI.get_vendor()[0], comm.size)
        self.comm = Family.of(comm)
        self.ranks = list(range(comm.size))
        """Rank of the launch of each rank that is left."""
        self.launched = comm.size
        self.copies = Copies(0)
        self.plan: Plan | None = None
        """Plan of the run, once it is made."""
        self.measured: Separation | None = None
        """Separation of the data, once it is measured."""
        self.scores: list[tuple[int, float]] = []
        """Step and watched metric of each evaluation, the same on every rank."""
        self.threads = 0
        """Threads of each rank: the option, then their number, on which bits may depend."""
        self.step: Callable[[], int] = int
        """Function that returns the step of this rank."""
        self.deaths: list[Death] = []
        self.homes: list[Homes] = []
        self._results = results
        self._policy = ""
        self._began_ns = 0
        self._former: list[TracebackType | None] = []
        """Frames with the buffers of former memberships, to which requests may still refer."""

    def run(self, work: Callable[[MPI.Intracomm], int]) -> int:
        """Call `work` on the ranks left until all finish it; return its exit code; collective."""
        while True:
            done, code = False, 0
            try:
                if self._began_ns:
                    self._recover()
                code, done = work(self.comm), True
            except Exception as error:
                if not self.comm.is_broken(error):
                    if not (self.deaths and isinstance(error, UserError)):
                        raise
                    self._give_up(str(error))
                self._former.append(error.__traceback__)
                self._began_ns = self._began_ns or time.perf_counter_ns()
                self.comm.revoke()
            if self.comm.agree(done):
                break
            self._began_ns = self._began_ns or time.perf_counter_ns()
            self.comm.revoke()
            self._shrink()
        if self.deaths:
            if code == EXIT_RESUME:
                self._leave(code)
            atexit.register(self._leave, 0)
        return code

    def check(self, experiment: Experiment) -> None:
        """Check that a run can continue after a death, before it begins. Errors: UserError."""
        options = experiment.options
        self._policy = options.on_death
        self.copies.every, self.threads = options.protect_every, options.threads
        check_death(experiment)

    def _shrink(self) -> None:
        """Replace the communicator by one of the ranks that live; collective."""
        before = self.comm
        self.comm = before.rest()
        places = self.comm.Get_group().Translate_ranks(None, before.Get_group())
        here = [self.ranks[place] for place in places]
        self.deaths += [Death(rank) for rank in self.ranks if rank not in here]
        self.ranks = here

    def _recover(self) -> None:
        """Agree on the state to go back to, and claim the result again; collective."""
        comm = self.comm
        step = max(comm.allgather(self.step()))
        copy = self.copies.newest(comm)
        if not all(comm.allgather(self.plan is not None)):
            self.plan = None
        if self.plan is None:
            return
        before = self.plan.experiment
        plan = replace(self.plan, experiment=self.placed(before))
        plan = reclaimed(comm, plan, self._results)
        if copy:
            attempt = 1 + max(comm.allgather(self.attempt))
            source = resuming.on_root(comm, lambda: _file_of(plan.path))
            plan = replace(plan, resumed=Resumed(copy, copy.manifest, attempt, source))
        elif not plan.resumed:  # the run begins again, with a new file
            self.homes.clear()
            for death in self.deaths:
                death.attempt = 1
        self.plan = plan
        for death in self._recent:
            death.attempt, death.step = self.attempt, max(step, 0)
            death.back = plan.resumed.manifest.step if plan.resumed else 0

    def placed(self, experiment: Experiment) -> Experiment:
        """Return an experiment of the launch on the ranks that are left."""
        if self.comm.size == self.launched:
            return experiment
        left = replace(experiment, ranks=self.comm.size, launched=self.launched)
        if not isinstance(experiment.churn, Leave):
            return left
        first = Placement.dealt(experiment.workers, self.launched)
        homes = 0, *(first.homes[rank] for rank in self.ranks[1:]), experiment.workers
        departures = tuple((i, 0) for x in self.deaths for i in first.positions(x.rank))
        return replace(left, uneven=Placement(homes), departures=departures)

    @property
    def attempt(self) -> int:
        """Number of the attempt of the run."""
        return self.plan.resumed.attempt if self.plan and self.plan.resumed else 1

    @property
    def _recent(self) -> list[Death]:
        """Deaths from which the run has not recovered."""
        return [death for death in self.deaths if death.recovery_ns < 0]

    @property
    def slots(self) -> list[int]:
        """Present rank for each rank of the launch: itself, or the one with its first worker."""
        assert self.plan
        total = self.plan.experiment.workers
        first, now = Placement.dealt(total, self.launched), self.plan.experiment.placement
        return [
            self.ranks.index(r) if r in self.ranks else now.rank_of(first.homes[r])
            for r in range(self.launched)
        ]

    def dealt(self, reading: Reading) -> Reading:
        """Return the readings of the clocks by rank of the launch."""
        return Reading(*(x[self.slots] for x in vars(reading).values()))

    def restored(self, places: Sequence[dict[str, Any]]) -> list[str]:
        """Record that the state is restored; return a line about the deaths, if any.

        places: of the ranks, as `use_threads` returns them.
        """
        assert self.plan
        self.threads = places[self.comm.rank]["threads"]
        experiment = self.plan.experiment
        homes = np.repeat(self.ranks, np.diff(experiment.placement.bounds))
        departed = [worker for worker, _ in experiment.departures]
        homes[departed] = NOWHERE
        step = self.plan.resumed.manifest.step if self.plan.resumed else 0
        self.homes.append(Homes(self.attempt, step, homes.tolist()))
        recent, passed = self._recent, time.perf_counter_ns() - self._began_ns
        if not recent:
            return []
        for death in recent:
            death.recovery_ns = passed
        names, last = [str(death.rank) for death in recent], recent[-1]
        verb = ("rank", "is", "its") if len(names) == 1 else ("ranks", "are", "their")
        here = [str(rank) for rank in self.ranks]
        left = f"{'ranks' if len(here) > 1 else 'rank'} {joined(here)}"
        fate = f"{verb[2]} workers go on on {left}"
        if departed:
            count = f"{experiment.workers - len(departed)} of {experiment.workers} workers"
            fate = f"{count} go on, on {left}"
        return [
            f"{verb[0]} {joined(names)} of {self.launched} {verb[1]} gone at step {last.step}; "
            f"{fate}; back to step {last.back}, {passed / 1e6:.0f} ms"
        ]

    def stepped(self) -> bool:
        """Record the end of steps; return whether they were the first ones after a death."""
        if not self._began_ns:
            return False
        for death in self.deaths:
            if death.attempt == self.attempt and death.next_step_ns < 0:
                death.next_step_ns = time.perf_counter_ns() - self._began_ns
        self._began_ns = 0
        return True

    def separation(self, *parts: Any) -> Separation:
        """Measure the separation, once: it does not depend on the placement; collective.

        parts: arguments of `separation`.
        """
        if self.measured is None:
            warm(parts[2], parts[1])
            self.measured = separation(*parts)
        return self.measured

    def cost(self) -> dict[str, Any]:
        """Return the attributes about the copies of this rank."""
        copies = self.copies
        return {
            "on_death": self._policy,
            "ranks_lost": len(self.deaths),
            "protected": copies.count,
            "protection_s": copies.spent_ns / 1e9,
        }

    def _give_up(self, message: str) -> None:
        """Report the end of the run and its reason on rank 0, and end this process."""
        if self.comm.rank == 0:
            write_stderr(f"error: {message}{mark_failed(self._results, message)}")
        self._leave(1)

    def _leave(self, code: int) -> None:
        """End this process without MPI_Finalize, which may not return after a death.

        Every rank has the exit code, because rank 0 may die before it returns its own.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        with suppress(Exception):
            self.comm.Barrier()
        os._exit(code)


def check_death(experiment: Experiment) -> None:
    """Check that an experiment can continue after the death of a rank. Errors: UserError."""
    options = experiment.options
    where = f"--on-death {options.on_death}"
    if experiment.algorithm.needs.asynchronous:
        synchronous = [x for x, cls in ALGORITHMS.items() if not cls.needs.asynchronous]
        raise UserError(
            f"{where}: {options.algorithm} keeps parameters in the memory of single ranks, "
            f"lost with them: take one of {', '.join(synchronous)}"
        )
    others = [name for name, cls in ALLREDUCES.items() if cls not in (Library, Auto)]
    if options.allreduce not in others:
        raise UserError(
            f"{where}: --allreduce {options.allreduce} waits inside the MPI library, which may "
            f"not notice a death: take one of {', '.join(others)}"
        )
    alone = {
        "--pipeline": options.pipeline,
        "--churn": options.churn,
        "--device": "" if options.device == CPU else options.device,
        "--trace": options.trace,
        "--writers": "" if options.writers == "one" else options.writers,
        "--launches": options.launches if options.launches > 1 else 0,
    }
    for name, value in alone.items():
        if value:
            raise UserError(f"{where} does not support {name} {value}: leave one of them out")


def reclaimed(comm: MPI.Intracomm, plan: Plan, results: list[Claim]) -> Plan:
    """Return a plan with a claim of its result for the present ranks; collective.

    The plan resumes from the newest checkpoint on disk, if there is one. results: receives the
    claim in place of the former one.
    """
    former = plan.claim
    results[:] = [claim for claim in results if claim.path != plan.path]
    claim = take_on_root(comm, results, plan.path, "bench.train", replaces=former.token)
    search = resuming.find(comm, plan.path, plan.experiment.params)
    return replace(plan, claim=claim, resumed=search.resumed)


def _file_of(path: Path) -> Path:
    """Return the unfinished file of a result; the finished one if its writer died after that."""
    return part_of(path) if part_of(path).exists() else path


def joined(words: Sequence[str]) -> str:
    """Return words as an enumeration: 0, 1 and 3."""
    return " and ".join([", ".join(words[:-1]), *words[-1:]] if len(words) > 1 else words)
