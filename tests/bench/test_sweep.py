"""Runs of bench.sweep: cases, resuming, failures, and memory of a long sweep."""

import os
import re
import signal
import subprocess
from pathlib import Path

import h5py
import pytest

from bench.report import main as report
from bench.results.reader import Run, read
from bench.results.schema import COMPLETE, DIED, DIVERGED, FAILED, RUNNING
from bench.sweep.__main__ import INTERRUPTED, main
from bench.train import main as train_main
from tests.launching import DEADLINE_S, command, launch, own_lines, wait_until

Capture = pytest.CaptureFixture[str]

QUICK = 'task = "quadratic"\nsteps = 20\nbatch = 4\neval_every = 10\n'
TWO = '[axes]\nalgorithm = ["allreduce_sgd", "push_sum"]\nworkers = [2, 5]\nseed = [0, 1]\n'
FOUR = TWO.replace("seed = [0, 1]", "seed = [1]")
LINE = re.compile(r"^ *(\d+)/(\d+)  .*\d s", re.MULTILINE)


def sweep_file(folder: Path, text: str) -> str:
    path = folder / "sweep.toml"
    path.write_text(text)
    return str(path)


def runs(folder: Path) -> list[Run]:
    return [read(path) for path in sorted(folder.glob("*.h5"))]


def sha_of(folder: Path) -> dict[tuple[str, int, int], str]:
    rows = [run.row() for run in runs(folder)]
    return {(r.algorithm, r.workers, r.seed): r.parameters_sha256 for r in rows}


def trained_cases(out: str) -> list[str]:
    """Return the numbers of the trained cases."""
    return [f"{number}/{total}" for number, total in LINE.findall(out)]


def test_cases_equal_runs_of_bench_train_on_any_ranks(tmp_path: Path, capsys: Capture) -> None:
    file, alone = sweep_file(tmp_path, QUICK + FOUR), tmp_path / "alone"
    assert main([file, "--out", str(alone)]) == 0
    out = capsys.readouterr().out
    assert trained_cases(out) == [f"{i}/4" for i in range(1, 5)]
    assert "step " not in out.partition("first line")[0], "single runs print nothing"
    assert "4 of 4 cases complete; more: python -m bench.report" in out
    assert len(sha_of(alone)) == 4
    assert all(run.status == COMPLETE for run in runs(alone))
    assert sorted(path.suffix for path in alone.iterdir()) == [".h5"] * 4
    one = ["--task=quadratic", "--steps=20", "--batch=4", "--eval-every=10", "--algorithm=push_sum"]
    assert train_main([*one, "--workers=5", "--seed=1", f"--out={tmp_path / 'one'}"]) == 0
    ((key, sha),) = sha_of(tmp_path / "one").items()
    assert sha_of(alone)[key] == sha

    table = tmp_path / "table.md"
    two = launch(
        2, "-m", "bench.sweep", file, "--out", str(tmp_path / "two"), "--markdown", str(table)
    )
    assert two.returncode == 0, two.stderr
    assert own_lines(two.stderr) == []
    assert trained_cases(two.stdout) == trained_cases(out), "only rank 0 prints"
    assert sha_of(tmp_path / "two") == sha_of(alone)
    assert "| `push_sum` |" in table.read_text()


def test_finished_cases_are_not_trained_again(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert main([sweep_file(tmp_path, QUICK + "seed = 7\n"), "--out", str(out)]) == 0
    (other,) = out.glob("*.h5")
    other.rename(out / "other.h5")
    file = sweep_file(tmp_path, QUICK + TWO)
    assert main([file, "--out", str(out)]) == 0
    removed, cut, half, odd, *remaining = sorted(out.glob("quadratic*.h5"))
    before = {path: path.stat().st_mtime_ns for path in remaining}
    shas = sha_of(out)
    removed.unlink()
    cut.write_bytes(cut.read_bytes()[:3000])
    part = half.rename(f"{half}.part")
    with h5py.File(part, "r+") as first_runs:
        first_runs.attrs.update({"status": RUNNING, "pid_started": "-1"})
    with h5py.File(odd, "r+") as first_runs:
        del first_runs["eval/metric"]
    (out / "notes.txt").touch()
    assert read(part).status == DIED
    capsys.readouterr()

    assert main([file, "--out", str(out), "--dry-run"]) == 0
    assert "8 cases: 4 to run, 4 there already" in capsys.readouterr().out
    assert not removed.exists()
    assert main([file, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert len(trained_cases(text)) == 4
    assert f"unreadable result: {cut}" in text
    assert f"unreadable result: {odd}: eval/metric is missing" in text
    assert {path: path.stat().st_mtime_ns for path in remaining} == before
    assert sha_of(out) == shas
    assert not part.exists()
    assert main([file, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert trained_cases(text) == []
    assert "8 of 8 cases complete" in text
    assert "first line" in text
    assert main([file, "--out", str(out), "--no-table"]) == 0
    text = capsys.readouterr().out
    assert "8 of 8 cases complete" in text
    assert "first line" not in text


def test_failed_or_diverged_cases_do_not_stop_the_sweep(tmp_path: Path, capsys: Capture) -> None:
    """Check a case that the partition refuses when it splits 1,000 samples."""
    axes = '[axes]\noptimizer = ["sgd:lr=1e30", "sgd:lr=0.1"]\n'
    bad = 'partition = ["shards:per_worker=600", "iid"]\nworkers = [2]\n'
    out = tmp_path / "out"
    file = sweep_file(tmp_path, QUICK + axes + bad)
    assert main([file, "--out", str(out)]) == 1
    text, error = capsys.readouterr()
    assert trained_cases(text) == ["1/4", "2/4", "3/4", "4/4"]
    assert sorted(run.status for run in runs(out)) == [COMPLETE, DIVERGED]
    failed = "failed: optimizer sgd:lr=0.1, shards:per_worker=600, 2 workers, seed 0: "
    assert f"{failed}quadratic, shards:per_worker=600: 2 workers x per_worker 600 need 1200" in text
    assert "diverged: optimizer sgd:lr=1e30, iid, 2 workers, seed 0: NaN or infinity at" in text
    assert "1 of 4 cases complete" in text
    assert error == "error: 2 of 4 cases failed: each is listed above with its reason\n"

    launched = launch(2, "-m", "bench.sweep", file, "--out", str(tmp_path / "two"))
    assert launched.returncode == 1, launched.stderr
    assert own_lines(launched.stderr) == [error.strip()]

    file = sweep_file(tmp_path, QUICK + "workers = 2\n" + axes)
    assert main([file, "--out", str(out)]) == 0, "divergence is a result"
    text = capsys.readouterr().out
    assert trained_cases(text) == [], "it is not computed again"
    assert "diverged: " in text


def test_refused_cases_are_listed_with_skip_refused(tmp_path: Path, capsys: Capture) -> None:
    axes = '[axes]\nalgorithm = ["push_sum", "elastic_averaging:alpha=0.5"]\nworkers = [2, 4]\n'
    more = "seed = [0, 1]\n"
    file, out = sweep_file(tmp_path, "skip_refused = true\n" + QUICK + axes + more), tmp_path / "x"
    assert main([file, "--out", str(out), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert not out.exists()
    rows = [line.split() for line in text.splitlines()]
    assert ["push_sum", "4", "0,", "1", "2", "to", "run"] in rows
    assert ["elastic_averaging:alpha=0.5", "4", "0,", "1", "2", "refused"] in rows
    assert "8 cases: 6 to run, 2 refused by their algorithms" in text
    reason = "alpha must be below 2 / (workers + 1) = 0.4, got 0.5"
    line = f"refused: elastic_averaging:alpha=0.5, 4 workers, seeds 0, 1: {reason}"
    assert line in text

    assert main([file, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert trained_cases(text)[-1] == "6/6"
    assert line in text
    assert len(runs(out)) == 6
    document = tmp_path / "report.md"
    assert report([str(out), "--markdown", str(document)]) == 0
    assert f"left out: {line}" in capsys.readouterr().err
    assert reason in document.read_text().partition("## Left out")[2]


LONG = 'task = "quadratic"\neval_every = 20000\n[zip]\nsteps = [20, 100000000]\nseed = [0, 1]\n'


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_loses_the_running_case_only(
    tmp_path: Path, capsys: Capture, sent: signal.Signals
) -> None:
    file, out = sweep_file(tmp_path, LONG), tmp_path / "out"
    started = command(0, "-m", "bench.sweep", file, "--out", str(out))
    with subprocess.Popen(
        started, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(
                lambda: len(list(out.glob("*.h5"))) == 1 == len(list(out.glob("*.h5.part"))),
                "the second case is being trained",
            )
            assert main([file, "--out", str(out)]) == 2, "two sweeps cannot write one file"
            assert f"is in use by process {process.pid}" in capsys.readouterr().err
        finally:
            process.send_signal(sent)
        error = process.communicate(timeout=DEADLINE_S)[1]
    if sent == signal.SIGINT:
        assert process.returncode == INTERRUPTED
        assert own_lines(error) == [
            "interrupted: finished cases are kept, the same command continues"
        ]
    (remaining,), (part,) = runs(out), out.glob("*.h5.part")
    assert remaining.status == COMPLETE
    assert read(part).status == (FAILED if sent == signal.SIGINT else DIED)
    assert main([file, "--out", str(out), "--dry-run"]) == 0
    assert "2 cases: 1 to run, 1 there already" in capsys.readouterr().out


MANY = """
import os, sys
from mpi4py import MPI
from bench.sweep.__main__ import main

def resources():
    with open("/proc/self/status") as status:
        (line,) = (x for x in status if x.startswith("VmRSS"))
    probe = MPI.COMM_WORLD.Dup()
    index = probe.py2f()  # lowest free handle: rises with every leaked communicator
    probe.Free()
    return int(line.split()[1]), len(os.listdir("/proc/self/fd")), index

counts = []
for file in sys.argv[2:]:
    assert main([file, "--out", sys.argv[1]]) == 0
    counts.append(resources())
print("resources", counts)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_many_cases_use_no_more_resources_than_few(tmp_path: Path) -> None:
    """The parameters of all workers are 1.4 MB, so 12 leaking cases would use 17 MB."""
    head = 'task = "quadratic:dimension=45000,samples=20"\nsteps = 2\nbatch = 2\nworkers = 8\n'
    script = tmp_path / "many.py"
    script.write_text(MANY)
    files = []
    for i, seeds in enumerate((range(2), range(2, 6))):
        axes = f'[axes]\nalgorithm = ["allreduce_sgd", "d_psgd", "push_sum"]\nseed = {list(seeds)}'
        folder = tmp_path / str(i)
        folder.mkdir()
        files.append(sweep_file(folder, f"{head}{axes}\n"))
    done = launch(0, str(script), str(tmp_path / "out"), *files)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 18
    numbers = [int(x) for x in re.findall(r"\d+", done.stdout.rpartition("resources")[2])]
    (rss_few, *few), (rss_many, *many) = numbers[:3], numbers[3:]
    assert many == few, "file descriptors and communicators"
    assert rss_many - rss_few < 12 * 1024  # kB; the reserve of the allocator varies by some MB


def test_help_needs_no_mpi(tmp_path: Path) -> None:
    done = launch(0, "-m", "bench.sweep", "--help", OMPI_COMM_WORLD_RANK="0")
    assert done.returncode == 0
    assert "--dry-run" in done.stdout
    assert launch(0, "-m", "bench.sweep", "--help", OMPI_COMM_WORLD_RANK="1").stdout == ""
