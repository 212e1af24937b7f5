"""Checks of data files: each refuses with one line that names the file and the place."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common.limits import HOST, Pool, memory_pools
from bench.common.spec import UserError

SHARE = 0.9
"""Fraction of the available memory that a file may fill."""
LOCAL = (
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MPI_LOCALNRANKS",
    "MV2_COMM_WORLD_LOCAL_SIZE",
    "SLURM_STEP_TASKS_PER_NODE",
)
"""Environment variables with the number of ranks on a host, all of which read at the same time."""
MOST_CLASSES = 2**20
"""Maximum number of classes: a class is an output of the model's last layer."""
LARGEST_LABEL = 2**53
"""Bound of the absolute value of a label, below which float64 holds every whole number."""


def require_memory(
    path: Path,
    needed: int,
    pools: Sequence[Pool] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Refuse to read more bytes than memory can hold, counted once for each rank of this host.

    pools: by default those of this process. Errors: UserError with both numbers.
    """
    ranks = local_ranks(environment)
    for pool in memory_pools() if pools is None else pools:
        sharing = 1 if pool.private else ranks
        if needed * sharing > SHARE * pool.available:
            each = f" on each of {ranks} ranks of this host" if sharing > 1 else ""
            inside = "" if pool.name == HOST else f" within {pool.name}"
            raise UserError(
                f"{path} needs {amount(needed)} of memory{each}, {amount(pool.available)} are "
                f"available{inside}: put the samples into an HDF5 file, of which every rank reads "
                "its own samples only, or take fewer of them"
            )


def require_file(path: Path) -> None:
    """Refuse a pipe and a device as data. Errors: UserError."""
    if not path.is_file() and not path.is_dir():
        raise UserError(f"--data {path} is a pipe or a device: name a plain file or a folder")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into a UserError while a path is read."""
    try:
        yield
    except OSError as error:
        where, why = error.filename or path, error.strerror or error
        raise UserError(f"{where} cannot be read: {why}") from None


def local_ranks(environment: Mapping[str, str]) -> int:
    """Return the number of ranks on this host as given by the launcher; 1 without one."""
    matches = (re.match(r"\d+", environment.get(name, "")) for name in LOCAL)
    return next((max(1, int(match[0])) for match in matches if match), 1)


def amount(nbytes: int) -> str:
    """Format bytes in the largest unit with a value of at least one."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if nbytes >= 2**power:
            return f"{nbytes / 2**power:,.1f} {unit}"
    return f"{nbytes} bytes"


def require_finite(
    where: Path | str,
    rows: NDArray[Any],
    numbers: NDArray[np.int64] | None = None,
    place: Callable[[int, int], str] | None = None,
) -> None:
    """Refuse NaN and infinity. Errors: UserError with the first sample and feature.

    rows: (m, ...). numbers: (m,) numbers of the samples in the file; by default from 0 on. place:
    function that returns the place of feature j of sample i, place(i, j); by default these numbers.
    """
    if rows.dtype.kind != "f" or not rows.size:
        return
    flat = rows.reshape(len(rows), -1)
    good = np.isfinite(flat)
    if good.all():
        return
    i, j = (int(x) for x in np.argwhere(~good)[0])
    row = i if numbers is None else int(numbers[i])
    at = place(row, j) if place else f"{where}: feature {j} of sample {row}"
    raise UserError(
        f"{at} is {flat[i, j]}: a model cannot learn from it; take the sample out or fill the gap"
    )


def as_inputs(values: NDArray[Any]) -> NDArray[Any]:
    """Return inputs as uint8, which encode 0 to 1, or as floating numbers of this machine.

    Other integers and bools are the numbers that they are.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f":
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    return values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)


def as_labels(
    where: Path | str, labels: NDArray[Any], what: str = "label", most: int = 0
) -> NDArray[np.int64]:
    """Return the labels as (n,) int64.

    most: for labels that must be in [0, most); 0: any whole numbers, which `open_data` numbers in
    their order. Errors: UserError for anything else.
    """
    if labels.ndim != 1:
        raise UserError(f"{where}: {what}s must be one a sample, (n,), got shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.number) or np.iscomplexobj(labels):
        raise UserError(f"{where}: {what}s must be whole numbers, got {dtype_name(labels.dtype)}")
    low, high = (0, most) if most else (-LARGEST_LABEL, LARGEST_LABEL)
    wrong = np.flatnonzero(~((labels >= low) & (labels < high) & (labels == np.floor(labels))))
    if wrong.size:
        limits = f" from 0 to {most - 1:,}" if most else ""
        raise UserError(
            f"{where}: {what} of sample {wrong[0]} must be a whole number{limits}, got "
            f"{labels[wrong[0]]}"
        )
    return labels.astype(np.int64)


def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return the name of a dtype for a message; texts are objects or bytes to numpy."""
    return "texts" if dtype.kind in "OSUT" else str(dtype)


def require_samples(where: Path | str, inputs: int, labels: int) -> None:
    """Refuse inputs without a label and labels without an input. Errors: UserError."""
    if inputs != labels:
        raise UserError(f"{where}: {inputs:,} samples but {labels:,} labels: they must agree")
    if not inputs:
        raise UserError(f"{where} holds no sample")
