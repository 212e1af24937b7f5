"""Drawings and plans of bench.pipeline."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from algorithms.pipelines import PIPELINES
from algorithms.pipelines.clock import Durations
from algorithms.pipelines.grid import Grid
from algorithms.pipelines.one_f_one_b import OneFOneB
from bench.pipeline.__main__ import main
from bench.pipeline.comparison import model
from bench.pipeline.drawing import Drawing
from bench.results.pipelines import read_pipeline
from bench.results.validation import flaws
from bench.runtime.options import TABLE
from bench.runtime.pipeline.checks import pipeline_of
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
        (["--draw", "gpipe", "--plan", "mlp"], "give --draw NAME"),
        (["--draw", "gpipe", "--hosts", "2"], "--hosts has no effect on --draw"),
        (["--plan", "mlp", "--stages", "2", "--picture", "x.svg"], "no effect on --plan"),
        (["--plan", "mlp"], "needs --stages K"),
        (["--measure", "gpipe", "--plan", "mlp"], "give --draw NAME"),
        (["--measure", "gpipe", "--hosts", "2"], "--hosts has no effect on --measure"),
        (["--measure", "1f", "--task", "mlp"], "did you mean 1f1b?"),
        (["--measure", "gpipe:stages=9", "--task", "mlp"], "units of the model"),
        (["--measure", "gpipe", "--microbatches", "99"], "micro-batches are more than"),
        (["--plan", "mlp", "--stages", "3", "--ranks", "4"], "multiple of --stages 3"),
        (["--plan", "mlp", "--stages", "3", "--hosts", "2"], "must divide the 3 ranks"),
        (["--plan", "mlp", "--stages", "3", "--link", "a", "--link", "b"], "given 2 times"),
        (["--plan", "mlp", "--stages", "2", "--link", "ethernet"], "did you mean ethernet_"),
        (["--plan", "quadratic", "--stages", "2"], "not made of layers"),
        (["--plan", "mlp:depth=2", "--stages", "9"], "3 units of the model"),
        (["--plan", "mlp", "--stages", "2", "--ranks", "9998"], "take fewer ranks"),
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


def test_a_plan_prints_the_cut_to_train_with(capsys: pytest.CaptureFixture[str]) -> None:
    task = "mlp:depth=3,width=8"
    options = [f"--plan={task}", "--stages=2", "--batch=10", "--steps=1", "--ranks=4", "--hosts=2"]
    assert main([*options, "--link=infiniband_ndr", "--link=ethernet_1g"]) == 0
    lines = capsys.readouterr().out.splitlines()
    by_name = {line.partition(" ")[0]: line.split() for line in lines if line}
    # 3 samples at most: micro-batches of 2 and 3; 8 activations and 64 x 8 + 8 parameters.
    assert by_name["0"][-4:] == ["96", "B", "2,080", "B"]
    train = by_name["train"]
    assert train[:3] == ["train", "mpirun", "-n"]
    trained = TABLE.read(train[train.index("bench.train") + 1 :])
    pipeline = pipeline_of(trained)
    assert pipeline is not None
    assert by_name["cut"] == ["cut", f"cut={pipeline.cut}"]
    assert (pipeline.stages, pipeline.microbatches, trained.batch) == (2, 4, 10)
    assert [by_name[x][1] for x in ("planned", "measured")] == ["slowest", "slowest"]
    assert [line[:5] for line in lines[-4:-1]] == ["4 x 1", "2 x 2", "1 x 4"]
    assert "on 1 host, each unit" in lines[-1] or "on 2 hosts, each unit" in lines[-1]


def test_a_measured_pipeline_is_beside_its_model(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ["--task=mlp:depth=3,width=8", "--batch=8", "--steps=1", f"--out={tmp_path}"]
    assert main(["--measure=1f1b:stages=4", *options]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("1f1b:stages=4 on 1 rank, mlp:width=8,depth=3, batch 8: ")
    rows = {line.split()[0]: line.split() for line in lines}
    assert rows["bubble"][2:] == ["0.0%", "0.0%"]
    saved, formula = rows["rank"][2], rows["rank"][6]
    assert (saved, rows["rank"][11]) == (formula, "1")
    assert "of 1, the bound" in " ".join(rows["speed-up"])
    assert len(rows["forward"]) == len(rows["backward"]) == 1 + 4 + 3
    (path,) = tmp_path.glob("*.h5")
    result = read_pipeline(path)
    (row,) = result.rows()
    assert flaws(path) == []
    assert rows["minibatch"][1] == f"{row.minibatch_ms:.4g}"
    assert result.steps["turn"].tolist() == [0, 1, 2]
    assert (row.schedule, row.bubble, row.formula_bubble, row.bound) == ("1f1b", 0, 0, 1)
    # A command that is given again takes the next name.
    assert main(["--measure=1f1b:stages=4", *options]) == 0
    assert f"{path} exists: this launch writes" in capsys.readouterr().out


@pytest.mark.parametrize("name", list(PIPELINES))
def test_the_model_of_equal_stages_is_the_formula(name: str) -> None:
    pipeline = PIPELINES[name](stages=4, microbatches=6)
    grid = Grid(1, pipeline.positions)
    time, bubble = model(pipeline, grid, Durations.equal(4, 1, 1, 1))
    assert time == pytest.approx(pipeline.makespan(1, 1, 1))
    assert bubble == pytest.approx(grid.bubble(pipeline))


def test_the_slowest_rank_decides_the_model_of_a_full_pipeline() -> None:
    pipeline = PIPELINES["pipedream"](stages=3, microbatches=2)
    durations = Durations([1, 2, 1], [1, 3, 1], [0, 0, 0])
    assert model(pipeline, Grid(1, 3), durations) == pytest.approx((10, 1 - 18 / 30))
    assert model(pipeline, Grid(1, 2), durations) == pytest.approx((14, 1 - 18 / 28))


def test_drawing_needs_neither_mpi_nor_torch() -> None:
    code = (
        "import sys; from bench.pipeline.__main__ import main; "
        "assert main(['--draw', 'pipedream']) == 0; "
        "assert not {'mpi4py', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
