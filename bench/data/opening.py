"""Data sets and texts by path: the kind of file selects the reader."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common.spec import UserError
from bench.data import cifar, idx
from bench.data.checking import readable
from bench.data.protocol import Dataset, Table, Text, table_in_memory

HDF5 = (".h5", ".hdf5")
SVMLIGHT = (".svm", ".svmlight", ".libsvm")
TABLES = (".csv", *SVMLIGHT)
"""Endings of tables, whose features are no pixels."""
KINDS = (
    f"a folder of IDX files ({idx.NAMES}) or the images of one, a folder of CIFAR's binary files "
    f"({cifar.NAMES}), or a file that ends in {', '.join((*HDF5, '.csv', *SVMLIGHT))}"
)
HELD_OUT_SEED = 0
"""Seed of the held-out samples of a single set, the same in every run."""


def open_data(name: str, held_out: float) -> Dataset:
    """Return the data set at a path, see KINDS.

    held_out: fraction of the samples to hold out, in (0, 1), if the data have no test set. Errors:
    UserError, one line with file and place, for a file of another kind.
    """
    path = Path(name)
    with readable(path):
        sets, classes, groups = _sets(path)
    train, test = sets.get("train"), sets.get("held_out")
    if train is None or test is None:
        train, test = _hold_out(path, train or sets["held_out"], held_out)
    if train.shape != test.shape:
        raise UserError(
            f"{path}: inputs to train on are {train.shape}, those held out {test.shape}: they must "
            "have one shape"
        )
    most = 1 + max(int(train.labels.max()), int(test.labels.max()))
    return Dataset(train, test, most, classes, groups)


def _sets(path: Path) -> tuple[dict[str, Table], list[str], list[str]]:
    """Return the tables "train" and "held_out", or one of them, and names of classes and groups."""
    if not path.exists():
        raise UserError(f"--data {path} does not exist: name {KINDS}")
    pictures = cifar.find_sets(path)
    if pictures:
        files, layout = pictures
        return {kind: cifar.read_set(x, layout) for kind, x in files.items()}, [], []
    pairs = idx.find_sets(path)
    if pairs:
        return {kind: idx.read_set(*pair) for kind, pair in pairs.items()}, [], []
    if path.is_dir():
        raise UserError(f"--data {path} holds no data of a known format: name {KINDS}")
    kind = path.suffix.lower()
    if kind in HDF5:
        from bench.data.hdf5 import read_sets

        tables, groups = read_sets(path)
        return tables, [], groups
    if kind == ".csv":
        from bench.data.tabular import read_csv

        table, classes, groups = read_csv(path)
        return {"train": table}, classes, groups
    if kind in SVMLIGHT:
        from bench.data.svmlight import read_svmlight

        table, classes = read_svmlight(path)
        return {"train": table}, classes, []
    if kind == ".txt":
        raise UserError(f"--data {path} is a text, which the task transformer reads: name {KINDS}")
    raise UserError(f"--data {path} is of no known format: name {KINDS}")


def _hold_out(path: Path, table: Table, part: float) -> tuple[Table, Table]:
    """Split a single set into training and held-out samples: always the same, in their order.

    Partitions by order or time then see the samples as they lie in the file, and a reader of rows
    finds neighbours next to each other.
    """
    n = table.size
    held_out = round(part * n)
    if not 0 < held_out < n:
        raise UserError(
            f"{path}: held_out={part:g} of {n} samples leaves {n - held_out} to train and "
            f"{held_out} to evaluate: both need at least one"
        )
    order = np.random.default_rng(HELD_OUT_SEED).permutation(n)
    return _select(table, np.sort(order[held_out:])), _select(table, np.sort(order[:held_out]))


def _select(table: Table, which: NDArray[np.int64]) -> Table:
    """Return the table of these samples, in this order."""
    groups = None if table.groups is None else table.groups[which]
    if table.features is not None:
        return table_in_memory(table.features[which], table.labels[which], groups)

    def rows(indices: NDArray[np.int64]) -> NDArray[Any]:
        return table.rows(which[indices])

    return Table(table.labels[which], table.shape, rows, groups=groups)


def open_text(name: str) -> Text:
    """Return the text at a path. Errors: UserError for anything but a text file."""
    from bench.data.text import read_text

    path = Path(name)
    with readable(path):
        if not path.exists():
            raise UserError(f"--data {path} does not exist: name a text file")
        if path.is_dir():
            texts = ", ".join(sorted(str(x) for x in path.glob("*.txt"))) or "there is none here"
            raise UserError(f"--data {path} is a folder: name a text file ({texts})")
        return read_text(path)


def digest(name: str) -> str:
    """Return the SHA-256 of the file at a path.

    For several files: of the lines that `sha256sum` prints of them, in the order of their names.
    Only files that are read count, not others beside them.
    """
    files = files_of(Path(name))
    sums = {}
    for file in files:
        with file.open("rb") as opened:
            sums[file.name] = hashlib.file_digest(opened, "sha256").hexdigest()
    if len(files) == 1:
        return sums[files[0].name]
    lines = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    return hashlib.sha256(lines.encode()).hexdigest()


def files_of(path: Path) -> list[Path]:
    """Return the files to read for a path."""
    pictures = cifar.find_sets(path)
    if pictures:
        return [file for files in pictures[0].values() for file in files]
    return [file for pair in idx.find_sets(path).values() for file in pair] or [path]


def data_or_digits(name: str, held_out: float) -> Dataset:
    """Return the data set at a path, or scikit-learn's digits if the path is empty."""
    from bench.data.opening import digits

    return open_data(name, held_out) if name else digits()


DIGITS_TRAINING = 1437
BRIGHTEST = 16.0


def digits() -> Dataset:
    """Return scikit-learn's 1,797 handwritten digits: images (n, 8, 8) float64 from 0 to 1.

    Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI 1998 (the test set of that
    collection). 1,437 images train and 360 are held out, always the same ones.

    They are read from the file behind sklearn.datasets.load_digits: importing that module takes
    every rank two seconds, and 1,500 files.
    """
    sklearn = find_spec("sklearn")
    assert sklearn is not None
    assert sklearn.origin is not None
    table = Path(sklearn.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(table, delimiter=",")
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    images = (rows[:, :-1] / BRIGHTEST).reshape(-1, 8, 8)
    labels = rows[:, -1].astype(np.int64)
    cut = DIGITS_TRAINING
    return Dataset(
        table_in_memory(images[:cut], labels[:cut]),
        table_in_memory(images[cut:], labels[cut:]),
        classes=10,
    )
