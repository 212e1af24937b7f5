"""Drawings of bench.pipeline."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from algorithms.pipelines.one_f_one_b import OneFOneB
from bench.pipeline.__main__ import main
from bench.pipeline.drawing import Drawing
from tests.imports import ROOT

ONE_F_ONE_B = """\
stage 0   0  1  2  .  .  .  .  0' 0' 3  1' 1' .  2' 2' .  3' 3'
stage 1   .  0  1  .  .  0' 0' 2  1' 1' 3  2' 2' .  3' 3' .  .
stage 2   .  .  0  0' 0' 1  1' 1' 2  2' 2' 3  3' 3' .  .  .  .

time       18 units: a forward pass takes 1, a backward pass 2
idle       33.3% of the time of all positions
kept       activations of 3, 2, 1 forward passes, by stage
versions   1, 1, 1 of the parameters, by stage
messages   16, activations and gradients together
"""


def test_a_drawing_shows_every_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--draw", "1f1b", "--stages", "3", "--microbatches", "4"]) == 0
    assert capsys.readouterr().out == ONE_F_ONE_B


def test_a_long_drawing_continues_below() -> None:
    drawing = Drawing(OneFOneB(2, 8), 1)
    lines = ["".join(text for text, _ in pieces) for pieces in drawing.lines(40)]
    assert max(map(len, lines)) <= 40
    assert lines.count("") == 2
    whole = next("".join(text for text, _ in pieces) for pieces in drawing.lines(1000))
    assert "".join(line[10:] for line in lines if line.startswith("stage 0")) == whole[10:]


def test_the_picture_has_a_box_for_every_pass(tmp_path: Path) -> None:
    target = tmp_path / "drawing.svg"
    assert main(["--draw", "zb_h1:stages=3", "--picture", str(target)]) == 0
    texts = [x.text or "" for x in ET.parse(target).iter() if x.tag.endswith("text")]
    assert sum(text.rstrip("'\"").isdecimal() for text in texts) == 3 * 3 * 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --draw NAME"),
        (["--draw", "1f"], "did you mean 1f1b?"),
        (["--draw", "interleaved", "--microbatches", "3"], "take microbatches=4, or 1f1b"),
        (["--draw", "gpipe:stages=3", "--stages", "3"], "leave one of them out"),
        (["--draw", "gpipe", "--stages", "9999", "--microbatches", "99"], "more than 65,536"),
        (["--draw", "gpipe", "--picture", "x.png"], "must end in .svg"),
        (["--draw", "gpipe", "--picture", "no/x.svg"], "make it first"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_drawing_needs_neither_mpi_nor_torch() -> None:
    code = (
        "import sys; from bench.pipeline.__main__ import main; "
        "assert main(['--draw', 'pipedream']) == 0; "
        "assert not {'mpi4py', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
