"""Filters of the page: the sources of rows and marks, and a browser that uses them."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from bench.report import main
from bench.reporting.page import facets
from bench.reporting.training import metrics, times
from bench.reporting.training.report import best, cards, chapters, facts, row_sources
from bench.reporting.training.runs import load
from bench.reporting.training.sections import Section, sections
from bench.reporting.training.tables import text_tables
from bench.results.schema import DIVERGED
from tests.bench.browser import CHROMIUM, Browser
from tests.bench.made_runs import make
from tests.launching import wait_until

ODD = "x'\"\\</script>, y"
NAMES = ("push_sum", ODD)
PARTS = ("iid", "dirichlet:alpha=0.1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 2 algorithms x 2 partitions x 2 seeds and a diverged run."""
    folder = tmp_path_factory.mktemp("runs")
    for i, name in enumerate(NAMES):
        for j, part in enumerate(PARTS):
            for seed in range(2):
                value = 0.9 - 0.1 * i - 0.01 * seed
                file = folder / f"{i}{j}{seed}.h5"
                make(file, algorithm=name, partition=part, seed=seed, metric=value)
    make(folder / "d.h5", status=DIVERGED, seed=7)
    return folder


@pytest.fixture(scope="module")
def example(folder: Path) -> Section:
    (example,) = sections([load(path) for path in sorted(folder.glob("*.h5"))])
    return example


def test_rows_list_their_runs(example: Section) -> None:
    (table,) = text_tables(example)
    assert row_sources(example, table) == [sorted(places) for places in example.places]
    (overview,) = best(example)
    for row, runs in zip(overview.rows, row_sources(example, overview), strict=True):
        assert {example.runs[i].settings["partition"] for i in runs} == {row[0]}
        assert len(runs) == (5 if row[0] == "iid" else 4)


def test_rows_below_headings_list_their_own_runs(example: Section) -> None:
    runs = [
        replace(run, settings=run.settings | {"optimizer": x, "steps": n, "ranks": n, "batch": n})
        for run in example.runs
        for x in ("sgd", "adam")
        for n in (20, 40)
    ]
    (mixed,) = sections(runs)
    tables = text_tables(mixed)
    assert len(tables) > 1  # too much varies for columns
    rows_of_runs = [runs for table in tables for runs in row_sources(mixed, table)]
    assert sorted(map(sorted, rows_of_runs)) == sorted(map(sorted, mixed.places))


def test_facets_are_the_varying_settings(example: Section) -> None:
    (chapter,) = chapters(example.runs)
    rows_of_runs = {x.name: x for x in facets(chapter.sources)}
    assert list(rows_of_runs) == ["algorithm", "partition", "seed", "status"]
    assert rows_of_runs["seed"].values == ["0", "1", "7"]
    for name, facet in rows_of_runs.items():
        cards_by_label = [facet.values[i] for i in facet.of]
        assert cards_by_label == [facts(run)[name] for run in example.runs]


UNSURE = "not told apart [fewer than 3 seeds]"


def test_overview_counts_and_names_the_best(example: Section) -> None:
    cards_by_label = {card.label: (card.value, card.note, card.bad) for card in cards(example)}
    assert cards_by_label["runs"] == ("9", "1 diverged", True)
    assert cards_by_label["algorithms"] == ("2", "", False)
    assert cards_by_label["workers"] == ("4", "on 2 ranks", False)
    assert cards_by_label["fastest step"][:2] == ("-", "not told apart: fewer than 3 seeds")
    (table,) = best(example)
    assert [row[1:3] for row in table.rows] == [["push_sum [2 seeds]", f"{ODD} [2 seeds]"]] * 2
    assert table.rows[0][3:] == ["0.8950 [0.890, 0.900]", "0.7950 [0.790, 0.800]", UNSURE]
    assert table.tones == {}
    (few,) = best(replace(example, runs=[x for x in example.runs if x.row.seed == 0]))
    assert {row[-1] for row in few.rows} == {UNSURE}


def test_many_runs_are_drawn_as_medians_in_bands(example: Section) -> None:
    bands = metrics.bands(example)
    curves = metrics.curves(example)
    for number, case in example.complete():
        own = bands[bands["case"] == number]
        theirs = curves[curves["run"].isin(example.places[number])].groupby("step")["metric"]
        assert own["metric"].tolist() == pytest.approx(theirs.median().tolist())
        assert own["low"].tolist() == theirs.min().tolist()
        assert own["high"].tolist() == theirs.max().tolist()
        assert len(case) == 2


def test_a_straggler_is_marked_and_neighbours_share_a_bar(example: Section) -> None:
    drawn = times.frame(example)
    assert drawn["late"].unique().tolist() == ["", "+33%"]  # rank 1 takes twice as long as rank 0
    assert drawn[drawn["late"] != ""]["rank"].unique().tolist() == ["1"]
    phase = 2.0 / 6  # ms of each of six phases on rank 1
    bars = drawn[drawn["rank"] == "1"].groupby("kind")["ms"].first()
    assert bars.to_dict() == pytest.approx(
        {"compute": 4 * phase, "exchange": 2 * phase},
        rel=1e-5,  # six digits are drawn
    )
    wide = [
        replace(run, rank_ms=run.rank_ms.repeat(100, 0), rank_hosts=["a"] * 100 + ["b"] * 100)
        for run in example.runs
    ]
    many = times.frame(replace(example, runs=wide))
    assert many.groupby("case")["rank"].nunique().tolist() == [times.BARS] * 4
    named = many[(many["begins"] != "") & (many["case"] == many["case"].min())]
    assert named[["rank", "begins"]].to_numpy().tolist() == [["0-2", "a"], ["100-102", "b"]]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH: the page is not rendered")
def test_filters_change_tables_and_charts(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    assert main([str(folder), "--html", str(target)]) == 0
    shown = (
        "[document.getElementById('count').value,"
        " ...['tr[data-runs]', '.runs details', '#chart-0-final path[aria-label]'].map(x => "
        "[...document.querySelectorAll(x)].filter(y => y.checkVisibility()).length)].join(', ')"
    )
    everything = "9 runs, 7, 9, 16"  # 2 best and 5 cases; a mark for mean model and worst worker
    with Browser(tmp_path / "profile") as browser:
        browser.open(target.as_uri())
        assert browser.run(shown) == everything
        # by mouse, and by keyboard
        browser.click(".facet[data-facet='1'] > summary")
        browser.click(".facet[data-facet='1'] label:last-of-type")
        browser.settle()
        assert browser.run("location.hash") == "#partition=iid"
        assert browser.run(shown) == "5 of 9 runs, 4, 5, 8"
        browser.press("Escape")
        assert browser.run("document.querySelectorAll('.facet[open]').length") == 0
        browser.press("Enter", "\r")
        assert browser.run("document.querySelectorAll('.facet[open]').length") == 1
        browser.press("Escape")
        browser.click("#reset")
        browser.settle()
        assert browser.run(shown) == everything
        # a view that was shared
        browser.open(f"{target.as_uri()}#algorithm={quote(ODD)}&seed=1&partition=iid")
        assert browser.run(shown) == "1 of 9 runs, 2, 1, 2"
        browser.open(f"{target.as_uri()}#search=diverged")
        assert browser.run(shown).startswith("1 of 9 runs, 2, 1, ")  # and the best
        assert not browser.run("document.getElementById('chart-0-final').checkVisibility()")
        browser.run("document.querySelector('.runs details:not([hidden]) summary').click()")
        assert "--seed 7" in browser.run("document.querySelector('.runs details[open]').innerText")
        # an option, typed
        rates = tmp_path / "rates"
        rates.mkdir()
        for rate in ("lr=0.1", "lr=0.15", "lr=0.1,momentum=0.9", "outer_lr=0.1"):
            make(rates / f"{rate}.h5", optimizer=f"sgd:{rate}")
        assert main([str(rates), "--html", str(target)]) == 0
        browser.open(target.as_uri())
        browser.click("#search")
        for key in "lr=0.1":
            browser.press(key, key)
        wait_until(lambda: browser.run("location.hash") == "#search=lr%3D0.1", "the search")
        browser.settle()
        assert browser.run(shown).startswith("2 of 4 runs, ")
        left = "[...document.querySelectorAll('.runs summary')].filter(x => x.checkVisibility())"
        labels = browser.run(f"{left}.map(x => x.innerText).join(' ')")
        assert "sgd:lr=0.1 " in labels.replace(",", " ")
        assert "momentum=0.9" in labels
        assert [str(x)[:400] for x in browser.complaints] == []
