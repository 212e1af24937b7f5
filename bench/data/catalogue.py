"""Open data sets for bench.fetch: addresses, sizes and checksums.

Sizes and SHA-256 are those checked by TensorFlow Datasets (its url_checksums/*.txt), each confirmed
by other projects; the MD5 sums given by torchvision and by the authors' pages belong to the same
files. Those of MNIST's test set and of the text were also computed from the files themselves.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """File in an archive: its path there, and its size in bytes if known."""

    path: str
    size: int | None = None


@dataclass(frozen=True)
class File:
    """File to download: its name, size in bytes and SHA-256.

    unpacks: members to take out of an archive, .tar.gz or .zip, which is deleted afterwards.
    """

    name: str
    size: int
    sha256: str
    unpacks: tuple[Member, ...] = ()


@dataclass(frozen=True)
class Entry:
    """Data set to download.

    places: base addresses of its files, in order of preference. use: path for --data, relative to
    the folder of the data set; empty for the folder itself.
    """

    title: str
    source: str
    licence: str
    places: tuple[str, ...]
    files: tuple[File, ...]
    use: str = ""

    @property
    def size(self) -> int:
        """Return the number of bytes to download."""
        return sum(file.size for file in self.files)


def _idx(*files: tuple[int, str]) -> tuple[File, ...]:
    """Return the files of MNIST and its family: images and labels to train, then to test."""
    names = (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    )
    return tuple(File(name, *file) for name, file in zip(names, files, strict=True))


CIFAR = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
EMNIST = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")

CATALOGUE: dict[str, Entry] = {
    "mnist": Entry(
        "handwritten digits, 60,000 + 10,000 of 28 x 28",
        "LeCun, Bottou, Bengio, Haffner, Proceedings of the IEEE 86(11), 1998",
        "CC BY-SA 3.0",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        _idx(
            (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
    ),
    "fashion_mnist": Entry(
        "clothes, 60,000 + 10,000 of 28 x 28",
        "Xiao, Rasul, Vollgraf, arXiv:1708.07747, 2017",
        "MIT",
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        _idx(
            (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
    ),
    "kmnist": Entry(
        "cursive Japanese, 60,000 + 10,000 of 28 x 28",
        "Clanuwat, Bober-Irizar, Kitamoto, Lamb, Yamamoto, Ha, arXiv:1812.01718, 2018",
        "CC BY-SA 4.0",
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        _idx(
            (18165135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
            (29497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
            (3041136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
            (5120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
        ),
    ),
    "emnist": Entry(
        "handwritten letters and digits of 28 x 28, six sets of 70,000 to 814,255",
        "Cohen, Afshar, Tapson, van Schaik, IJCNN 2017",
        "not stated by the authors",
        (
            "https://biometrics.nist.gov/cs_links/EMNIST/",
            "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/",
        ),
        (
            File(
                "gzip.zip",
                561753746,
                "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
                tuple(
                    Member(f"gzip/emnist-{split}-{part}-{kind}-ubyte.gz")
                    for split in EMNIST
                    for part in ("train", "test")
                    for kind in ("images-idx3", "labels-idx1")
                ),
            ),
        ),
        "emnist-balanced-train-images-idx3-ubyte.gz",
    ),
    "cifar10": Entry(
        "photographs of 10 classes, 50,000 + 10,000 of 32 x 32 in colour",
        "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        "not stated by the author",
        CIFAR,
        (
            File(
                "cifar-10-binary.tar.gz",
                170052171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                tuple(
                    Member(f"cifar-10-batches-bin/{name}.bin", 10_000 * 3073)
                    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
                ),
            ),
        ),
    ),
    "cifar100": Entry(
        "photographs of 100 classes, 50,000 + 10,000 of 32 x 32 in colour",
        "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        "not stated by the author",
        CIFAR,
        (
            File(
                "cifar-100-binary.tar.gz",
                168513733,
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                (
                    Member("cifar-100-binary/train.bin", 50_000 * 3074),
                    Member("cifar-100-binary/test.bin", 10_000 * 3074),
                ),
            ),
        ),
    ),
    "tinyshakespeare": Entry(
        "plays of Shakespeare by speaker, 1,115,394 characters",
        "Karpathy, The Unreasonable Effectiveness of Recurrent Neural Networks, 2015",
        "public domain",
        ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",),
        (
            File(
                "input.txt",
                1115394,
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
        "input.txt",
    ),
}
