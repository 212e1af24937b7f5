"""Results with attributes of other types, and data in other files, in each reader."""

from __future__ import annotations

import hashlib
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5d

from bench.merge import main as merge
from bench.report import main as report
from bench.reporting.loading import load
from bench.results import contents
from bench.results.contents import check_own
from bench.results.guard import BrokenFileError
from bench.results.reader import read as read_run
from bench.results.schema import ATTRIBUTES, CONTAINERS, SETTINGS
from bench.results.validation import flaws
from bench.runtime.checkpoint import store
from bench.runtime.checkpoint.resuming import has_run
from bench.trace.__main__ import main as trace
from bench.watch.folder import BROKEN, view
from slurm.states import read_mark
from tests.bench.made_measurements import make_calls, make_chaos, make_rounds, make_simulation
from tests.bench.made_runs import make

OTHERS = ([1.5, 2.5], np.array(["a", "b"], object), "x", 3, 2.5, h5py.Empty("f4"))
"""Values of every type that an attribute can have."""
MAKERS: dict[str, Callable[[Path], Any]] = {
    "train": make,
    "collectives": lambda path: make_calls(path, {8: {"ring": 4.0, "library": 2.0}}),
    "consensus": lambda path: make_rounds(path, {"ring": 0.5}),
    "simulate": make_simulation,
    "chaos": lambda path: make_chaos(path, {"calm": 0, "adopt": 20}),
}


def check_readers(path: Path) -> str:
    """Run the readers of a file in this process; return the reason of the report, if any.

    They may accept the file or report it as broken, but not fail in any other way.
    """
    assert view(path, 0.0).status
    assert isinstance(flaws(path), list)
    assert trace([str(path), "-o", str(path.with_suffix(".json"))]) in (0, 2)
    try:
        load(path)
    except BrokenFileError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("program", MAKERS)
def test_an_attribute_of_another_type_is_a_broken_file(program: str, tmp_path: Path) -> None:
    good = tmp_path / "good.h5"
    MAKERS[program](good)
    with h5py.File(good) as file:
        names = [x for x in file.attrs if any(x in some for some in ATTRIBUTES.values())]
    assert len(names) > 10
    assert check_readers(good) == ""
    content = good.read_bytes()
    for name in names:
        for value in (OTHERS[0], OTHERS[2 if name in ATTRIBUTES[int] else 3]):
            (path := tmp_path / "bad.h5").write_bytes(content)
            with h5py.File(path, "r+") as file:
                file.attrs[name] = value
            if name in ATTRIBUTES[float] and value == 3:
                continue  # a number
            assert check_readers(path), (name, value)


@pytest.mark.parametrize("name", sorted(SETTINGS | CONTAINERS.keys()))
def test_a_setting_of_another_type_is_a_broken_file(name: str, tmp_path: Path) -> None:
    for value in ([1], {"a": {"b": [2]}}) if name not in CONTAINERS else (7, "x"):
        make(tmp_path / "bad.h5", params={name: value})
        assert "params_json" in check_readers(tmp_path / "bad.h5")
        assert view(tmp_path / "bad.h5", 0.0).status == BROKEN


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{", '{"options": {"algorithm": 3}}'])
def test_settings_that_are_no_object_are_a_broken_file(text: str, tmp_path: Path) -> None:
    make(tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "r+") as file:
        file.attrs["params_json"] = text
    assert "params_json" in check_readers(tmp_path / "bad.h5")


@pytest.mark.parametrize("values", [[1.5, 2.5], np.zeros(2, "i4,f8")], ids=["floats", "compound"])
def test_a_column_of_another_type_is_a_broken_file(values: Any, tmp_path: Path) -> None:
    MAKERS["collectives"](tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "r+") as file:
        rows = len(file["rows/algorithm"])
        for name in ("algorithm", "op"):
            del file[f"rows/{name}"]
            file[f"rows/{name}"] = np.resize(values, rows)
    assert "has the dtype" in check_readers(tmp_path / "bad.h5")


def test_one_bad_file_leaves_the_report_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("good", "bad"):
        make(tmp_path / f"{name}.h5")
    with h5py.File(tmp_path / "bad.h5", "r+") as file:
        file.attrs["optimizer"] = [1, 2]
    assert report([str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "1 of 2 files read" in out
    assert err.splitlines() == [
        f"left out: {tmp_path / 'bad.h5'}: attribute optimizer is not one text"
    ]
    assert report(["--validate", str(tmp_path)]) == 1


def _external(file: h5py.File, secret: Path) -> None:
    file["train/extra"] = h5py.ExternalLink(str(secret), "/x")


def _virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource(str(secret), "x", (4,))
    file.create_virtual_dataset("train/extra", layout)


def _raw(file: h5py.File, secret: Path) -> None:
    file.create_dataset("train/extra", (4,), "u1", external=[(str(secret), 0, 4)])


def _soft(file: h5py.File, secret: Path) -> None:
    file["train/extra"] = h5py.SoftLink("/train/loss")


def _vast(file: h5py.File, secret: Path) -> None:
    zeros = file.create_dataset("train/extra", (2**27,), "f8", chunks=(2**20,), compression="gzip")
    zeros[: 2**20] = 0


PLACES = {f.__name__: f for f in (_external, _virtual, _raw, _soft, _vast)}


@pytest.mark.parametrize("place", PLACES)
def test_data_elsewhere_are_refused_by_all_that_open_files(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (secret := tmp_path / "secret").write_bytes(b"a secret text")
    path, part = tmp_path / "x.h5", tmp_path / "x.h5.rank00001"
    for some in (path, part):
        make(some)
        check_own(some)
        with h5py.File(some, "r+") as file:
            PLACES[place](file, secret)
    with pytest.raises(BrokenFileError, match=r"train/extra|is not a hard link"):
        check_own(part)
    assert flaws(path)
    before = path.read_bytes()
    assert merge([str(path)]) == 2
    assert path.read_bytes() == before
    assert capsys.readouterr().err.count("\n") == 1
    fresh = store.begin(tmp_path / "x.h5.checkpoint", 10)
    store.write_rank(fresh, 0, {"a": np.zeros(3)})
    with h5py.File(fresh / store.rank_file(0), "r+") as file:
        file.create_group("train")
        PLACES[place](file, secret)
    image = (fresh / store.rank_file(0)).read_bytes()
    entry = {"bytes": len(image), "sha256": hashlib.sha256(image).hexdigest()}
    manifest = store.Manifest(10, 0, 1, 1, "", {}, "", [entry], {}, {}, {}, [{}])
    checkpoint = store.complete(fresh, manifest)
    with pytest.raises(store.DamagedError):
        store.check(checkpoint, manifest, 0)


@pytest.mark.usefixtures("new_readers")
def test_a_file_that_crashes_hdf5_is_broken_for_every_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.h5"
    make(bad)
    values_of, process = contents._values, os.getpid()

    def crash(data: h5d.DatasetID, path: str, size: int) -> Any:
        if path.endswith("eval/metric"):
            assert os.getpid() != process, "read before another process has read it"
            os.kill(os.getpid(), signal.SIGSEGV)
        return values_of(data, path, size)

    monkeypatch.setattr(contents, "_values", crash)
    crashed = f"{bad}: the HDF5 library crashes on it"
    for read in (check_own, read_mark, read_run):
        with pytest.raises(BrokenFileError, match=re.escape(crashed)):
            read(bad)
    assert (view(bad, 0.0).status, view(bad, 0.0).reason) == (BROKEN, crashed.partition(": ")[2])
    assert not has_run(bad, {}, named=True)
    make(tmp_path / "bad.h5.rank00001")
    assert merge([str(bad)]) == 2
    assert trace([str(bad), "--out", str(tmp_path / "trace.json")]) == 2
    assert capsys.readouterr().err.count(crashed) == 2
    assert report([str(bad)]) == 2


def test_unknown_attributes_of_any_type_are_left_alone(tmp_path: Path) -> None:
    make(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        for i, value in enumerate(OTHERS):
            file.attrs[f"note_{i}"] = value
    assert check_readers(tmp_path / "x.h5") == ""
