"""What `--data` names: the reader is chosen by what the path is.

Data that come with a library: what a task learns where `--data` names nothing.
"""

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
from bench.data.protocol import Dataset, Table, Text, in_memory

HDF5 = (".h5", ".hdf5")
SVMLIGHT = (".svm", ".svmlight", ".libsvm")
KINDS = (
    f"a folder of IDX files ({idx.NAMES}) or the images of one, a folder of CIFAR's binary files "
    f"({cifar.NAMES}), or a file that ends in {', '.join((*HDF5, '.csv', *SVMLIGHT))}"
)
HELD_OUT_SEED = 0
"""What is held out of a single set is the same in every run."""


def open_data(name: str, held_out: float) -> Dataset:
    """The data set that a path names, see KINDS.

    held_out: the part of the samples that is held out, in (0, 1), where the data have no test set
    of their own. Errors: UserError, one line with file and place, for what is not such a file.
    """
    path = Path(name)
    with readable(path):
        sets, classes, groups = _sets(path)
    train, test = sets.get("train"), sets.get("held_out")
    if train is None or test is None:
        train, test = _separated(path, train or sets["held_out"], held_out)
    if train.shape != test.shape:
        raise UserError(
            f"{path}: inputs to train on are {train.shape}, those held out {test.shape}: they must "
            "have one shape"
        )
    most = 1 + max(int(train.labels.max()), int(test.labels.max()))
    return Dataset(train, test, most, classes, groups)


def _sets(path: Path) -> tuple[dict[str, Table], list[str], list[str]]:
    """The tables by name, "train" and "held_out" or one of them; names of classes and groups."""
    if not path.exists():
        raise UserError(f"--data {path} does not exist: name {KINDS}")
    pictures = cifar.found(path)
    if pictures:
        files, layout = pictures
        return {kind: cifar.read_set(x, layout) for kind, x in files.items()}, [], []
    pairs = idx.found(path)
    if pairs:
        return {kind: idx.read_set(*pair) for kind, pair in pairs.items()}, [], []
    if path.is_dir():
        raise UserError(f"--data {path} holds no data that are known here: name {KINDS}")
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
        from bench.data.tabular import read_svmlight

        table, classes = read_svmlight(path)
        return {"train": table}, classes, []
    if kind == ".txt":
        raise UserError(f"--data {path} is a text, which the task transformer reads: name {KINDS}")
    raise UserError(f"--data {path} is of no kind that is known here: name {KINDS}")


def _separated(path: Path, table: Table, part: float) -> tuple[Table, Table]:
    """What trains and what is held out of a single set: always the same samples, in their order.

    Partitions by order or time see the samples as they lie in the file, and a reader of rows finds
    neighbours beside each other.
    """
    n = table.size
    held_out = round(part * n)
    if not 0 < held_out < n:
        raise UserError(
            f"{path}: held_out={part:g} of {n} samples leaves {n - held_out} to train and "
            f"{held_out} to judge by: both need one at least"
        )
    order = np.random.default_rng(HELD_OUT_SEED).permutation(n)
    return _chosen(table, np.sort(order[held_out:])), _chosen(table, np.sort(order[:held_out]))


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
    with readable(path):
        if not path.exists():
            raise UserError(f"--data {path} does not exist: name a text file")
        if path.is_dir():
            here = ", ".join(sorted(str(x) for x in path.glob("*.txt"))) or "there is none here"
            raise UserError(f"--data {path} is a folder: name a text file ({here})")
        return read_text(path)


def digest(name: str) -> str:
    """SHA-256 of the file that a path names.

    Of several files: of the lines that `sha256sum` prints of them, in the order of their names.
    Only files that are read count, whatever lies beside them.
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
    """The files that are read where a path is named."""
    pictures = cifar.found(path)
    if pictures:
        return [file for files in pictures[0].values() for file in files]
    return [file for pair in idx.found(path).values() for file in pair] or [path]


def data_or_digits(name: str, held_out: float) -> Dataset:
    """The data set that a path names; scikit-learn's digits where it names nothing."""
    from bench.data.opening import digits

    return open_data(name, held_out) if name else digits()


DIGITS_TRAINING = 1437
BRIGHTEST = 16.0


def digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits: images (n, 8, 8) float64 from 0 to 1.

    Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI 1998 (the test set of that
    collection). 1,437 images train and 360 are held out, always the same ones.

    They are read from the file that sklearn.datasets.load_digits reads: to import that takes every
    rank two seconds, and 1,500 files.
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
        in_memory(images[:cut], labels[:cut]), in_memory(images[cut:], labels[cut:]), classes=10
    )
