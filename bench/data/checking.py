"""What a file must be like, and what is said where it is not: one line, naming file and place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common.sizes import available_bytes
from bench.common.spec import UserError

SHARE = 0.9
"""Of the available memory that a file may fill."""
MEMINFO = Path("/proc/meminfo")
LOCAL = (
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MPI_LOCALNRANKS",
    "MV2_COMM_WORLD_LOCAL_SIZE",
    "SLURM_STEP_TASKS_PER_NODE",
)
"""Where launchers say how many ranks they started on a host: they read at the same time."""
MOST_CLASSES = 2**20
"""A label is a place in the model's last layer: beyond this it is something else."""


def require_memory(
    path: Path, needed: int, meminfo: Path = MEMINFO, environment: Mapping[str, str] = os.environ
) -> None:
    """Refuse to read bytes that memory cannot hold, once for each rank of this host.

    Errors: UserError with both numbers.
    """
    available = available_bytes(meminfo.read_text()) if meminfo.exists() else None
    ranks = ranks_here(environment)
    if available is not None and needed * ranks > SHARE * available:
        each = f" on each of {ranks} ranks of this host" if ranks > 1 else ""
        raise UserError(
            f"{path} needs {amount(needed)} of memory{each}, {amount(available)} are available: "
            "put the samples into an HDF5 file, of which every rank reads its own alone, or take "
            "fewer of them"
        )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What the system refuses while a path is read becomes a UserError."""
    try:
        yield
    except OSError as error:
        where, why = error.filename or path, error.strerror or error
        raise UserError(f"{where} cannot be read: {why}") from None


def ranks_here(environment: Mapping[str, str]) -> int:
    """How many ranks run on this host, as the launcher says; 1 where there is none."""
    said = (re.match(r"\d+", environment.get(name, "")) for name in LOCAL)
    return next((max(1, int(found[0])) for found in said if found), 1)


def amount(nbytes: int) -> str:
    """Bytes for a person, in the largest unit of which there is one."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if nbytes >= 2**power:
            return f"{nbytes / 2**power:,.1f} {unit}"
    return f"{nbytes} bytes"


def require_finite(
    where: Path | str, rows: NDArray[Any], numbers: NDArray[np.int64] | None = None
) -> None:
    """Refuse NaN and infinity. Errors: UserError with the first sample and feature.

    rows: (m, ...). numbers: (m,) what they are called in the file; from 0 on by default.
    """
    if rows.dtype.kind != "f" or not rows.size:
        return
    flat = rows.reshape(len(rows), -1)
    good = np.isfinite(flat)
    if good.all():
        return
    i, j = (int(x) for x in np.argwhere(~good)[0])
    row = i if numbers is None else int(numbers[i])
    raise UserError(
        f"{where}: feature {j} of sample {row} is {flat[i, j]}: a model cannot learn from it; take "
        "the sample out or fill the gap"
    )


def whole_labels(
    where: Path | str, labels: NDArray[Any], what: str = "label", most: int = MOST_CLASSES
) -> NDArray[np.int64]:
    """The labels as (n,) int64. Errors: UserError for what is no whole number in [0, most)."""
    if labels.ndim != 1:
        raise UserError(f"{where}: {what}s must be one a sample, (n,), got shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.number) or np.iscomplexobj(labels):
        raise UserError(f"{where}: {what}s must be whole numbers, got {kind_of(labels.dtype)}")
    wrong = np.flatnonzero(~((labels >= 0) & (labels < most) & (labels == np.floor(labels))))
    if wrong.size:
        raise UserError(
            f"{where}: {what} of sample {wrong[0]} must be a whole number from 0 to {most - 1:,}, "
            f"got {labels[wrong[0]]}"
        )
    return labels.astype(np.int64)


def kind_of(dtype: np.dtype[Any]) -> str:
    """A dtype for a person: texts are objects or bytes to numpy."""
    return "texts" if dtype.kind in "OSUT" else str(dtype)


def require_samples(where: Path | str, inputs: int, labels: int) -> None:
    """Refuse inputs without a label or labels without an input. Errors: UserError."""
    if inputs != labels:
        raise UserError(f"{where}: {inputs:,} samples but {labels:,} labels: they must agree")
    if not inputs:
        raise UserError(f"{where} holds no sample")
