"""Sentences that conclude a report: who is ahead, where nobody is, costs and failures."""

from pathlib import Path
from typing import Any

import pytest

from bench.report import main
from bench.reporting.loading import load as load_file
from bench.reporting.training.conclusion import sentences
from bench.reporting.training.runs import load, sections
from bench.results.schema import DIVERGED
from tests.bench.made_measurements import make_calls, make_rounds
from tests.bench.made_runs import make
from tests.bench.test_page import page_of

SAMPLES = 360


def texts(folder: Path) -> list[str]:
    """Return the sentences of the runs in a folder, which are of one task."""
    (section,) = sections([load(path) for path in sorted(folder.glob("*.h5"))])
    return [x.text for x in sentences(section)]


def write(folder: Path, metrics: dict[tuple[str, str], list[float]], **more: Any) -> None:
    """Write a run per seed; metrics: (algorithm, partition) -> metric by seed."""
    for (algorithm, partition), values in metrics.items():
        for seed, metric in enumerate(values):
            path = folder / f"{algorithm}-{partition}-{seed}.h5"
            make(
                path,
                algorithm=algorithm,
                partition=partition,
                seed=seed,
                metric=metric,
                eval_samples=SAMPLES,
                **more,
            )


def test_a_winner_is_named_with_both_ranges(tmp_path: Path) -> None:
    write(tmp_path, {("a", "iid"): [0.8, 0.81, 0.82], ("b", "iid"): [0.9, 0.91, 0.92]})
    lines = texts(tmp_path)
    assert lines[0] == (
        "b is ahead in accuracy: 0.9100 [0.9000, 0.9200] against 0.8100 [0.8000, 0.8200] of a"
    )
    assert "a and b are not told apart in time of a step (medians 2.00 ms; ranges overlap)" in lines


def test_conditions_are_counted_and_named(tmp_path: Path) -> None:
    low, high = [0.8, 0.81, 0.82], [0.9, 0.91, 0.92]
    write(tmp_path, {("a", "iid"): low, ("b", "iid"): high, ("a", "x"): high, ("b", "x"): high})
    write(tmp_path, {("c", "iid"): [0.5] * 3, ("c", "x"): [0.5] * 3})
    lines = texts(tmp_path)
    assert lines[0].startswith("b is ahead in accuracy in 1 of 2 conditions (iid): 0.9100 [")
    assert lines[1] == (
        "a and b are not told apart in accuracy in 1 of 2 conditions (x) "
        "(medians 0.9100; ranges overlap)"
    )
    assert lines[2] == "c is behind all others in accuracy in 1 of 2 conditions (x)"


def test_few_seeds_and_small_gaps_name_nobody(tmp_path: Path) -> None:
    write(tmp_path, {("a", "iid"): [0.8, 0.8], ("b", "iid"): [0.9, 0.9]})
    assert texts(tmp_path)[0] == (
        "b and a are not told apart in accuracy (medians 0.8000 to 0.9000; fewer than 3 seeds): "
        "run each case with at least 3 seeds"
    )
    write(tmp_path, {("a", "iid"): [324 / 360] * 3, ("b", "iid"): [325 / 360] * 3})
    assert texts(tmp_path)[0].endswith("(medians 0.9000 to 0.9028; within one held-out sample)")


def test_failures_and_missed_targets_are_counted(tmp_path: Path) -> None:
    write(tmp_path, {("a", "iid"): [0.9]}, target=0.95, hit=False)
    make(tmp_path / "d.h5", algorithm="b", status=DIVERGED, seed=0)
    make(tmp_path / "e.h5", algorithm="b", seed=1)
    lines = texts(tmp_path)
    assert "b diverged in 1 of 2 runs (iid)" in lines
    assert "a missed the target in 1 of 1 run" in lines


def test_a_single_algorithm_is_told_to_be_alone(tmp_path: Path) -> None:
    write(tmp_path, {("a", "iid"): [0.9]})
    assert texts(tmp_path)[0].startswith("a reaches accuracy 0.9000 with one seed; there is not")


def test_the_same_sentences_end_every_report_and_link_to_charts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    write(runs, {(a, p): [0.8, 0.81, 0.82] for a in "ab" for p in ("iid", "x")})
    for i in range(3):
        calls = {8: {"ring": 1.0, "library": 2.0}, 64: {"ring": 2.0 + i, "library": 2.5}}
        make_calls(runs / f"c{i}.h5", calls)
    make_rounds(runs / "r.h5", {"ring": 0.5, "full": 0.0})
    markdown = tmp_path / "m.md"
    assert main([str(runs), "--markdown", str(markdown)]) == 0
    lines = capsys.readouterr().out.replace("\n  ", " ").splitlines()
    document = page_of(*sorted(runs.glob("*.h5")))
    links = {value for tag, name, value in document.attributes if name == "data-shows"}
    assert {"chart-0-map-mean", "chart-0-map-step", "chart-1-winner", "chart-2-rounds"} <= links
    ids = {value for _, name, value in document.attributes if name == "id"}
    assert links <= ids
    first = lines.index("Conclusions, digits: accuracy, higher is better:")
    for text in (
        "no algorithm is ahead in accuracy in any of 2 conditions (ranges overlap)",
        "ring is the fastest at 8 B, in 0.50 of the time of the library",
        "library, ring are not told apart at 64 B",
        "full reaches an error of 1e-6 in the fewest rounds (1)",
        "2 of 2 measured contraction factors are within 1 % of theory",
    ):
        assert f"- {text}." in lines[first:], text
        assert f"- {text}." in markdown.read_text().splitlines()
        assert f"{text}." in document.text


def test_wrong_sums_are_named(tmp_path: Path) -> None:
    calls = {8: {"ring": 1.0, "tree": 0.5, "library": 2.0}}
    _, launch = load_file(make_calls(tmp_path / "c.h5", calls, wrong={"tree": 1}))
    from bench.reporting.collectives.report import chapters

    lines = [x.text for x in chapters([launch])[0].sentences]
    assert lines[0].startswith(
        "ring has the smallest median at 8 B, in 0.50 of the time of the library (f"
    )
    assert lines[1] == "tree computes wrong sums and is not ranked"
