"""Data that come with a library: what a task learns where `--data` names nothing."""

import numpy as np

from bench.data.protocol import Dataset, in_memory

DIGITS_TRAINING = 1437
BRIGHTEST = 16.0


def digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits: images (n, 8, 8) float64 from 0 to 1.

    Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI 1998 (the test set of that
    collection). 1,437 images train and 360 are held out, always the same ones.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images = (images[order] / BRIGHTEST).reshape(-1, 8, 8)
    labels = labels[order].astype(np.int64)
    cut = DIGITS_TRAINING
    return Dataset(
        in_memory(images[:cut], labels[:cut]), in_memory(images[cut:], labels[cut:]), classes=10
    )
