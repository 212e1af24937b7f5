"""Shards of a file: invalid files are refused in one line with the way out."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from partitions.from_file import FromFile
from partitions.protocol import Samples


def split(path: Path, n: int, parts: int) -> list[NDArray[np.int64]]:
    return FromFile(str(path)).split(Samples(np.zeros(n, int)), parts, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\n1\n\n1.5\n", "line 4, number 3: must be a whole number, got '1.5': a worker, 0 on"),
        ("0\n²\n", "line 2, number 2: must be a whole number, got '²'"),
        ("--1\n", "line 1, number 1: must be a whole number, got '--1'"),
        ("0 0x1\n", "line 1, number 2: must be a whole number, got '0x1'"),
        ("7" * 10**5, r"got '7777777777777777777777777777\d* \.\.\.: a worker"),
        ("1e18\n", "line 1, number 1: must be a whole number, got '1e18'"),
        ("id,worker\n5,0\n7,1\n8,0\n9,0\n", "has several columns: keep the worker of each"),
        ("1" * 30, "line 1, number 1: must be a whole number, got '1111"),
        ("0\n-1\n1\n0\n", "sample 1: worker must be 0 to 1, got -1: give --workers 2, or another"),
        ("", "names the workers of 0 samples, the data have 4: give one worker for each"),
    ],
)
def test_an_invalid_text_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "owners.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        split(file, 4, 2)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_invalid_array_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "owners.npy"
    for array, message in (
        (
            np.array([0, 1, 0.5, 1]),
            r"numbers \(n,\), the worker of each sample; sample 2 is 0.5",
        ),
        (np.array([0, 1, np.nan, 1]), "the worker of each sample; sample 2 is nan"),
        (np.array([0, 2**63, 1, 1], np.uint64), "the worker of each sample; sample 1 is 9223372"),
        (np.zeros(4, complex), r"the worker of each sample; got complex128 \(4,\)"),
        (np.zeros((2, 2), int), r"the worker of each sample; got int64 \(2, 2\)"),
        (np.array([{}]), r"is not an \.npy file of numbers: write it by"),
    ):
        np.save(file, array)
        with pytest.raises(ValueError, match=message):
            split(file, 4, 2)
    with file.open("wb") as stream:
        np.savez(stream, owners=np.zeros(4, int))
    with pytest.raises(ValueError, match=r"is not an \.npy file of numbers: write it by"):
        split(file, 4, 2)
    for content in (b"", b"0 1 0 1", b"\x93NUMPY\x01\x00v\x00{"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"owners\.npy") as error:
            split(file, 4, 2)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"partition file .* cannot be read"):
        split(tmp_path, 4, 2)


def test_a_gap_in_the_numbers_is_refused_with_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "owners.npy"
    owners = np.array([0, 3, 3, 1, 0])
    np.save(file, owners)
    with pytest.raises(ValueError, match=r"worker 2 of 4 no sample.* 3 workers .* --workers 3"):
        split(file, 5, 4)
    np.save(file, np.unique(owners, return_inverse=True)[1].astype(np.uint8))
    assert [shard.tolist() for shard in split(file, 5, 3)] == [[0, 4], [3], [1, 2]]


OWNERS = np.array([2, 0, 1, 1, 0, 2, 2, 0])
SHARDS = [np.flatnonzero(worker == OWNERS).tolist() for worker in range(3)]
COUNTS = [len(shard) for shard in SHARDS]


def lines(form: str) -> str:
    return "".join(f"{form.format(owner)}\n" for owner in OWNERS)


@pytest.mark.parametrize(
    "text",
    [
        lines("{:.18e}"),  # numpy.savetxt
        lines("{}.0"),
        "\ufeff" + lines("{}").replace("\n", "\r\n"),
        "# worker\n" + lines("{}"),
        "worker\n" + lines("{}"),
        ",".join(map(str, OWNERS)),
        ",0\n" + "".join(f"{i},{x}\n" for i, x in enumerate(OWNERS)),  # Series.to_csv of pandas
        ",worker\n" + "".join(f"{i},{x}.0\n" for i, x in enumerate(OWNERS)),
        json.dumps(OWNERS.tolist()),
        json.dumps(OWNERS.astype(float).tolist()),
        json.dumps(SHARDS),
        json.dumps(dict(enumerate(SHARDS))),
        json.dumps({f"client_{k}": shard for k, shard in enumerate(SHARDS)}),
        str(dict(enumerate(SHARDS))),
        str({k: np.array(shard) for k, shard in enumerate(SHARDS)}),
        str({k: list(np.array(shard)) for k, shard in reversed([*enumerate(SHARDS)])}),
        str([np.array(shard) for shard in SHARDS]),
        "{\n" + "\n".join(f"{k}: [\n{str(x)[1:-1]}]" for k, x in enumerate(SHARDS)) + "\n}",
        "{\n" + "".join(f"{k}: [\n{str(x)[1:-1]},\n],\n" for k, x in enumerate(SHARDS)) + "}\n",
    ],
)
def test_owners_and_shards_of_other_suites_are_read(tmp_path: Path, text: str) -> None:
    file = tmp_path / "net_dataidx_map.txt"
    file.write_text(text, newline="")
    assert [shard.tolist() for shard in split(file, 8, 3)] == SHARDS


@pytest.mark.parametrize("kind", [float, np.float16, np.uint8, ">i4", ">f8"])
@pytest.mark.parametrize("shape", [(8,), (8, 1)])
def test_owners_of_any_kind_of_number_are_read(
    tmp_path: Path, kind: type | str, shape: tuple[int, ...]
) -> None:
    np.save(tmp_path / "owners.npy", OWNERS.astype(kind).reshape(shape))
    assert [shard.tolist() for shard in split(tmp_path / "owners.npy", 8, 3)] == SHARDS


@pytest.mark.parametrize("left_out", ["", "num_samples", "user_data"])
def test_the_users_of_leaf_are_the_workers(tmp_path: Path, left_out: str) -> None:
    users = ["f0", "f1", "f2"]
    data = {user: {"x": [[0.5]] * n, "y": [1] * n} for user, n in zip(users, COUNTS, strict=True)}
    content = {"users": users, "num_samples": COUNTS, "user_data": data, "hierarchies": []}
    content.pop(left_out, None)
    file = tmp_path / "all_data.json"
    file.write_text(json.dumps(content))
    assert [shard.tolist() for shard in split(file, 8, 3)] == [[0, 1, 2], [3, 4], [5, 6, 7]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{0: [0, 1], 1: [2, 4]}", "worker 1: the data have the samples 0 to 3, got 4: the file"),
        ("{0: [0, 1], 1: [1, 2, 3]}", "sample 1 is of worker 0 and of worker 1"),
        ("{0: [0, 1], 1: [3]}", "gives 3 samples to workers, the data have 4: sample 2 has no wor"),
        ("{0: [0, 1], 0: [2, 3]}", "a worker is there twice"),
        ("{0: [0, 1], 1: [2, ..., 3]}", r"numpy printed \.\.\. for most of the numbers"),
        ("{0: [0, 1], 1: [2, 3", "must list the samples of each worker, as JSON or as net_dataidx"),
        ("[" * 10**5, "must list the samples of each worker"),
        ('{"0": [0, 1], "1": {"x": 1}}', "worker 1: must be a list of samples, got"),
        ('{"0": [0, 1], "1": [2, true]}', "worker 1: must be whole numbers, got True"),
        ('{"-1": [0, 1], "1": [2, 3]}', "workers must be numbered from 0 on, got -1"),
        ("[[0, 1], 2]", "worker 1: must be a list of samples, got 2"),
        ('[0, 1, "x", 0]', "the list of workers: must be whole numbers, got 'x'"),
        ('{"users": ["a"], "num_samples": [3]}', "names the users of 3 samples, the data have 4"),
        ('{"users": ["a", "b"], "num_samples": [4]}', "2 users but num_samples for 1"),
        ('{"users": 3}', "users must be a list of texts and user_data an object"),
        ('{"users": [["a"]], "num_samples": [4]}', "users must be a list of texts and user_data"),
        (
            '{"users": ["a"], "num_samples": [4], "user_data": {"a": {"x": [], "y": []}}}',
            "num_samples of user 'a' is 4, which user_data contradict",
        ),
        ('{"users": ["a", "b"], "num_samples": [1e15, 1e15]}', "names the users of 2000000000"),
    ],
)
def test_invalid_shards_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "map.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        split(file, 4, 2)
    assert str(file) in str(error.value)
    assert len(str(error.value)) < 300
    assert "\n" not in str(error.value)


def test_owners_in_utf16_are_refused_as_such(tmp_path: Path) -> None:
    file = tmp_path / "owners.txt"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        file.write_text(lines("{}"), encoding=encoding)
        with pytest.raises(ValueError, match=r"owners.txt cannot be read: the file is UTF-\d\d: s"):
            split(file, 8, 3)
