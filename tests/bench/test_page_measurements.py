"""The page of bench.collectives and bench.consensus, and of all three programs together."""

import json
import math
from pathlib import Path

import pytest
import vl_convert

from bench.report import main
from bench.reporting.loading import load
from bench.reporting.page import page
from bench.results.schema import RUNNING
from tests.bench.browser import CHROMIUM
from tests.bench.made_measurements import make_calls, make_rounds
from tests.bench.made_runs import make
from tests.bench.test_page import CHARTS, Reader, drawn_by_browser, page_of
from tests.launching import launch

COLLECTIVES = ("winner", "time", "ratio", "bandwidth")
CONSENSUS = ("rounds", "even", "bytes", "seconds")
SIZES = [2**k for k in range(3, 26, 7)]


def times(names: list[str]) -> dict[int, dict[str, float]]:
    return {size: {name: i + 2 + size / 1000 for i, name in enumerate(names)} for size in SIZES}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Return the page of a file of bench.collectives and one of bench.consensus."""
    folder = tmp_path_factory.mktemp("runs")
    calls = make_calls(folder / "a.h5", times(["ring", "library"]))
    return page_of(calls, make_rounds(folder / "b.h5", {"ring": 0.5}))


def test_every_chart_has_data_and_provenance(document: Reader) -> None:
    report = document.report()
    places = {value for tag, name, value in document.attributes if tag == "div" and name == "id"}
    expected = {f"chart-0-{name}" for name in COLLECTIVES}
    expected |= {f"chart-1-{name}" for name in CONSENSUS}
    assert set(report["specifications"]) == places == expected
    names = {x for text in report["specifications"].values() for x in _data(text)}
    assert names == set(report["datasets"])
    assert all(report["datasets"].values())
    for text in (
        "mpirun -n 2 python -m bench.collectives --time '2 s'",
        "mpirun -n 2 python -m bench.consensus --time '2 s'",
        "node1 (2 ranks)",
        "Some MPI 1.2, built here",
        "1.000 GB/s between two ranks",
        "collectives, 2 ranks, float32, 1 host",
        "consensus, 4 workers, 2 ranks, 1 host, seed 0",
        "smallest median by size: ring 8-16M",
        "fewest rounds to 1e-6:",
    ):
        assert text in document.text + ", ".join(report["provenance"]["texts"])


def _data(specification: object) -> list[str]:
    """Return the names of all data sets of a specification."""
    if isinstance(specification, list):
        return [x for part in specification for x in _data(part)]
    if not isinstance(specification, dict):
        return []
    own = [specification["data"]["name"]] if "data" in specification else []
    return own + [x for part in specification.values() for x in _data(part)]


def test_a_click_in_the_legend_highlights_an_algorithm(document: Reader) -> None:
    report = document.report()
    for name, specification in report["specifications"].items():
        if name != "chart-0-winner":
            whole = specification | {"datasets": report["datasets"]}
            signals = vl_convert.vegalite_to_vega(whole)["signals"]
            assert any("_legend" in signal["name"] for signal in signals), name


def test_texts_of_files_are_escaped(tmp_path: Path) -> None:
    evil = "</script><b>'\"&x"
    paths = [
        make_calls(tmp_path / "<i>.h5", {8: {evil: 4.0, "library": 2.0}}, hosts=[evil] * 2),
        make_calls(tmp_path / "b.h5", times(["ring"]), suite_version=evil, reason=evil),
        make_rounds(tmp_path / "c.h5", {evil: 0.5}, suite_version=evil),
    ]
    document = page_of(*paths, broken=(evil,))
    assert not {"b", "i"} & set(document.tags)
    assert len(document.scripts) == 3
    assert document.text.count(evil) >= 8
    rows = [row for data in document.report()["datasets"].values() for row in data]
    assert {row.get("algorithm", row.get("topology")) for row in rows} >= {evil, "ring"}


def test_the_page_contains_no_samples(tmp_path: Path) -> None:
    lengths = []
    for n in (20, 4000):
        path = make_calls(tmp_path / f"{n}.h5", times(["ring", "library"]), n=n)
        rounds = make_rounds(tmp_path / f"r{n}.h5", {"ring": 0.5 ** (60 / n)}, rounds=n)
        loaded = dict(map(load, [path]))
        assert math.isfinite(loaded["bench.collectives"].rows[0].p50_us)
        lengths.append(len(json.dumps(page_of(path, rounds).report()["datasets"])))
    assert lengths[1] < lengths[0] + 60_000  # some 200 points of a curve, not 4000


def test_size_is_bounded(tmp_path: Path) -> None:
    names = [f"algorithm_{i}" for i in range(13)]
    sizes = {2**k: dict.fromkeys(names, 5.0) for k in range(3, 27, 4)}
    paths = [make_calls(tmp_path / f"{i}.h5", sizes, hosts=["node1"] * i) for i in (2, 4, 8)]
    paths.append(make_rounds(tmp_path / "r.h5", {f"topology_{i}": 0.99 for i in range(7)}))
    loaded = [load(path) for path in paths]
    both = {program: [x for y, x in loaded if y == program] for program, _ in loaded}
    assert len(page(both, ())) < 1_800_000


def test_files_without_rows_are_accepted(tmp_path: Path) -> None:
    calls = make_calls(tmp_path / "a.h5", {}, status=RUNNING)
    document = page_of(calls, make_rounds(tmp_path / "b.h5", {}, status=RUNNING))
    assert document.report()["specifications"] == {}
    assert "no size is finished yet" in document.text
    assert document.text.count(": running") == 2


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH: the page is not rendered")
def test_browser_draws_real_results(tmp_path: Path) -> None:
    runs = ("--out", str(tmp_path / "runs"))
    for program, options in {
        "bench.collectives": ("--algorithms", "ring", "-e", "128", "--time", "0.05"),
        "bench.consensus": ("--workers", "6", "--time", "0.5", "--topology", "ring,exponential"),
    }.items():
        done = launch(2, "-m", program, *options, *runs)
        assert done.returncode == 0, done.stderr
    make(tmp_path / "runs" / "train.h5")
    target = tmp_path / "page.html"
    assert main([str(tmp_path / "runs"), "--html", str(target)]) == 0
    expected = {f"chart-0-{name}" for name in CHARTS}
    expected |= {f"chart-1-{name}" for name in COLLECTIVES}
    expected |= {f"chart-2-{name}" for name in CONSENSUS}
    assert drawn_by_browser(target, tmp_path / "profile") == expected


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH: the page is not rendered")
def test_browser_draws_odd_files_without_an_error(tmp_path: Path) -> None:
    evil = "x'\"\\</script>"
    for i, hosts in enumerate((["a"] * 2, ["a"] * 3, ["a", "b"])):
        make_calls(tmp_path / f"{i}.h5", {8: {evil: 4.0}}, hosts=hosts, suite_version=evil)
        make_rounds(tmp_path / f"r{i}.h5", {evil: 0.0}, hosts=hosts, workers=4 + i, rounds=1)
    make_calls(tmp_path / "wrong.h5", {8: {"ring": 4.0}}, wrong={"ring": 1})
    target = tmp_path / "page.html"
    assert main([str(tmp_path), "--html", str(target)]) == 0
    drawn = drawn_by_browser(target, tmp_path / "profile")
    expected = {f"chart-0-{name}" for name in COLLECTIVES if name != "ratio"}
    assert drawn == expected | {f"chart-1-{name}" for name in CONSENSUS}
