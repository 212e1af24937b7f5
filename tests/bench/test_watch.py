"""bench.watch as users run it: beside a real run, on a terminal and in a pipe."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from bench.common.cli import INTERRUPTED
from bench.results.schema import FAILED, RUNNING
from bench.watch.__main__ import main
from bench.watch.display import WatchOptions, show
from bench.watch.folder import Watched
from tests.bench.made_runs import make
from tests.launching import DEADLINE_S, command

ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
GONE: dict[str, Any] = {"pid": 1, "pid_started": "never"}


class Terminal:
    """bench.watch on a terminal of its own, 80 columns wide and 24 lines high."""

    def __init__(self, *arguments: str) -> None:
        self.fd, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        free = {k: x for k, x in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.watch", *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=free | {"TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(inner)
        self.text = ""

    def read(self, until: str = "") -> None:
        """Read until a text arrives, else to the end."""
        while not until or until not in self.text:
            try:
                some = os.read(self.fd, 65536)
            except OSError:  # nobody writes any more
                break
            self.text += some.decode(errors="replace")

    def end(self) -> int:
        """Read to the end; return the exit code."""
        self.read()
        os.close(self.fd)
        return self.process.wait(DEADLINE_S)


STEPWISE = """
import sys, time
from pathlib import Path
from bench.results.recorder import Recorder
from bench.results.runfile import RunFile
from bench.train import main

step, flush, steps = Recorder.step, RunFile.flush, []

def wait(self, *arguments):
    step(self, *arguments)
    steps.append(arguments)
    while len(steps) in (150, 350) and not Path(place, str(len(steps))).exists():
        time.sleep(0.01)

place = sys.argv.pop(1)
Recorder.step = wait
RunFile.flush = lambda self, **_: flush(self, now=True)
sys.exit(main())
"""
"""Program that writes every flush, and waits after 150 and 350 steps for a file of that name."""


def test_a_real_run_is_watched_until_completion(tmp_path: Path) -> None:
    script = tmp_path / "stepwise.py"
    script.write_text(STEPWISE)
    cadence = ["--steps", "500", "--eval-every", "20", "--flush-every", "20"]
    arguments = [str(script), str(tmp_path), "--task", "quadratic", *cadence]
    arguments += ["--out", str(tmp_path), "--name", "seen"]
    terminal = Terminal(str(tmp_path), "--until-done", "--every", "0.1")
    terminal.read(until=ENTER_SCREEN)  # before the run begins, however slow the machine is
    with subprocess.Popen(command(0, *arguments), stdout=subprocess.DEVNULL) as run:
        for gate in (150, 350):
            terminal.read(until=f"{gate - 10}/500")
            (tmp_path / str(gate)).touch()
        code = terminal.end()
        assert run.wait(DEADLINE_S) == 0
    assert code == 0
    steps = [int(x.replace(",", "")) for x in re.findall(r"([\d,]+)/500", terminal.text)]
    assert {140, 340} <= set(steps)
    assert steps == sorted(steps)
    drawn, _, left = terminal.text.partition(LEAVE_SCREEN)
    assert "distance of the mean model" in drawn
    last = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", left).splitlines()
    assert "1 complete" in last[0]
    assert any(re.match("✓  allreduce_sgd, iid, .*  distance 0", line) for line in last)
    assert max(map(len, last)) <= 80


def test_ctrl_c_restores_the_terminal(tmp_path: Path) -> None:
    make(tmp_path / "a.h5", status=RUNNING)
    terminal = Terminal(str(tmp_path))
    terminal.read(until="written")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == INTERRUPTED
    assert LEAVE_SCREEN in terminal.text
    assert "Traceback" not in terminal.text


def test_once_writes_lines_to_a_pipe(tmp_path: Path) -> None:
    make(tmp_path / "a.h5", status=RUNNING, steps=10)
    done = subprocess.run(
        [sys.executable, "-m", "bench.watch", str(tmp_path), "--once", "--focus", "a"],
        capture_output=True,
        check=False,
        env=os.environ | {"FORCE_COLOR": "1"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    first, second, *panel = done.stdout.decode().splitlines()
    assert first.endswith("  1 running")
    assert second.startswith("running   push_sum, iid, digits, 4 workers on 2 ranks, seed 0  10/20")
    assert panel[-1].split("  ")[-3:] == [
        "step 0 to 10",
        "accuracy of the mean model",
        "worst worker",
    ]
    assert b"\x1b" not in done.stdout


def test_until_done_returns_1_after_a_failed_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "a.h5", status=FAILED, reason="rank 1: no room", **GONE)
    options = WatchOptions(0.1, once=False, until_done=True, focus="", patience_s=0.2)
    assert show(Watched([tmp_path]), options) == 1
    first, *more = capsys.readouterr().out.splitlines()
    assert first.endswith("1 failed")
    assert more[0].endswith("rank 1: no room")
    assert len(more) >= 2, "it waits for a start"
    make(tmp_path / "a.h5", **GONE)
    assert show(Watched([tmp_path]), options) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist: name the --out folder of the runs"),
        ([".", "--every", "0"], "--every must be at least 0.1 s, got 0"),
        ([".", "--every", "nan"], "--every must be at least 0.1 s, got nan"),
        ([".", "--once", "--until-done"], "drop one"),
        (["README.md"], "README.md is not a result file (*.h5, *.h5.part)"),
        ([], "the following arguments are required: PATH; see --help"),
    ],
)
def test_invalid_arguments_give_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_imports_neither_mpi_nor_torch(tmp_path: Path) -> None:
    make(tmp_path / "a.h5")
    code = (
        "import sys; from bench.watch.__main__ import main; main([sys.argv[1], '--once'])\n"
        "print([m for m in ('torch', 'mpi4py.MPI', 'pandas', 'altair') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
