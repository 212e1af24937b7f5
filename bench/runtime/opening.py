"""The place of a result file, its origin attributes, and its provenance."""

from __future__ import annotations

import glob
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import __version__
from bench.common.spec import UserError
from bench.results import claims, contents, provenance
from bench.results.claims import Claim, TakenError, process_start
from bench.results.guard import BrokenFileError
from bench.results.provenance import read_origin, without_secrets
from bench.results.resultfile import add_table, add_texts, part_of
from bench.results.schema import MODEL, RUNNING
from bench.runtime.checkpoint import store
from bench.runtime.writers import parts_of
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI


FILE = (
    "{path}.part is being written by {owner}: wait until it has ended, or give another --name, "
    "--out or --seed"
)
FOLDER = "{path.parent} is in use by {owner}: wait until it has ended, or give another --out"
"""Messages about claims of a living process."""


def take(path: Path, command: str, refusal: str = FILE, replaces: str = "") -> Claim:
    """Make the folder of a result and claim the result for this process; command: the program.

    replaces: token of a claim whose owner is known to be dead.
    Errors: UserError where a living process holds it, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return claims.take(path, command, replaces=replaces)
    except TakenError as error:
        raise UserError(refusal.format(path=path, owner=error)) from None
    except OSError as error:
        raise _unwritable(path, error) from None


def take_on_root(
    comm: MPI.Intracomm,
    results: list[Claim],
    path: Path,
    command: str,
    refusal: str = FILE,
    replaces: str = "",
) -> Claim:
    """Return the claim of a result in `results`, or take it on rank 0 and add it; collective.

    replaces: token of a claim whose owner is known to be dead.
    Errors: UserError on every rank.
    """
    earlier = [claim for claim in results if claim.path == path and not claim.released]
    if earlier:
        return earlier[0]
    own = on_all_ranks(comm, lambda: None if comm.rank else take(path, command, refusal, replaces))
    token = comm.bcast(own.token if own else None)
    results.append(own or Claim(path, token))
    return results[-1]


@contextmanager
def holding(claim: Claim) -> Iterator[None]:
    """Release a claim at the end, or after a mistake of the user.

    After any other error the process ends, and its file is marked first.
    """
    try:
        yield
    except UserError:
        claim.release()
        raise
    except BaseException:
        claim.rest()
        raise
    claim.release()


def model_attributes(compute_s: float) -> dict[str, Any]:
    """Return the attributes of a training under the model clock; compute_s: of a gradient, s."""
    return {
        "clock": MODEL,
        "compute_s": compute_s,
        "time_definition": "model time: steps and phases are means over all workers, elapsed "
        "times those of the slowest worker",
    }


def prepare(path: Path, overwrite: bool, resumes: bool = False) -> None:
    """Check that a claimed result may be written, and remove what is left of a killed run.

    A result to be overwritten stays until the new one is complete and replaces it by rename.
    resumes: the run continues the files there. Errors: UserError for a folder that cannot be
    written, or a result in the way.
    """
    parts, checkpoints = [] if resumes else parts_of(path), store.place(path)
    existing = [place for place in (path, part_of(path), *parts) if place.exists()]
    ending = _describe_end(part_of(path)) if part_of(path) in existing else ""
    if existing and not overwrite and not resumes:
        suffix = ending if existing[0] == part_of(path) else ""
        resume = "--resume to continue it, " if suffix and checkpoints.exists() else ""
        raise UserError(
            f"{existing[0]} exists{suffix}: give {resume}--overwrite to replace it, or "
            "another --name, --out or --seed"
        )
    try:
        hidden = path.parent.glob(glob.escape(f".{path.name}.") + "*")
        claimed = claims.place(path).name
        for leftover in (*(x for x in hidden if not x.name.startswith(claimed)), *parts):
            leftover.unlink()  # of a killed run, and parts of a replaced result
        if not resumes:
            shutil.rmtree(checkpoints, ignore_errors=True)
        probe = path.parent / f".{path.name}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"--out {path.parent} cannot be written: {error.strerror}; name another folder"
    )


def _describe_end(part: Path) -> str:
    """Return words for the end of the run of an unfinished file; empty where it has no record.

    Errors: UserError where a process of this host without a claim, of an earlier version of the
    suite, still writes it.
    """
    try:
        with contents.open_hdf5(part) as file:
            attributes = contents.attributes(file)
        status = read_origin(part, attributes).status
    except (BrokenFileError, KeyError):
        return ""
    here = attributes["host"] == socket.gethostname()
    if status == RUNNING and here and attributes["pid"] != os.getpid():
        raise UserError(
            f"{part} is being written by process {attributes['pid']}: wait until it has ended, "
            "or give another --name, --out or --seed"
        )
    reason = f" ({attributes['reason']})" if attributes.get("reason") else ""
    return "" if status == RUNNING else f", left by a run that {status}{reason}"


def origin(
    program: str,
    argv: Sequence[str],
    ranks: Sequence[dict[str, Any]],
    flaws: Sequence[str],
    launch: int,
) -> dict[str, Any]:
    """Return the attributes of every result; ranks and flaws as use_threads returns them.

    launch: number of the run among those of its processes, 1 where these are fresh.
    """
    pid = os.getpid()
    return {
        "suite_version": __version__,
        "run_uuid": uuid.uuid4().hex,
        "program": program,
        "argv_json": json.dumps(without_secrets(argv)),
        "launch": launch,
        "ranks": len(ranks),
        "nodes": len({rank["host"] for rank in ranks}),
        "threads_per_rank": ranks[0]["threads"],
        "binding_flaws": "; ".join(flaws),
        "host": socket.gethostname(),
        "pid": pid,
        "pid_started": process_start(pid),
        "clock": "perf_counter_ns",
        "percentile_method": "order statistics; 95 % interval of the median by Hoefler, Belli 2015",
    }


@cache
def _software() -> dict[str, str]:
    """Return the texts about the software of this process; git takes longer than a recovery."""
    from mpi4py import MPI

    return {
        "packages": json.dumps(provenance.packages()),
        "git_commit": provenance.commit(),
        "mpi_library": MPI.Get_library_version().strip("\x00 \n"),
    }


def add_provenance(file: Any, ranks: Sequence[dict[str, Any]]) -> None:
    """Add /provenance: the place of every rank, the machine and its software."""
    add_table(
        file,
        "provenance/ranks",
        {"rank": np.arange(len(ranks))},
        {
            name: (("rank",), np.array([rank[name] for rank in ranks]), units, title)
            for name, units, title in (
                ("host", "", "host name"),
                ("pid", "1", "process id"),
                ("threads", "1", "threads of the rank"),
                ("cpu_mask", "", "cores the rank may use"),
                ("instructions", "", "vector instructions of torch; empty without torch"),
            )
        },
    )
    add_texts(
        file,
        {
            "environment": json.dumps(provenance.environment()),
            "machine": json.dumps(provenance.machine()),
            **_software(),
        },
    )
