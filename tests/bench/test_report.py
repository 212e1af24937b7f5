import csv
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import pandas as pd
import pytest

from bench.report import main
from bench.reporting.loading import find
from bench.results.reader import read
from bench.results.schema import RUNNING
from tests.bench.made_measurements import make_calls, make_rounds
from tests.bench.made_runs import make

Capture = pytest.CaptureFixture[str]


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_csv_has_one_row_per_run_with_every_column(tmp_path: Path, capsys: Capture) -> None:
    runs = tmp_path / "runs"
    (runs / "deep").mkdir(parents=True)
    make(runs / "deep" / "b.h5", seed=1, target=2.0, hit=False)
    make(runs / "a.h5")
    table = tmp_path / "table.csv"
    assert main([str(runs), "--csv", str(table)]) == 0
    written = rows_of(table)
    expected = [read(path).row().record() for path in (runs / "a.h5", runs / "deep" / "b.h5")]
    assert {tuple(row) for row in written} == {tuple(expected[0])}
    by_file = {row["file"]: row for row in written}
    for row in expected:
        for key, value in row.items():
            text = by_file[row["file"]][key]
            if isinstance(value, float):
                assert text == "" if math.isnan(value) else float(text) == value
            else:
                assert text == str(value)
    assert by_file[str(runs / "deep" / "b.h5")]["time_to_target_s"] == "inf"
    assert by_file[str(runs / "a.h5")]["time_to_target_s"] == ""
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {table}"


def test_broken_and_foreign_files_are_listed_and_skipped(tmp_path: Path, capsys: Capture) -> None:
    good = make(tmp_path / "good.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    (tmp_path / "cut.h5").write_bytes(good.read_bytes()[:3000])
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file.attrs["schema"] = "other"
    with h5py.File(make(tmp_path / "bare.h5"), "r+") as file:
        del file.attrs["metric_direction"]
    assert main([str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert [line.split(".h5")[0].rpartition("/")[2] for line in lines] == [
        "bare",
        "cut",
        "foreign",
        "text",
    ]
    assert all(line.startswith("left out: ") for line in lines)
    assert lines[0].endswith("metric_direction is missing")
    assert out.startswith("1 of 5 files read")


def test_only_broken_files_is_an_error(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    assert main([str(tmp_path), "--csv", str(tmp_path / "t.csv")]) == 2
    err = capsys.readouterr().err
    assert "error: none of 1 files" in err
    assert "left out: " in err
    assert not (tmp_path / "t.csv").exists()


def test_finds_parts_and_skips_hidden_files_and_repeats(tmp_path: Path) -> None:
    part = make(tmp_path / "a.h5", status=RUNNING)
    done = make(tmp_path / "sub.h5")
    hidden = make(tmp_path / ".hidden.h5")
    (tmp_path / "other.csv").touch()
    assert find([str(tmp_path), str(done)]) == [part, done]
    assert find([str(hidden)]) == [hidden]


def test_files_named_like_results_are_found_and_reported(tmp_path: Path, capsys: Capture) -> None:
    make(tmp_path / "good.h5")
    (tmp_path / "same.h5").symlink_to(tmp_path / "good.h5")
    (tmp_path / "gone.h5").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.h5").symlink_to(tmp_path / "loop.h5")
    (tmp_path / "folder.h5").mkdir()
    make(tmp_path / "folder.h5" / "inner.h5", seed=1)
    os.mkfifo(tmp_path / "pipe.h5")
    assert main([str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("2 of 6 files read")
    message = {line.split(".h5: ")[0].rpartition("/")[2]: line for line in err.splitlines()}
    assert sorted(message) == ["folder", "gone", "loop", "pipe"]
    assert message["folder"].endswith("is a folder")
    assert message["gone"].endswith("No such file or directory")
    assert message["pipe"].endswith("is not a plain file")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/none"], "none does not exist"),
        (["{}/empty"], "no result file (*.h5, *.h5.part) in"),
        (["{}/a.h5", "--html", "{}/none/page.html"], "there is no folder"),
        (["{}/a.h5", "--csv", "{}/empty"], "is not a plain file"),
        (["{}/a.h5", "--html", "/dev/null"], "is not a plain file"),
        (["{}/a.h5", "--html", "{}/x.pdf"], "must end in .html; --figures DIR --format pdf"),
        (["{}/a.h5", "--csv", "{}/x.xlsx"], "x.xlsx: the name must end in .csv"),
        (["{}/a.h5", "--csv", "/proc/table.csv"], "name another place"),
        (["{}/a.h5", "--csv", "{}/a.h5"], "is the name of a result file"),
        (["{}/a.h5", "--csv", "{}/x", "--html", "{}/x"], "both write"),
        (["{}/a.h5", "--parquet", "{}/x", "--markdown", "{}/./x"], "both write"),
        (["{}/a.h5", "--figures", "{}/note.txt"], "is not a folder"),
        (["{}/a.h5", "--figures", "{}/none/figures"], "there is no folder"),
        (["{}/a.h5", "--figures", "{}/empty", "--format", "pdf,gif"], "unknown format 'gif'"),
        (["{}/a.h5", "--format", "pdf"], "requires --figures DIR"),
        (["{}/a.h5", "--validate", "--csv", "{}/x"], "drop --csv"),
        (["{}/a.h5", "--validate", "--figures", "{}/x"], "drop --figures"),
        (["{}/a.h5", "--bogus"], "unrecognized arguments: --bogus; see --help"),
        ([], "the following arguments are required: PATH; see --help"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid_arguments_give_one_line_and_exit_code_2(
    tmp_path: Path, capsys: Capture, arguments: list[str], message: str
) -> None:
    make(tmp_path / "a.h5")
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    assert main([x.format(tmp_path) for x in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_target_is_refused_before_a_file_is_read(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    assert main([str(tmp_path), "--html", str(tmp_path / "none" / "page.html")]) == 2
    assert "text.h5" not in capsys.readouterr().err


def test_targets_are_replaced_atomically(tmp_path: Path) -> None:
    make(tmp_path / "a.h5")
    for name in ("page.html", "table.csv"):
        (tmp_path / name).write_text("old")
        (tmp_path / name).chmod(0o600)
        os.link(tmp_path / name, tmp_path / f"second {name}")
    targets = ["--html", str(tmp_path / "page.html"), "--csv", str(tmp_path / "table.csv")]
    assert main([str(tmp_path), *targets]) == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    # the old file was not written into: it lives on under its second name
    assert (tmp_path / "second page.html").read_text() == "old"
    assert (tmp_path / "second table.csv").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 5


def test_control_characters_of_a_file_do_not_reach_the_terminal(
    tmp_path: Path, capsys: Capture
) -> None:
    make(tmp_path / "a.h5", algorithm="evil\x1b[2J[bold]")
    make(tmp_path / "b.h5")
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]" in out


def test_names_that_are_not_utf8_are_accepted(tmp_path: Path) -> None:
    make(tmp_path / "a.h5").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.h5"))
    table, page = tmp_path / "t.csv", tmp_path / "p.html"
    assert main([str(tmp_path), "--csv", str(table), "--html", str(page)]) == 0
    assert b"/\xff.h5" in table.read_bytes()


def test_validate_reports_and_counts_every_file(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    assert main([str(tmp_path), "--validate"]) == 1
    out, err = capsys.readouterr()
    first, last = out.splitlines()
    assert first.startswith(f"{tmp_path}/text.h5: ")
    assert (last, err) == ("0 of 1 files are valid", "")


def test_parquet_has_the_rows_of_the_csv(tmp_path: Path) -> None:
    make(tmp_path / "a.h5", target=2.0, hit=False)
    make(tmp_path / "b.h5").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.h5"))
    table, columns = tmp_path / "t.csv", tmp_path / "t.parquet"
    assert main([str(tmp_path), "--csv", str(table), "--parquet", str(columns)]) == 0
    written, read_back = rows_of(table), pd.read_parquet(columns).to_dict("records")
    assert [list(row) for row in read_back] == [list(row) for row in written]
    for text, row in zip(written, read_back, strict=True):
        for name, value in row.items():
            key = str(name)
            if pd.isna(value):
                assert text[key] == ""
            elif isinstance(value, float):
                assert float(text[key]) == value
            elif key != "file":
                assert text[key] == str(value)
    assert {row["file"].rpartition("/")[2] for row in read_back} == {"a.h5", "\ufffd.h5"}


def test_curves_have_a_row_per_evaluation_with_the_settings(tmp_path: Path) -> None:
    long = 5 * 300  # 301 evaluations: more than the page draws
    make(tmp_path / "a.h5", steps=long, seed=3, params={"drop": "0.1"})
    make(tmp_path / "b.h5", algorithm="local_sgd:period=4", status=RUNNING)
    assert main([str(tmp_path), "--curves", str(tmp_path / "curves.csv")]) == 0
    rows = pd.read_csv(tmp_path / "curves.csv")
    for name, some in rows.groupby("file"):
        run = read(Path(str(name)))
        for column in ("step", "samples", "loss", "metric", "metric_worst", "consensus"):
            assert some[column].tolist() == run.evals[column].tolist()
        assert (some["elapsed_s"] * 1e9).round().tolist() == run.evals["elapsed_ns"].tolist()
        assert set(some["algorithm"]) == {run.attributes["algorithm"]}
        assert set(some["status"]) == {run.status}
    assert rows["seed"].value_counts().to_dict() == {3: 301, 0: 5}
    assert rows[rows["seed"] == 3]["drop"].tolist() == [0.1] * 301
    # 100 B sent and 300 B copied per step and rank; 2 ranks, 4 workers
    assert rows["bytes"].tolist() == (rows["step"] * 200.0).tolist()


def test_json_has_rows_and_tables_without_numbers_that_json_lacks(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    make(runs / "a.h5", target=2.0, hit=False)
    make(runs / "b.h5", status=RUNNING, steps=0, metric=math.nan)
    (runs / "c.h5").write_text("no HDF5")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert main([str(runs), "--json", str(tmp_path / "a.json")]) == 0
    report = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    first, second = report["programs"]["bench.train"]["rows"]
    assert (first["metric"], first["time_to_target_s"], first["workers"]) == (0.9, "inf", 4)
    assert second["metric"] is None
    (chapter,) = report["programs"]["bench.train"]["chapters"]
    assert chapter["title"] == "digits: accuracy, higher is better"
    assert "accuracy" in chapter["tables"][0]["header"]
    assert len(report["left_out"]) == 1


def test_markdown_equals_the_terminal_and_names_are_escaped(tmp_path: Path) -> None:
    make(tmp_path / "a.h5", algorithm="evil|<b>*x*[y](z)`\x1b")
    make(tmp_path / "b.h5", partition="other", metric=0.5)
    (tmp_path / "text|.h5").write_text("no HDF5")
    page = tmp_path / "t.md"
    assert main([str(tmp_path), "--markdown", str(page)]) == 0
    lines = page.read_text().splitlines()
    assert lines[0] == "2 of 3 files read"
    assert "## digits: accuracy, higher is better" in lines
    table = [line for line in lines if line.startswith("| ")]
    assert len({re.sub(r"\\\|", "", line).count("|") for line in table}) == 1
    assert len(table) == 4
    (evil,) = (line for line in table if "evil" in line)
    assert evil.startswith(
        "| iid | evil\\|&lt;b&gt;\\*x\\*[y]\\(z)\\`\ufffd | complete [seed 0] | 0.9000 |"
    )
    assert lines[-1].startswith(f"- {tmp_path}/text\\|.h5: ")


def test_needs_no_mpi_and_no_torch(tmp_path: Path) -> None:
    make(tmp_path / "a.h5")
    make_calls(tmp_path / "b.h5", {64: {"ring": 4.0, "library": 2.0}})
    make_rounds(tmp_path / "c.h5", {"ring": 0.5})
    code = (
        "import sys\nfrom bench.report import main\n"
        f"assert main([{str(tmp_path)!r}, '--html', {str(tmp_path / 'p.html')!r}]) == 0\n"
        "print([x for x in ('mpi4py', 'torch') if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""
