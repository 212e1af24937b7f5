"""Runs on other data, other input files or another arithmetic are never joined or continued."""

import json
import signal
from pathlib import Path

import h5py
import pytest
from mpi4py import MPI

from bench.common.spec import UserError
from bench.data.opening import digest
from bench.results.environment import VARIABLES
from bench.results.reader import read
from bench.runtime import identity
from bench.runtime.experiment import Experiment
from bench.runtime.options import TrainOptions
from bench.session.signals import EXIT_RESUME
from bench.sweep.plan import finished_cases
from bench.train import main, run
from tests.bench.test_resume import signal_after

Capture = pytest.CaptureFixture[str]
OPTIONS = ("--task=mlp:width=4,depth=1", "--workers=2", "--steps=30", "--eval-every=10")
ORIGINAL, CHANGED = "1,2,a\n2,1,b\n" * 20, "1,2,a\n2,3,b\n" * 20
"""Two tables of 40 samples."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with data, a worker of each sample, and links of workers."""
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    Path("d.csv").write_text(ORIGINAL)
    Path("owners.txt").write_text("0 1\n" * 16)
    Path("links.txt").write_text("0 1\n1 0\n")
    return tmp_path


def options(*more: str) -> list[str]:
    return [*OPTIONS, "--data=d.csv", "--partition=file:path=owners.txt", "--out=r", *more]


GOSSIP = "--algorithm=d_psgd:topology=file:path=links.txt"
CHANGES = {
    "data": ("d.csv", CHANGED, "other data"),
    "owners": ("owners.txt", "1 0\n" * 16, "another file of --partition path"),
    "links": ("links.txt", "1 0\n0 1\n", "another file of --algorithm topology path"),
}
"""Name -> a file that a run reads, other contents, and their words in the error."""


def stop(*more: str) -> None:
    """Train until a signal stops the run, which leaves a checkpoint."""
    with signal_after(13, signal.SIGUSR1):
        assert run(MPI.COMM_SELF, options("--name=x", GOSSIP, *more), []) == EXIT_RESUME


def resume(capsys: Capture) -> str:
    """Resume the run; return its line on stderr. The checkpoint stays."""
    capsys.readouterr()
    assert main(options("--name=x", GOSSIP, "--resume")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_run_is_never_resumed_on_other_inputs(folder: Path, capsys: Capture) -> None:
    stop()
    for name, (file, text, words) in CHANGES.items():
        before, was = Path(file).read_text(), digest(file)
        Path(file).write_text(text)
        assert resume(capsys) == (
            f"error: r/x.h5.part is of {words}: the SHA-256 of {file} was {was[:12]}, is "
            f"{digest(file)[:12]}: restore the file, or give another --name, or --overwrite "
            "instead of --resume"
        ), name
        Path(file).write_text(before)
    assert main(options("--name=x", GOSSIP, "--resume")) == 0
    result = read(Path("r/x.h5"))
    sums = {f"--{x} path": digest(y) for x, y in FILES.items()}
    assert json.loads(result.attributes["inputs_json"]) == sums
    assert result.attributes["data_sha256"] == digest("d.csv")
    Path("d.csv").write_text(CHANGED)
    assert "r/x.h5 is of other data" in resume(capsys), "also a finished result"
    Path("d.csv").unlink()
    assert main(options("--name=x", GOSSIP, "--resume")) == 0, "unknown is not different"


FILES = {"partition": "owners.txt", "algorithm topology": "links.txt"}


def test_a_run_is_never_resumed_with_other_threads_or_variables(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    stop()
    remedy = "or give another --name, or --overwrite instead of --resume"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert resume(capsys) == (
        "error: r/x.h5.part: it ran 1 thread per rank, now there are 2: set OMP_NUM_THREADS=1, "
        f"{remedy}"
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    line = f"r/x.h5.part: MKL_CBWR is COMPATIBLE, was not set: unset MKL_CBWR, {remedy}"
    assert resume(capsys) == f"error: {line}"
    monkeypatch.delenv("MKL_CBWR")
    assert main(options("--name=x", GOSSIP, "--resume")) == 0
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    capsys.readouterr()
    assert main(options("--name=x", GOSSIP, "--resume")) == 0
    assert capsys.readouterr().out.splitlines() == [
        "r/x.h5 exists already: nothing to do",
        "note: r/x.h5: MKL_CBWR is COMPATIBLE, was not set",
    ]


def test_a_run_on_another_processor_is_resumed_and_records_both(
    folder: Path, capsys: Capture
) -> None:
    stop()
    with h5py.File("r/x.h5.part", "r+") as file:
        here = file["provenance/ranks/instructions"][0].decode()
        file["provenance/ranks/instructions"][:] = [b"NEON"[: len(here)]]
    was = b"NEON"[: len(here)].decode()
    assert main(options("--name=x", GOSSIP, "--resume")) == 0
    line = f"instruction set of torch is {here}, was {was}: bits differ from a run without"
    assert f"note: r/x.h5.part: {line}" in capsys.readouterr().out
    again = read(Path("r/x.h5"))
    assert again.environment().arithmetic == f"{was} then {here}"
    rank = {"threads": again.attributes["threads_per_rank"], "instructions": here}
    assert identity.check_arithmetic(again, [rank], "") == []
    assert rank["instructions"] == f"{was} then {here}"


def test_a_file_without_sums_counts_as_unchanged(folder: Path, capsys: Capture) -> None:
    stop()
    with h5py.File("r/x.h5.part", "r+") as file:
        del file.attrs["inputs_json"], file.attrs["data_sha256"]
        del file["provenance/ranks/instructions"]
    assert main(options("--name=x", GOSSIP, "--resume")) == 0
    notes = [x for x in capsys.readouterr().out.splitlines() if "does not record" in x]
    assert notes == [
        f"note: r/x.h5.part does not record {what}: taken as unchanged"
        for what in ("the SHA-256 of d.csv, links.txt, owners.txt", "the instruction set of torch")
    ]


def test_a_repetition_names_the_reason_for_other_bits(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(options("--name=x")) == 0
    with h5py.File("r/x.h5", "r+") as file:
        file.attrs["parameters_sha256"] = "ab" * 32
        file["provenance/ranks/instructions"][:] = [b"NEON"]
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert main(["--repeat=r/x.h5", "--out=r"]) == 0
    verdict = capsys.readouterr().out.splitlines()[-1]
    assert "OTHER parameters" in verdict
    assert "instruction set of torch is " in verdict
    assert "OPENBLAS_CORETYPE is Haswell, was not set" in verdict
    Path("owners.txt").write_text("1 0\n" * 16)
    assert main(["--repeat=r/x.h5", "--out=r"]) == 2
    assert "--repeat r/x.h5 is of another file of --partition path" in capsys.readouterr().err


def test_a_sweep_keeps_other_inputs_and_threads_apart(folder: Path) -> None:
    assert main(options("--name=x")) == 0
    experiment = Experiment.resolve(
        TrainOptions(
            task="mlp:width=4,depth=1",
            workers=2,
            steps=30,
            eval_every=10,
            data="d.csv",
            partition="file:path=owners.txt",
        ),
        1,
    )
    cases, out = {experiment.hash: experiment}, Path("r")
    threads = int(read(Path("r/x.h5")).attributes["threads_per_rank"])
    place = {"threads": threads, "instructions": ""}
    assert finished_cases(out, cases, [place])[0].keys() == cases.keys()
    with pytest.raises(UserError, match=r"it ran .* give another --out"):
        finished_cases(out, cases, [{**place, "threads": threads + 1}])
    Path("d.csv").write_text(CHANGED)
    with pytest.raises(UserError, match=r"r/x\.h5 is of other data: .* give another --out"):
        finished_cases(out, cases, [place])


def test_a_file_is_read_once_for_its_sum(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = digest("d.csv")
    monkeypatch.setattr("hashlib.file_digest", None)  # a second reading would fail
    assert digest("d.csv") == first
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    Path("d.csv").write_text(CHANGED)
    assert digest("d.csv") != first
