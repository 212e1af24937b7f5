"""Data that come with a library: what a task learns where `--data` names nothing."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from bench.data.protocol import Dataset, in_memory

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
