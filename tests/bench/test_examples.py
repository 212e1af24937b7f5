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
from tests.launching import launch
from tests.test_docs import text

FOLDER = ROOT / "docs" / "examples"
BLOCKS = re.findall(r"^```\n(.*?)^```", text("docs/examples.md"), re.DOTALL | re.MULTILINE)


def run(line: str) -> int:
    """Run a command of the page, with mpirun in processes of its own."""
    words = shlex.split(line.replace("docs/examples", str(FOLDER)))
    if words[0] == "mpirun":
        result = launch(int(words[2]), *words[4:])
        assert result.returncode == 0, result.stderr
        print(result.stdout)
        return 0
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
    assert [run(line) for line in BLOCKS[0].splitlines()] == [0, 0, 0, 0]
    results = sorted(Path("runs").glob("*.h5"))
    assert [path.stem for path in results[:1] + results[2:]] == ["own_loop", "task"]
    assert [list(flaws(path)) for path in results] == [[], [], []]
    printed = capsys.readouterr().out
    assert float(re.findall(r"largest difference of a parameter: (\S+)", printed)[0]) < 1e-4
    assert "median step: " in printed
    gossip = read(results[1])
    assert gossip.evals["metric"][-1] < gossip.evals["metric"][0] / 2


def test_launches_are_compared_as_written() -> None:
    *runs, compare = BLOCKS[1].splitlines()
    assert [run(line) for line in runs] == [0, 0]
    assert run(compare) in (0, 1, 3)
