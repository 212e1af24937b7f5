"""Open data sets that bench.fetch can download: where they are, and what they must be.

Checksums of MNIST, Fashion-MNIST and KMNIST are those that torchvision checks, of CIFAR those of
the authors' page; of the text, the one of the file that its page links to.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """A file to download.

    checksum: algorithm and hexadecimal digest. unpacks: members of a tar archive that are taken out
    of it, by the path of each; the archive is then let go.
    """

    name: str
    checksum: tuple[str, str]
    unpacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A data set. places: where its files lie, without their names, the first one first."""

    title: str
    licence: str
    size: str
    places: tuple[str, ...]
    files: tuple[File, ...]
    use: str
    """The path below the data set's folder that --data takes; empty for the folder."""


def _idx(*digests: str) -> tuple[File, ...]:
    names = (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    )
    return tuple(File(x, ("md5", digest)) for x, digest in zip(names, digests, strict=True))


CATALOGUE: dict[str, Entry] = {
    "mnist": Entry(
        "handwritten digits, 60,000 + 10,000 of 28 x 28 (LeCun, Cortes, Burges)",
        "CC BY-SA 3.0",
        "12 MB",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        _idx(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        "",
    ),
    "fashion_mnist": Entry(
        "clothes, 60,000 + 10,000 of 28 x 28 (Xiao, Rasul, Vollgraf 2017)",
        "MIT",
        "31 MB",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        _idx(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        "",
    ),
    "kmnist": Entry(
        "cursive Japanese, 60,000 + 10,000 of 28 x 28 (Clanuwat et al. 2018)",
        "CC BY-SA 4.0",
        "21 MB",
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        _idx(
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
        "",
    ),
    "cifar10": Entry(
        "photographs of 10 classes, 50,000 + 10,000 of 32 x 32 in colour (Krizhevsky 2009)",
        "not stated by the authors",
        "170 MB",
        ("https://www.cs.toronto.edu/~kriz/",),
        (
            File(
                "cifar-10-binary.tar.gz",
                ("md5", "c32a1d4ab5d03f1284b67883e8d87530"),
                tuple(
                    f"cifar-10-batches-bin/{name}.bin"
                    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
                ),
            ),
        ),
        "",
    ),
    "cifar100": Entry(
        "photographs of 100 classes, 50,000 + 10,000 of 32 x 32 in colour (Krizhevsky 2009)",
        "not stated by the authors",
        "169 MB",
        ("https://www.cs.toronto.edu/~kriz/",),
        (
            File(
                "cifar-100-binary.tar.gz",
                ("md5", "03b5dce01913d631647c71ecec9e9cb8"),
                ("cifar-100-binary/train.bin", "cifar-100-binary/test.bin"),
            ),
        ),
        "",
    ),
    "tinyshakespeare": Entry(
        "plays of Shakespeare, 1,115,394 characters by speaker (Karpathy 2015)",
        "public domain",
        "1 MB",
        ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",),
        (
            File(
                "input.txt",
                ("sha256", "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"),
            ),
        ),
        "input.txt",
    ),
}
