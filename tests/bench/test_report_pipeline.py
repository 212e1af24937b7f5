"""Reports of bench.pipeline --measure from files with chosen numbers."""

from pathlib import Path

import h5py
import pytest

from bench.reporting.pipeline.charts import figures
from bench.reporting.pipeline.report import chapters, load
from bench.results.schema import RUNNING
from bench.results.validation import flaws
from bench.watch.measured import MEASURED
from tests.bench.made_measurements import make_pipeline


def test_a_row_is_the_median_of_the_launches_of_a_pipeline(tmp_path: Path) -> None:
    for number, bubble in enumerate((0.25, 0.2, 0.75)):
        make_pipeline(tmp_path / f"{number}.h5", "gpipe", 8, bubble=bubble)
    make_pipeline(tmp_path / "3.h5", "1f1b", 4, bubble=0.25, torch=1.25)
    (chapter,) = chapters([load(path) for path in sorted(tmp_path.iterdir())])
    (table,) = chapter.tables
    rows = [dict(zip(table.header, cells, strict=True)) for cells in table.rows]
    assert [row["pipeline"] for row in rows] == ["1f1b", "gpipe"]
    assert rows[0]["over torch"] == "0.80 [0.80, 0.80]"
    assert rows[1]["over torch"] == "-"
    shown = {"stages": "2", "M": "8", "minibatch ms": "10.00 [10.0, 10.0]", "over clock": "1.25"}
    shown |= {"bubble": "25%", "by formula": "20%", "speed-up": "1.60", "of bound": "100%"}
    shown |= {"of it together": "125%"}
    assert shown.items() <= rows[1].items()
    assert any(x.startswith("several launches") for x in chapter.notes)
    assert [x.text for x in chapter.sentences] == [
        "A minibatch takes 25% longer than by the model clock at most, of 2 pipelines (1f1b, 4 "
        "micro-batches)",
        "The bubble exceeds the formula by 5.0 points at most, of 2 pipelines (1f1b, 4 "
        "micro-batches)",
        "The same pipeline of torch over gloo is slower in 1 of 1 case and faster in 0, by 95 % "
        "intervals",
    ]
    charts = [name for figure in chapter.draw() for name in figure.charts]
    assert charts == [name for x in chapter.sentences for name in x.charts]


def test_a_result_that_is_being_written_has_its_steps(tmp_path: Path) -> None:
    part = make_pipeline(tmp_path / "a.h5", status=RUNNING)
    read, summarize = MEASURED["bench.pipeline"]
    expected = "1f1b:stages=2,microbatches=4, 6 steps: minibatch 10.0 ms, bubble 25%"
    assert summarize(read(part)) == expected
    (chapter,) = chapters([load(part)])
    assert chapter.tables[0].rows[0][4:8] == ["-", "25%", "-", "-"]
    assert chapter.sentences == []
    assert flaws(part) == []
    assert figures([]) == []


@pytest.mark.parametrize(
    ("place", "value", "flaw"),
    [
        ("steps/duration_ns", 0, "steps/duration_ns has values of 0 or below"),
        ("steps/phase_ns", 10**9, "steps/phase_ns exceeds steps/duration_ns"),
        ("steps/theirs_ns", 5, "steps/theirs_ns contradicts the attribute against"),
    ],
)
def test_contradictions_are_found(tmp_path: Path, place: str, value: int, flaw: str) -> None:
    path = make_pipeline(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file[place][2] = value
    assert flaw in flaws(path)
