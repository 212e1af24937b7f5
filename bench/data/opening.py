"""Data sets and texts by path: the kind of file selects the reader."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from bench.common.spec import UserError
from bench.common.text import counted, printable
from bench.data import cifar, idx, svmlight
from bench.data.checking import MOST_CLASSES, readable, require_file
from bench.data.compression import SUFFIXES, format_of, start_of, suffix_of
from bench.data.names import DataName, parse_data
from bench.data.protocol import Content, Dataset, Summary, Table, Text, subset, table_in_memory
from bench.data.sums import sha256_of

HDF5 = (".h5", ".hdf5")
HDF5_START = b"\x89HDF\r\n\x1a\n"
KINDS = (
    f"a folder of IDX files ({idx.NAMES}) or the images of one, a folder of CIFAR's binary files "
    f"({cifar.NAMES}), an HDF5 file, a file in svmlight format such as LIBSVM's, or a "
    f"file that ends in {', '.join((*HDF5, '.csv', *svmlight.ENDINGS))}; the last four may be "
    f"compressed, {', '.join(SUFFIXES)}"
)
HELD_OUT_SEED = 0
"""Seed of the held-out samples of a single set, the same in every run."""
FEW_SAMPLES = 10
"""Number of samples below which the number of classes says nothing."""


def open_data(name: str, held_out: float) -> Dataset:
    """Return the data set that a name denotes, see KINDS and bench.data.names.

    The classes are the distinct labels, in their order, of the training and the test set.
    held_out: fraction of the samples to hold out, in (0, 1), if the data have no test set. Errors:
    UserError, one line with file and place, for a file of another kind.
    """
    data = parse_data(name)
    path = data.path
    with readable(path):
        content = _content(data)
    sets, classes = _number(path, content)
    train, test = sets.get("train"), sets.get("held_out")
    if train is None or test is None:
        train, test = _hold_out(path, train or sets["held_out"], held_out)
    if train.shape != test.shape:
        raise UserError(
            f"{path}: inputs to train on are {train.shape}, those held out {test.shape}: they must "
            "have one shape"
        )
    size = len(classes) or 1 + max(int(train.labels.max()), int(test.labels.max()))
    summary = _summary(content, path, train, test, classes or [str(i) for i in range(size)])
    return Dataset(train, test, size, classes, content.groups, summary)


def _number(path: Path, content: Content) -> tuple[dict[str, Table], Sequence[str]]:
    """Return the tables with labels numbered in their order, and the names of the classes.

    Labels 0 to C - 1, each present, stay unnamed. Errors: UserError for too many classes.
    """
    sets = {
        kind: table if table.place else replace(table, place=partial(_place, path, kind))
        for kind, table in content.sets.items()
    }
    if content.classes:
        names: Sequence[str] = content.classes
        count = len(names)
    else:
        distinct = np.unique(np.concatenate([np.unique(x.labels) for x in sets.values()]))
        count = len(distinct)
        names = []
        if not np.array_equal(distinct, np.arange(count)):
            names = [str(label) for label in distinct.tolist()]
            sets = {
                kind: replace(table, labels=np.searchsorted(distinct, table.labels))
                for kind, table in sets.items()
            }
    if count > MOST_CLASSES:
        raise UserError(
            f"{path} has {count:,} different labels, and a model {MOST_CLASSES:,} classes at most: "
            "are they labels?"
        )
    return sets, names


def _place(path: Path, kind: str, i: int, j: int) -> str:
    """Return the place of a feature for a message."""
    return f"{path}: feature {j} of sample {i}{' of the test set' * (kind == 'held_out')}"


def _summary(
    content: Content, path: Path, train: Table, test: Table, names: Sequence[str]
) -> Summary:
    """Return the summary of a data set."""
    shape = " x ".join(map(str, train.shape))
    inputs = counted(train.shape[0], "feature") if len(train.shape) == 1 else f"inputs {shape}"
    classes = counted(len(names), "class", "classes")
    line = f"data: {path}, {train.size:,} samples and {test.size:,} held out, {inputs}, {classes}"
    return Summary(
        printable(f"{line}{content.layout}"),
        tuple(map(printable, [*content.notes, *_doubts(train, test, names)])),
    )


def _doubts(train: Table, test: Table, names: Sequence[str]) -> Iterator[str]:
    """Yield notes on labels that make an accuracy meaningless, or are none."""
    counts = {
        what: np.bincount(table.labels, minlength=len(names))
        for what, table in (("training", train), ("test", test))
    }
    for what, count in counts.items():
        if np.count_nonzero(count) == 1:
            yield (
                f"the {what} set has one class, {names[int(count.argmax())]}: an accuracy of 1 "
                "means nothing"
            )
    unseen = np.flatnonzero((counts["training"] == 0) & (counts["test"] > 0))
    if unseen.size:
        more = f" and {unseen.size - 1:,} more" if unseen.size > 1 else ""
        yield f"class {names[int(unseen[0])]}{more} is in the test set alone: no model can learn it"
    total = train.size + test.size
    if total >= FEW_SAMPLES and 2 * len(names) > total:
        yield f"{len(names):,} classes in {total:,} samples: are these the labels?"


def _content(data: DataName) -> Content:
    """Return the content of the files that a name denotes. Errors: UserError."""
    path = data.path
    if suffix_of(path) == ".csv" and path.is_file():
        from bench.data.tabular import read_csv

        return read_csv(data)
    data.require_plain()
    return _other_content(path)


def _other_content(path: Path) -> Content:
    """Return the content of files that are no CSV. Errors: UserError."""
    if not path.exists():
        raise UserError(f"--data {path} does not exist: name {KINDS}")
    require_file(path)
    pictures = cifar.find_sets(path)
    if pictures:
        files, layout = pictures
        return Content({kind: cifar.read_set(x, layout) for kind, x in files.items()})
    pairs = idx.find_sets(path)
    if pairs:
        return Content({kind: idx.read_set(*pair) for kind, pair in pairs.items()})
    if path.is_dir():
        raise UserError(f"--data {path} holds no data of a known format: name {KINDS}")
    if not path.is_file():
        raise UserError(f"--data {path} is not a plain file: name {KINDS}")
    if start_of(path, len(HDF5_START)) == HDF5_START or path.suffix.lower() in HDF5:
        if format_of(path):
            raise UserError(f"{path} is compressed HDF5: unpack it first, ranks read parts of it")
        from bench.data.hdf5 import read_sets

        return read_sets(path)
    if is_svmlight(path):
        return svmlight.read_sets(path)
    if suffix_of(path) == ".txt":
        raise UserError(f"--data {path} is a text, which the task transformer reads: name {KINDS}")
    raise UserError(f"--data {path} is of no known format: name {KINDS}")


def is_svmlight(path: Path) -> bool:
    """Return True for a file in svmlight format, by its ending or its first lines."""
    return suffix_of(path) in svmlight.ENDINGS or svmlight.is_svmlight(path)


def is_table(path: Path) -> bool:
    """Return True for a table, whose features are no pixels, by its ending or its first lines."""
    return path.is_file() and (suffix_of(path) == ".csv" or is_svmlight(path))


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
    return subset(table, np.sort(order[held_out:])), subset(table, np.sort(order[:held_out]))


def open_text(name: str) -> Text:
    """Return the text at a path. Errors: UserError for anything but a text file."""
    from bench.data.text import read_text

    data = parse_data(name)
    path = data.path
    data.require_plain()
    with readable(path):
        if not path.exists():
            raise UserError(f"--data {path} does not exist: name a text file")
        if path.is_dir():
            texts = ", ".join(sorted(str(x) for x in path.glob("*.txt"))) or "there is none here"
            raise UserError(f"--data {path} is a folder: name a text file ({texts})")
        require_file(path)
        return read_text(path)


def digest(name: str) -> str:
    """Return the SHA-256 of the file that a name denotes.

    For several files: of the lines that `sha256sum` prints of them, in the order of their names.
    Only files that are read count, not others beside them.
    """
    files = files_of(parse_data(name).path)
    sums = {file.name: sha256_of(file) for file in files}
    if len(files) == 1:
        return sums[files[0].name]
    lines = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    return hashlib.sha256(lines.encode()).hexdigest()


def files_of(path: Path) -> list[Path]:
    """Return the files to read for a path."""
    pictures = cifar.find_sets(path)
    if pictures:
        return [file for files in pictures[0].values() for file in files]
    pairs = idx.find_sets(path)
    if pairs:
        return [file for pair in pairs.values() for file in pair]
    if path.is_file() and suffix_of(path) not in (".csv", *HDF5) and is_svmlight(path):
        return [*svmlight.find_sets(path).values()]
    return [path]


def data_or_digits(name: str, held_out: float) -> Dataset:
    """Return the data set that a name denotes, or scikit-learn's digits if it is empty."""
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
