"""Labels of parts: the options that vary and those that matter, next to those of the result."""

from pathlib import Path
from typing import Any

from bench.common.labels import full_spec, labels
from bench.reporting.training.report import chapters
from bench.reporting.training.runs import load
from bench.reporting.training.sections import sections
from tests.bench.made_runs import make


def run(optimizer: str, **options: Any) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Return specs and options of a run with this optimizer."""
    texts = {"task": "digits", "algorithm": "push_sum", "partition": "iid", "optimizer": optimizer}
    return texts, {"optimizer": options}


def test_a_rate_is_in_every_label() -> None:
    """An optimizer with the default rate shows it beside its other options."""
    momentum = run("sgd:momentum=0.9", lr=0.1, momentum=0.9, nesterov=False)
    assert [x["optimizer"] for x in labels([momentum])] == ["sgd:lr=0.1,momentum=0.9"]


def test_options_that_vary_are_in_all_labels_of_the_part() -> None:
    """A default that another run changes, or another version had, is shown; others are not."""
    runs = [run("sgd:nesterov=true", lr=0.1, nesterov=True), run("sgd", lr=0.1, nesterov=False)]
    runs += [run("adam", lr=0.1, nesterov=7)]
    assert [x["optimizer"] for x in labels(runs)] == [
        "sgd:lr=0.1,nesterov=true",
        "sgd:lr=0.1,nesterov=false",
        "adam:lr=0.1",
    ]


def test_a_file_without_options_keeps_its_text() -> None:
    """Names of files of early versions are shown as they are."""
    assert full_spec("sgd:lr=0.5,momentum=0.9", {}, ["lr"]) == "sgd:lr=0.5,momentum=0.9"


def test_a_report_shows_and_finds_the_rate(tmp_path: Path) -> None:
    """Summary, source and filters of a report have the rate; the columns keep the spec."""
    params = {"options": {"optimizer": {"lr": 0.1, "momentum": 0.9}}}
    one = load(make(tmp_path / "a.h5", optimizer="sgd:momentum=0.9", params=params))
    (chapter,) = chapters([one])
    (source,) = chapter.sources
    for text in (chapter.summary, source.label, source.facts["optimizer"]):
        assert "sgd:lr=0.1,momentum=0.9" in text
    (section,) = sections([one])
    assert section.runs[0].row.optimizer == "sgd:momentum=0.9"
