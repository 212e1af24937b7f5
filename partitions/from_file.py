"""Shards from a file with the worker of each sample, or with the samples of each worker."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common.files import LARGEST, read_text, require_plain, whole_number
from partitions.placing import require_parts, shards_of
from partitions.protocol import Partition, Samples

SHOWN = 30
"""Characters of a wrong entry that a message shows."""
SEPARATORS = re.compile(r"[\s,;]+")
NUMERIC = re.compile(r"[+-]*[0-9.]")
"""Start of a number, also of a wrong one."""
REPAIRS = [
    (re.compile("'"), '"'),
    (re.compile(r"\bnp\.u?int[0-9]+\(([0-9]+)\)"), r"\1"),
    (re.compile(r"\barray\((\[[^\]]*\])(, *dtype=[\w.]+)?\)"), r"\1"),
    (re.compile(r"(?<![\w\"'])([0-9]+)\s*:"), r'"\1":'),
    (re.compile(r"\](\s*\")"), r"],\1"),
    (re.compile(r",(\s*[\]}])"), r"\1"),
]
"""Replacements that turn Python's and FedML's text of a dict into JSON.

In this order: quotes, numpy's numbers and arrays, keys without quotes, lists without a comma
between them, a comma behind the last entry.
"""


@dataclass(frozen=True)
class FromFile(Partition):
    """Any skew: the worker of each sample, or the samples of each worker, from a file.

    A text file or an .npy array of whole numbers: the worker, 0 .. W - 1, of each sample in the
    order of the data. Or the samples of each worker: net_dataidx_map of NIID-Bench and FedML, as
    text, JSON or a list of lists. Or a JSON file of LEAF, whose users are the workers, for the same
    samples user by user. Disjoint and covering; draws nothing.
    """

    path: str = field(default="", metadata={"help": "text, CSV, .npy or JSON file", "path": True})

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shards of the file.

        Raises ValueError for a file without one worker a sample, or with a worker without samples.
        """
        require_parts(samples, parts)
        owners = read(self.path, samples.size)
        if len(owners) != samples.size:
            raise ValueError(
                f"{self.path} names the workers of {len(owners)} samples, the data have "
                f"{samples.size}: give one worker for each"
            )
        wrong = np.flatnonzero((owners < 0) | (owners >= parts))
        if wrong.size:
            raise ValueError(
                f"{self.path}, sample {wrong[0]}: worker must be 0 to {parts - 1}, got "
                f"{owners[wrong[0]]}: give --workers {max(int(owners.max()) + 1, 1)}, or another "
                "file"
            )
        sizes = np.bincount(owners, minlength=parts)
        if not sizes.all():
            raise ValueError(
                f"{self.path} gives worker {int(sizes.argmin())} of {parts} no sample, so it could "
                f"not train: number the {np.count_nonzero(sizes)} workers of the file from 0 on, "
                f"and give --workers {np.count_nonzero(sizes)}"
            )
        return shards_of(owners, parts)


def read(name: str, size: int) -> NDArray[np.int64]:
    """Return the worker of each of n = size samples, in the order of the data.

    The result has the length of the file if that names a worker for each sample. Raises ValueError,
    with file, place and value, for anything else.
    """
    if not name:
        raise ValueError("file needs path=NAME, a text with the worker of each sample or an .npy")
    try:
        content = _load(name) if name.endswith(".npy") else read_text(Path(name))
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"partition file {name} cannot be read: {error}") from None
    return _array(name, content) if isinstance(content, np.ndarray) else _text(name, content, size)


def _load(name: str) -> NDArray[Any]:
    """Return the array of an .npy file."""
    require_plain(Path(name))
    try:
        array = np.load(name, mmap_mode="r", allow_pickle=False)  # no larger than the file
    except ValueError:  # numpy's message does not say what the file should be
        array = None
    if not isinstance(array, np.ndarray):
        raise ValueError("it is not an .npy file of numbers: write it by numpy.save(path, workers)")
    return array


def _array(name: str, array: NDArray[Any]) -> NDArray[np.int64]:
    """Return the workers in an array, (n,) or (n, 1)."""
    rule = f"{name} must hold whole numbers (n,), the worker of each sample"
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise ValueError(f"{rule}; got {array.dtype} {array.shape}")
    wrong = np.flatnonzero(~((np.abs(array.astype(float)) < LARGEST) & (array == np.floor(array))))
    if wrong.size:
        raise ValueError(f"{rule}; sample {wrong[0]} is {array[wrong[0]]}")
    owners: NDArray[np.int64] = array.astype(np.int64)
    return owners


def _text(name: str, text: str, size: int) -> NDArray[np.int64]:
    """Return the workers in a text of any form."""
    structured = text.lstrip().startswith(("{", "["))
    return _structured(name, text, size) if structured else _list(name, text)


def _list(name: str, text: str) -> NDArray[np.int64]:
    """Return the workers in a list of numbers, or in a CSV column behind an index."""
    rows: list[list[int]] = []
    names, count = False, 0
    for i, line in enumerate(text.split("\n"), start=1):
        fields = [x.strip("'\"") for x in SEPARATORS.split(line.partition("#")[0]) if x]
        numbers = [whole_number(x) for x in fields]
        if fields and not rows and not names and _is_header(line, fields):
            names = True
        elif fields:
            if None in numbers:
                j = numbers.index(None)
                raise ValueError(
                    f"{name}, line {i}, number {count + j + 1}: must be a whole number, got "
                    f"{_short(fields[j])}: a worker, 0 on, for each sample"
                )
            rows.append([x for x in numbers if x is not None])
            count += len(fields)
    if names and any(len(row) != 1 for row in rows):
        indexed = all(len(row) == 2 and row[0] == i for i, row in enumerate(rows))
        if not indexed:
            raise ValueError(
                f"{name} has several columns: keep the worker of each sample, one a line"
            )
        rows = [row[1:] for row in rows]
    return np.array([x for row in rows for x in row], dtype=np.int64)


def _is_header(line: str, fields: Sequence[str]) -> bool:
    """Return True for names of columns, of which an index may be empty or a 0 of pandas."""
    if line.lstrip().startswith((",", '"",')):
        return True
    return not any(NUMERIC.match(x) for x in fields)


def _structured(name: str, text: str, size: int) -> NDArray[np.int64]:
    """Return the workers in a file of JSON, or of the text form of net_dataidx_map."""
    try:
        content = _parse(text)
    except (ValueError, RecursionError) as error:
        shortened = ": numpy printed ... for most of the numbers" if "..." in text else ""
        raise ValueError(
            f"{name} must list the samples of each worker, as JSON or as net_dataidx_map.txt"
            f"{shortened} ({error})"
        ) from None
    if isinstance(content, dict) and "users" in content:
        return _leaf(name, content, size)
    if isinstance(content, dict):
        keys = [whole_number(key) for key in content]
        shards = list(content.values())
        workers = list(range(len(keys))) if None in keys else [x for x in keys if x is not None]
    elif any(isinstance(x, list) for x in content):
        shards, workers = content, list(range(len(content)))
    else:
        return np.array(_numbers(name, "the list of workers", content), np.int64)
    return _owners(name, workers, shards, size)


def _owners(
    name: str, workers: Sequence[int], shards: Sequence[Any], size: int
) -> NDArray[np.int64]:
    """Return the worker of each of n = size samples, of which each shard lists its own."""
    owners = np.full(size, -1, np.int64)
    for worker, shard in zip(workers, shards, strict=True):
        if worker < 0:
            raise ValueError(f"{name}: workers must be numbered from 0 on, got {worker}")
        for i in _numbers(name, f"worker {worker}", shard):
            if not 0 <= i < size:
                raise ValueError(
                    f"{name}, worker {worker}: the data have the samples 0 to {size - 1}, got {i}: "
                    "the file was made for other data"
                )
            if owners[i] >= 0:
                raise ValueError(
                    f"{name}: sample {i} is of worker {owners[i]} and of worker {worker}: give "
                    "each sample to one worker"
                )
            owners[i] = worker
    missing = np.flatnonzero(owners < 0)
    if missing.size:
        raise ValueError(
            f"{name} gives {size - missing.size} samples to workers, the data have {size}: sample "
            f"{missing[0]} has no worker"
        )
    return owners


def _numbers(name: str, where: str, values: Any) -> list[int]:
    """Return whole numbers in a list of JSON. Raises ValueError for anything else."""
    if not isinstance(values, list):
        raise ValueError(f"{name}, {where}: must be a list of samples, got {_short(values)}")
    numbers = [None if isinstance(x, bool) else whole_number(str(x)) for x in values]
    if None in numbers:
        wrong = values[numbers.index(None)]
        raise ValueError(f"{name}, {where}: must be whole numbers, got {_short(wrong)}")
    return [x for x in numbers if x is not None]


def _leaf(name: str, content: dict[str, Any], size: int) -> NDArray[np.int64]:
    """Return the users of the samples of a LEAF file, in the order of its users."""
    users, data = content["users"], content.get("user_data", {})
    texts = isinstance(users, list) and all(isinstance(x, str) for x in users)
    if not texts or not isinstance(data, dict):
        raise ValueError(
            f"{name}: users must be a list of texts and user_data an object, as LEAF has them"
        )
    counts = content.get("num_samples")
    if counts is None:
        counts = [_labels(data.get(x)) or 0 for x in users]
    counts = _numbers(name, "num_samples", counts)
    if len(counts) != len(users):
        raise ValueError(
            f"{name}: {len(users)} users but num_samples for {len(counts)}: they must agree"
        )
    for user, count in zip(users, counts, strict=True):
        if count < 0 or _labels(data.get(user)) not in (None, count):
            raise ValueError(
                f"{name}: num_samples of user {_short(user)} is {count}, which user_data contradict"
            )
    if sum(counts) != size:
        raise ValueError(
            f"{name} names the users of {sum(counts)} samples, the data have {size}: they must be "
            "the samples of the file, user by user"
        )
    return np.repeat(np.arange(len(users)), counts)


def _labels(entry: Any) -> int | None:
    """Return the number of labels of a user of LEAF; None without labels."""
    labels = entry.get("y") if isinstance(entry, dict) else None
    return len(labels) if isinstance(labels, list) else None


def _parse(text: str) -> Any:
    """Return the content of JSON, or of the text form of a dict of lists or arrays."""
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError:
        for pattern, result in REPAIRS:
            text = pattern.sub(result, text)
        return json.loads(text, object_pairs_hook=_distinct)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of JSON with these members. Raises ValueError for equal names."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a worker is there twice")
    return members


def _short(value: Any) -> str:
    """Return a value for a message, of limited length."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
