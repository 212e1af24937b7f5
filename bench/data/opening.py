"""What `--data` names: the reader is chosen by what the path is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data import cifar, idx
from bench.data.protocol import Dataset, Table, Text, in_memory
from bench.runtime.spec import UserError

HDF5 = (".h5", ".hdf5")
SVMLIGHT = (".svm", ".svmlight", ".libsvm")
KINDS = (
    "a folder of IDX files (train-images-idx3-ubyte.gz, ...) or of CIFAR's *.bin, .h5 or .hdf5, "
    ".csv, .svm or .svmlight or .libsvm"
)
HELD_OUT_SEED = 0
"""What is held out of a single set is the same in every run."""


def open_data(name: str, held_out: float) -> Dataset:
    """The data set that a path names, see KINDS.

    held_out: the part of the samples that is held out, in (0, 1), where the data have no test set
    of their own. Errors: UserError, one line with file and place, for what is not such a file.
    """
    path = Path(name)
    sets, classes, groups = _sets(path)
    train, test = sets.get("train"), sets.get("held_out")
    if train is None or test is None:
        train, test = _separated(path, train or sets["held_out"], held_out)
    if train.shape != test.shape:
        raise UserError(f"{path}: inputs are {train.shape}, those held out {test.shape}")
    most = 1 + max(int(train.labels.max()), int(test.labels.max()))
    return Dataset(train, test, most, classes, groups)


def _sets(path: Path) -> tuple[dict[str, Table], list[str], list[str]]:
    """The tables by name, "train" and "held_out" or one of them; names of classes and groups."""
    if not path.exists():
        raise UserError(f"--data {path} does not exist: name {KINDS}")
    if path.is_dir():
        pictures = cifar.found(path)
        if pictures:
            train, held_out, label_bytes = pictures
            files = {"train": train, "held_out": held_out}
            made = {kind: cifar.read_set(x, label_bytes) for kind, x in files.items() if x}
            return made, [], []
        pairs = idx.found(path)
        if not pairs:
            raise UserError(f"--data {path} holds no data that are known here: name {KINDS}")
        return {kind: idx.read_set(*pair) for kind, pair in pairs.items()}, [], []
    kind = path.suffix.lower()
    if kind in HDF5:
        from bench.data import hdf5

        return hdf5.read_sets(path), [], []
    if kind == ".csv":
        from bench.data import lines

        table, classes, groups = lines.read_csv(path)
        return {"train": table}, classes, groups
    if kind in SVMLIGHT:
        from bench.data import lines

        table, classes = lines.read_svmlight(path)
        return {"train": table}, classes, []
    raise UserError(
        f"--data {path}: files that end in {kind or 'nothing'} are not known: name {KINDS}"
    )


def _separated(path: Path, table: Table, part: float) -> tuple[Table, Table]:
    """What trains and what is held out of a single set: always the same samples."""
    n = table.size
    held_out = round(part * n)
    if not 0 < held_out < n:
        raise UserError(
            f"{path}: held_out={part:g} of {n} samples leaves {n - held_out} to train and "
            f"{held_out} to judge by: both need one at least"
        )
    order = np.random.default_rng(HELD_OUT_SEED).permutation(n)
    return _chosen(table, order[held_out:]), _chosen(table, order[:held_out])


def _chosen(table: Table, which: NDArray[np.int64]) -> Table:
    """The table of these samples, in this order."""
    groups = None if table.groups is None else table.groups[which]
    if table.features is not None:
        return in_memory(table.features[which], table.labels[which], groups)

    def rows(indices: NDArray[np.int64]) -> NDArray[Any]:
        return table.rows(which[indices])

    return Table(table.labels[which], table.shape, rows, groups=groups)


def open_text(name: str) -> Text:
    """The text that a path names. Errors: UserError for what is no text file."""
    from bench.data.text import read_text

    path = Path(name)
    if not path.is_file():
        raise UserError(f"--data {path} is no text file: name one")
    return read_text(path)


def digest(name: str) -> str:
    """SHA-256 of the file, or of the names and contents of all files of a folder."""
    path, found = Path(name), hashlib.sha256()
    for file in [path] if path.is_file() else sorted(x for x in path.iterdir() if x.is_file()):
        found.update(file.name.encode())
        with file.open("rb") as opened:
            while block := opened.read(2**20):
                found.update(block)
    return found.hexdigest()


def data_or_digits(name: str, held_out: float) -> Dataset:
    """The data set that a path names; scikit-learn's digits where it names nothing."""
    from bench.data.builtin import digits

    return open_data(name, held_out) if name else digits()
