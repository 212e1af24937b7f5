"""Metrics of workers some steps after the last exchange of parameters, when they moved apart."""

from __future__ import annotations

from bench.reporting.training.sections import Section


def notes(section: Section) -> list[str]:
    """Return the meaning of the mark of metrics of workers, where a run has it."""
    if all(run.row.since <= 0 for run in section.runs):
        return []
    return [
        "(+n): worst worker and consensus n steps after the last exchange, since which workers "
        "have moved apart; compare them at the same n, or run with --eval-at period"
    ]


def caption(section: Section) -> str:
    """Return the notes as the end of a caption."""
    return "".join(f" {note}." for note in notes(section))
