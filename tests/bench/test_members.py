"""Reports of runs whose workers die and return: the number of workers alive over the steps."""

from pathlib import Path

import h5py

from bench.reporting.training.members import figures, members
from bench.reporting.training.runs import load
from bench.reporting.training.sections import sections
from bench.results.epochs import BACK, GONE, Event, alive, append
from tests.bench.made_runs import make

EVENTS = [Event(3, 1, GONE), Event(3, 0, GONE), Event(8, 1, BACK)]


def test_deaths_and_returns_before_one_step_are_one_change() -> None:
    assert alive(EVENTS, 4).tolist() == [[1, 4], [3, 2], [8, 3]]
    assert alive([Event(1, 2, GONE)], 4).tolist() == [[1, 3]]
    assert alive([], 4).tolist() == []


def test_the_page_draws_the_workers_alive_of_runs_with_deaths_only(tmp_path: Path) -> None:
    calm, churned = make(tmp_path / "calm.h5", workers=4), make(tmp_path / "churn.h5", workers=4)
    with h5py.File(churned, "r+") as file:
        append(file, EVENTS)
        file.attrs.update(deaths=2, returns=1, participation=0.7)
    (quiet,) = sections([load(calm)])
    assert figures(quiet) == []
    (both,) = sections([load(calm), load(churned)])
    frame = members(both)
    last = load(churned).curve["step"][-1]
    assert frame[["step", "alive"]].values.tolist() == [[1, 4], [3, 2], [8, 3], [last, 3]]
    (run,) = set(frame["run"])
    assert both.runs[run].row.deaths == 2
    assert [list(figure.charts) for figure in figures(both)] == [["members"]]
