"""Topology from a file: the links it reads and its error messages."""

import re
from pathlib import Path

import numpy as np
import pytest

from algorithms.topologies.file import File
from algorithms.topologies.mixing import check, topology_name
from algorithms.topologies.ring import Ring


def write(folder: Path, text: str, name: str = "links.txt") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_lines_and_lists_give_the_same_links(tmp_path: Path) -> None:
    lines = "# a ring of four\n" + "".join(
        f"{i} {(i + step) % 4}  # hop {step}\n" for i in range(4) for step in (1, 3, 0, 1)
    )
    lists = "[[1, 3], [0, 2], [1, 3, 3], [0, 2]]"
    ring = Ring().links(4, 0, np.random.default_rng())
    for text, name in ((lines + "\n", "links.txt"), (lists, "links.json")):
        file = File(path=write(tmp_path, text, name))
        check(file, 4)
        links = file.links(4, 3, np.random.default_rng())
        np.testing.assert_array_equal(links.source, ring.source)
        np.testing.assert_array_equal(links.target, ring.target)
        assert (file.period(4), file.size(4), topology_name(file)) == (1, 8, "file")
        assert file == File(path=file.path)
        assert hash(file) == hash(File(path=file.path))


def test_one_way_links_of_a_cycle_are_accepted(tmp_path: Path) -> None:
    file = File(path=write(tmp_path, "0 1\n1 2\n2 0\n"))
    assert not file.links(3, 0, np.random.default_rng()).symmetric


WRONG = {
    "0 1\n1 x\n": "line 2: write `source target`, two whole numbers from 0, got '1 x'",
    "0 1\n1 99999999999999999999\n": "line 2: write `source target`, two whole numbers from 0, got",
    "0 1\n\n1 -2\n": "line 3: write `source target`, two whole numbers from 0, got '1 -2'",
    "0 1 2\n": "line 1: write `source target`",
    "0 1.5\n": "line 1: write `source target`",
    "# nothing\n": "has no links",
    "": "has no links",
    "[[], []]": "has no links",
    "0 1\n1 0\n3 0\n0 3\n": "worker 2 has no link, and worker 3 has: number the workers from 0",
    "0 99999999999\n": "worker 1 has no link",
    "0 1\n": "no way leads to worker 0 from worker 1",
    "1 0\n": "no way leads from worker 0 to worker 1",
    "0 1\n1 0\n2 3\n3 2\n": "no way leads from worker 0 to worker 2",
    "[[1],\n[0]": "line 2: ",
    "[[1], 0]": "entry 1: write the list of the out-neighbours of 1",
    "[[1], [-1]]": "entry 1: write the list",
    "[[1], [true]]": "entry 1: write the list",
    '{"0": [1]}': "write a list of lists",
}


def test_errors_are_one_line_with_the_position(tmp_path: Path) -> None:
    for text, message in WRONG.items():
        path = write(tmp_path, text)
        with pytest.raises(ValueError, match=re.escape(message)) as error:
            File(path=path)
        assert str(error.value).startswith(path)
        assert "\n" not in str(error.value)


def test_another_number_of_workers_is_rejected(tmp_path: Path) -> None:
    path = write(tmp_path, "0 1\n1 0\n1 2\n2 1\n")
    file = File(path=path)
    with pytest.raises(ValueError, match=r"line 3: worker numbers must be below W = 2.* goes to 2"):
        check(file, 2)
    with pytest.raises(ValueError, match=r"links 3 workers, got W = 5: take 3 workers"):
        check(file, 5)
    with pytest.raises(ValueError, match="below W = 2"):
        file.links(2, 0, np.random.default_rng())


def test_an_unreadable_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.txt cannot be read: No such file"):
        File(path=str(tmp_path / "nowhere.txt"))
    binary = tmp_path / "b.txt"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read: the file is UTF-16: save it as UTF-8"):
        File(path=str(binary))
