"""Data at a path: choice of the reader, held-out samples, the digest, and checks of memory."""

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.common.limits import HOST, Pool
from bench.common.spec import UserError
from bench.data import sums
from bench.data.checking import amount, local_ranks, require_memory
from bench.data.opening import digest, open_data
from tests.bench.made_data import numbered_pictures, refusal, text_file, write_pictures


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.floats(0.01, 0.99))
def test_a_single_set_is_separated_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, count: int, part: float
) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    images, labels = numbered_pictures(count)
    write_pictures(folder, "t10k-{}-ubyte", images, labels)
    if not 0 < round(part * count) < count:
        message = refusal(folder, part)
        assert "to evaluate: both need at least one" in message
        return
    one, other = open_data(str(folder), part), open_data(str(folder), part)
    train_rows, judged = (
        table.rows(np.arange(table.size))[:, 0, 0] for table in (one.train, one.held_out)
    )
    assert len(judged) == round(part * count)
    assert sorted([*train_rows, *judged]) == list(range(count))
    for numbers, table in ((train_rows, one.train), (judged, one.held_out)):
        assert (np.diff(numbers.astype(int)) > 0).all()
        np.testing.assert_array_equal(table.labels, numbers % 5)
    np.testing.assert_array_equal(other.held_out.labels, one.held_out.labels)
    shutil.rmtree(folder)


def test_the_held_out_fraction_of_ten_thousand_is_exact(tmp_path: Path) -> None:
    labels = (np.arange(10_000) % 10).astype(np.uint8)
    write_pictures(tmp_path, "t10k-{}-ubyte", np.zeros((10_000, 1, 1), np.uint8), labels)
    actual = open_data(str(tmp_path), 0.2)
    assert (actual.train.size, actual.held_out.size, actual.classes) == (8000, 2000, 10)
    # drawn from all over the file: each class to within 4 standard deviations of its mean
    assert abs(np.bincount(actual.held_out.labels) - 200).max() < 4 * np.sqrt(2000 * 0.09)


@pytest.mark.parametrize("name", ["", "missing", "a.parquet", "folder"])
def test_unknown_formats_are_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    text_file(tmp_path, "a.parquet", "PAR1")
    (tmp_path / "folder").mkdir()
    message = refusal(tmp_path / name)
    assert message.startswith(f"--data {tmp_path / name} ")
    for kind in ("train-images-idx3-ubyte", "data_batch_*.bin", ".h5", ".csv", ".svmlight"):
        assert kind in message


def test_errors_of_the_system_become_user_errors(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 300)
    assert refusal(path) == f"{path} cannot be read: File name too long"


def test_the_digest_equals_sha256sum(tmp_path: Path) -> None:
    images, labels = numbered_pictures(3)
    write_pictures(tmp_path, "train-{}-ubyte.gz", images, labels)
    write_pictures(tmp_path, "t10k-{}-ubyte", images, labels)
    names = sorted(path.name for path in tmp_path.iterdir())

    def summed(*arguments: str, stdin: str | None = None) -> str:
        command = ["sha256sum", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, input=stdin, capture_output=True, text=True, check=True
        ).stdout

    whole = digest(str(tmp_path))
    assert whole == summed(stdin=summed(*names)).split()[0]
    text_file(tmp_path, "README.md", "is not read")
    assert digest(str(tmp_path)) == whole
    text = text_file(tmp_path, "input.txt", "a text")
    assert digest(text) == summed("input.txt").split()[0]


def test_too_little_memory_is_refused_with_both_numbers(tmp_path: Path) -> None:
    pools = [Pool(HOST, 2**21)]
    fits, data = int(0.9 * 2**21), tmp_path / "x"
    require_memory(data, fits, pools, {})
    require_memory(data, 2**60, [], {})
    with pytest.raises(UserError, match=r"x needs 1\.8 MiB of memory, 2\.0 MiB are available: put"):
        require_memory(data, fits + 1, pools, {})
    four = {"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}
    require_memory(data, fits // 4, pools, four)
    with pytest.raises(UserError, match="on each of 4 ranks of this host"):
        require_memory(data, fits // 4 + 1, pools, four)
    own = [Pool("ulimit -v", 2**21, private=True)]
    require_memory(data, fits, own, four)  # each rank has one of its own
    with pytest.raises(UserError, match=r"2\.0 MiB are available within ulimit -v: put"):
        require_memory(data, fits + 1, own, four)


def test_local_ranks_and_formatted_bytes() -> None:
    assert local_ranks({}) == 1
    assert local_ranks({"SLURM_STEP_TASKS_PER_NODE": "16(x2),3"}) == 16
    assert [amount(x) for x in (7, 1536, 2**40)] == ["7 bytes", "1.5 KiB", "1,024.0 GiB"]


@pytest.fixture
def large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a new file that counts as large, where the cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sums, "LARGE", 1)
    file = tmp_path / "data.csv"
    file.write_text("x\n")
    return file


def test_sums_of_large_files_outlive_the_process(
    large_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "SETTLED_NS", 0)
    expected = sums.sha256_of(large_file)
    (entry,) = sums.cache_folder().iterdir()
    assert entry.read_text() == expected == sha256(b"x\n").hexdigest()
    entry.write_text("0" * 64)
    monkeypatch.setattr(sums, "_SUMS", {})
    assert sums.sha256_of(large_file) == "0" * 64  # read from the cache
    entry.write_text("damage")
    monkeypatch.setattr(sums, "_SUMS", {})
    assert sums.sha256_of(large_file) == expected
    large_file.write_text("y\n")
    assert sums.sha256_of(large_file) == sha256(b"y\n").hexdigest()


def test_a_file_that_has_just_changed_is_not_kept(large_file: Path) -> None:
    assert sums.sha256_of(large_file) == sha256(b"x\n").hexdigest()
    assert not sums.cache_folder().exists()
