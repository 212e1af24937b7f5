"""bench.fetch from the command line, and its catalogue."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.data.catalogue import CATALOGUE, Entry, File
from bench.data.cifar import LAYOUTS
from bench.data.downloads import results
from bench.data.idx import IMAGES
from bench.fetch import main
from tests.launching import launch, own_lines

Capture = pytest.CaptureFixture[str]
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def test_the_list_has_size_and_licence_of_every_data_set(capsys: Capture) -> None:
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    for name, entry in CATALOGUE.items():
        (line,) = re.findall(rf"^{name} +(.*)$", out, re.MULTILINE)
        assert line.startswith(f"{round(entry.size / 1e6)} MB  {entry.licence}")
        assert entry.source in out


def test_a_data_set_comes_from_a_folder_named_like_it(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"A:\nyes\n"
    result = File("a.txt", len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(CATALOGUE, "toy", Entry("toy", "me", "none", (), (result,), "a.txt"))
    (tmp_path / "site" / "toy").mkdir(parents=True)
    (tmp_path / "site" / "toy" / "a.txt").write_bytes(content)
    here = tmp_path / "data"
    command = ["toy", "--to", str(here), "--mirror", (tmp_path / "site").as_uri()]
    assert main(command) == 0
    assert capsys.readouterr().out == f"toy: fetched a.txt; --data {here / 'toy' / 'a.txt'}\n"
    assert (here / "toy" / "a.txt").read_bytes() == content
    assert main([*command[:3], "--mirror", NOWHERE]) == 0
    assert capsys.readouterr().out.startswith("toy: already there and correct; --data ")


def test_without_a_network_one_line_has_the_way_out(tmp_path: Path, capsys: Capture) -> None:
    command = ["mnist", "--to", str(tmp_path), "--mirror", NOWHERE]
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert (
        "there seems to be no network: http://127.0.0.1:9/mnist/train-images-idx3-ubyte.gz" in err
    )
    assert all(file.name in err for file in CATALOGUE["mnist"].files)
    assert list((tmp_path / "mnist").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnits"], "unknown data set 'mnits' (did you mean mnist?); known: cifar10, "),
        ([], "name a data set: mnist, "),
        (["mnist", "--mirror", "host/x"], "--mirror must begin with http:// or https:// or file"),
        (["mnist", "--too", "x"], "unrecognized arguments: --too x; see --help"),
        (["mnist", "--to", "/dev/null"], "--to /dev/null: /dev/null/mnist cannot be written: Not"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, capsys: Capture) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: {message}")


def test_one_of_several_ranks_works() -> None:
    """Programs without MPI run once for a launch, and give its exit code."""
    done = launch(2, "-m", "bench", "fetch", "minst")
    assert done.returncode == 2
    known = f"known: {', '.join(sorted(CATALOGUE))}"
    message = f"error: unknown data set 'minst' (did you mean mnist?); {known}"
    assert own_lines(done.stderr) == [message]


def test_it_needs_no_torch_no_mpi_and_no_reader() -> None:
    code = (
        "import sys; from bench.fetch import main; main(['--list']);"
        "print([m for m in ('torch', 'mpi4py', 'h5py', 'numpy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", CATALOGUE)
def test_readers_find_the_files_of_the_catalogue(name: str, tmp_path: Path) -> None:
    entry = CATALOGUE[name]
    assert all(re.fullmatch(r"https?://\S+/", place) for place in entry.places)
    assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) for file in entry.files)
    files = [path.name for file in entry.files for path in results(file, tmp_path)]
    assert len({*files}) == len(files)
    assert entry.use in ("", *files)
    pictures = [match for match in map(IMAGES.fullmatch, files) if match]
    tested = {match["split"] for match in pictures if match["set"] != "train"}
    assert {match["split"] for match in pictures if match["set"] == "train"} == tested
    for match in pictures:
        assert match[0].replace("images-idx3", "labels-idx1") in files
    batches = {layout for layout in LAYOUTS if layout.held_out in files}
    assert bool(pictures) + len(batches) + files[0].endswith(".txt") == 1
