"""The examples of the documentation run as written."""

import re
import runpy
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from bench.results.reader import read
from bench.results.validation import flaws
from tests.imports import ROOT
from tests.test_docs import text

FOLDER = ROOT / "docs" / "examples"
BLOCKS = re.findall(r"^```\n(.*?)^```", text("docs/examples.md"), re.DOTALL | re.MULTILINE)


def run(line: str) -> int:
    """Run a command of the page without mpirun."""
    words = shlex.split(line.replace("docs/examples", str(FOLDER)))
    assert words[0] == "python"
    if words[1] == "-m":
        name = f"{words[2]}.__main__" if (ROOT / words[2].replace(".", "/")).is_dir() else words[2]
        code: int = import_module(name).main(words[3:])
        return code
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", words[1:])
        runpy.run_path(words[1], run_name="__main__")
    return 0


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_script_is_on_the_page() -> None:
    names = {path.name for path in FOLDER.glob("*.py")}
    assert names == {
        Path(x).name for x in re.findall(r"\((examples/\w+\.py)\)", text("docs/examples.md"))
    }
    assert all(name in BLOCKS[0] for name in names)


def test_scripts_run_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    loop, *lines = BLOCKS[0].splitlines()
    assert loop == "mpirun -n 2 python docs/examples/own_loop.py"  # test_loop_ranks.py runs it
    assert [run(line) for line in lines] == [0, 0, 0]
    other, task = sorted(Path("runs").glob("*.h5"))
    assert task.stem == "task"
    assert [list(flaws(path)) for path in (other, task)] == [[], []]
    assert "median step: " in capsys.readouterr().out
    gossip = read(other)
    assert gossip.evals["metric"][-1] < gossip.evals["metric"][0] / 2


def test_launches_are_compared_as_written() -> None:
    *runs, compare = BLOCKS[1].splitlines()
    assert [run(line) for line in runs] == [0, 0]
    assert run(compare) in (0, 1, 3)
