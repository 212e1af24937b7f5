"""Lines before the first step of a run."""

from pathlib import Path

import pytest

from bench.train import main

QUICK = ("--task=quadratic", "--batch=4", "--eval-every=20")
Capture = pytest.CaptureFixture[str]


def lines(capsys: Capture, folder: Path, *options: str) -> list[str]:
    """Return the lines of a run before its first evaluation, without those of the machine."""
    assert main([*QUICK, *options, f"--out={folder}"]) == 0
    head = capsys.readouterr().out.partition("step ")[0].splitlines()
    return [line for line in head if " core" not in line]


def test_three_lines_introduce_a_run(tmp_path: Path, capsys: Capture) -> None:
    options = ("--steps=20", "--workers=4", "--partition=dirichlet:alpha=0.1,min_size=1")
    first, second, third = lines(capsys, tmp_path / "a", *options)
    assert first.startswith("quadratic, ")
    assert first.endswith("batch 4: 4 workers on 1 rank")
    assert second.startswith("dirichlet:alpha=0.1: ")
    assert "samples a worker, label skew 0." in second
    assert third.startswith(f"20 steps, evaluated every 20, into {tmp_path / 'a'}/quadratic-")
    verbose = lines(capsys, tmp_path / "b", *options, "--verbose", "--algorithm=d_psgd")
    text = "\n".join(verbose)
    for words in ("effective workers", "mean total variation", "neighbourhoods", "spectral gap"):
        assert words in text


@pytest.mark.parametrize(
    ("options", "note"),
    [
        (["--steps=20"], "note: 1 worker exchanges with nobody: launch several ranks"),
        (["--steps=5", "--workers=2"], "note: --warmup 10 covers the whole run of 5 steps"),
        (
            ["--steps=20", "--workers=2", "--straggler=probability=0.1"],
            "note: trouble on",
        ),
        (["--steps=20", "--workers=2", "--batch=900"], "note: batch 900 is larger than the"),
    ],
)
def test_conditions_of_a_run_are_noted(
    tmp_path: Path, capsys: Capture, options: list[str], note: str
) -> None:
    *_, last = lines(capsys, tmp_path, *options)
    assert last.startswith(note)
