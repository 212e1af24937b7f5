"""Sentences that conclude a report: who is ahead, where nobody is, costs and failures."""

from pathlib import Path
from typing import Any

import pytest

from bench.report import main
from bench.reporting.consensus.report import chapters as consensus_chapters
from bench.reporting.loading import load as load_file
from bench.reporting.training.conclusion import fewest_bytes, sentences
from bench.reporting.training.ranking import Contest, rank
from bench.reporting.training.runs import load
from bench.reporting.training.sections import sections
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
        "In accuracy, b is ahead: 0.9100 [0.9000, 0.9200] against 0.8100 [0.8000, 0.8200] of a"
    )
    tied = "In time of a step, a and b are not told apart (medians 2.00 ms; ranges overlap)"
    assert tied in lines


def test_conditions_are_counted_and_named(tmp_path: Path) -> None:
    low, high = [0.8, 0.81, 0.82], [0.9, 0.91, 0.92]
    write(tmp_path, {("a", "iid"): low, ("b", "iid"): high, ("a", "x"): high, ("b", "x"): high})
    write(tmp_path, {("c", "iid"): [0.5] * 3, ("c", "x"): [0.5] * 3})
    lines = texts(tmp_path)
    assert lines[0].startswith("In accuracy, b is ahead in 1 of 2 conditions (iid): 0.9100 [")
    assert lines[1] == (
        "In accuracy, a and b are not told apart in 1 of 2 conditions (x) "
        "(medians 0.9100; ranges overlap)"
    )
    assert lines[2] == "In accuracy, c is behind all others in 1 of 2 conditions (x)"


def test_few_seeds_and_small_gaps_name_nobody(tmp_path: Path) -> None:
    write(tmp_path, {("a", "iid"): [0.8, 0.8], ("b", "iid"): [0.9, 0.9]})
    assert texts(tmp_path)[0] == (
        "In accuracy, b and a are not told apart (medians 0.8000 to 0.9000; fewer than 3 seeds): "
        "run each case with at least 3 seeds"
    )
    write(tmp_path, {("a", "iid"): [324 / 360] * 3, ("b", "iid"): [325 / 360] * 3})
    assert texts(tmp_path)[0].endswith("(medians 0.9000 to 0.9028; within one held-out sample)")


def test_unknown_numbers_of_samples_are_told(tmp_path: Path) -> None:
    write(tmp_path, {("a", "iid"): [0.9] * 3, ("b", "iid"): [0.8] * 3})
    assert not any("number of held-out samples" in x for x in texts(tmp_path))
    make(tmp_path / "a-iid-0.h5", algorithm="a", partition="iid")
    assert any(
        x.startswith("Of 6 files, 1 do not hold the number of held-out samples, so a")
        for x in texts(tmp_path)
    )


def test_the_share_of_the_exchange_is_given(tmp_path: Path) -> None:
    write(tmp_path, {("a", "iid"): [0.9] * 3, ("b", "iid"): [0.8] * 3})
    assert texts(tmp_path)[-1] == "The exchange takes 33 % of a step"  # two of six equal phases


def test_bytes_that_overlap_crown_nobody(tmp_path: Path) -> None:
    """Counts that vary between runs are compared by their ranges, others exactly."""

    def contest(*values: list[float]) -> Contest:
        names = list("abc")[: len(values)]
        return Contest("", {}, names, [0] * len(names), [*values], rank(values, "min"))

    def first(*values: list[float]) -> str:
        return "".join(x.text.partition(":")[0] for x in fewest_bytes([contest(*values)]))

    assert first([1.0], [2.0]) == "The fewest bytes are sent by a"
    assert first([1.0, 3.0], [2.0, 4.0]) == ""
    assert first([1.0], [1.0], [2.0]) == "The fewest bytes are sent by a and b"
    assert first([1.0], [1.0]) == ""


def test_the_least_time_needs_three_launches(tmp_path: Path) -> None:
    """The times of gossip are ranked by the rule of all other times."""
    paths = [make_rounds(tmp_path / f"{i}.h5", {"ring": 0.5, "star": 0.25}) for i in range(3)]
    loaded = [load_file(path)[1] for path in paths]
    (one,), (three,) = consensus_chapters(loaded[:1]), consensus_chapters(loaded)
    for chapter, text in (
        (one, "not told apart (medians 0.100 ms, star, to 0.200 ms, ring; fewer than 3 launches)"),
        (three, "the least with star: 0.100 ms, then 0.200 ms with ring"),
    ):
        assert chapter.tables[0].foot[-1] == f"time to 1e-6:          {text}"
        claims = [x.text for x in chapter.sentences if x.charts == ("seconds",)]
        assert claims == [f"The time to an error of 1e-6 is {text}"]


def test_failures_and_missed_targets_are_counted(tmp_path: Path) -> None:
    write(tmp_path, {("a", "iid"): [0.9]}, target=0.95, hit=False)
    make(tmp_path / "d.h5", algorithm="b", status=DIVERGED, seed=0)
    make(tmp_path / "e.h5", algorithm="b", seed=1)
    lines = texts(tmp_path)
    assert "Of 2 runs of b, 1 diverged (iid)" in lines
    assert "Of 1 run of a, 1 missed the target" in lines


def test_a_single_algorithm_is_told_to_be_alone(tmp_path: Path) -> None:
    write(tmp_path, {("a", "iid"): [0.9]})
    assert texts(tmp_path)[0].startswith("With 1 seed, a reaches accuracy 0.9000; there is not")


def test_the_same_conclusionsend_every_report_and_link_to_charts(
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
    conclusions = [x[2:] for x in lines[first:] if x.startswith("- ")]
    assert conclusions
    assert [x for x in conclusions if not (x[0].isupper() and x.endswith("."))] == []
    for text in (
        "In accuracy, no case is ahead in any of 2 conditions (ranges overlap)",
        "At 8 B ring is the fastest, in 0.50 of the time of the library",
        "At 64 B library, ring are not told apart",
        "An error of 1e-6 takes the fewest rounds with full (1)",
        "Of 2 measured contraction factors, 2 are within 1 % of theory",
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
        "At 8 B ring has the smallest median, in 0.50 of the time of the library (f"
    )
    assert lines[1] == "Wrong sums exclude tree from the ranking"
