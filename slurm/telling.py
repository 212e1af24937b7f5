"""What a person sees while cases run on this machine: a line for each that has ended."""

from __future__ import annotations

from pathlib import Path

from bench.session.lines import Lines
from bench.session.signals import AGAIN
from slurm.campaign import Entry
from slurm.marks import last_words, marks


class Teller(Lines):
    """The lines of entries, by their results in a campaign's folder."""

    def __init__(self, folder: Path, entries: list[Entry]) -> None:
        width = max((len(x.case.label) for x in entries), default=0)
        super().__init__(len(entries), [x.case.geometry.ranks for x in entries], width)
        self._folder = folder

    def begin(self, entry: Entry) -> None:
        """Tell that a case begins."""
        self.started(entry.case.label)

    def end(self, entry: Entry, code: int) -> None:
        """Tell how it ended, by its result or else its exit code."""
        if code == AGAIN:
            how = "stopped, to go on from there"
        elif code:
            how = f"failed: {last_words(entry.output(self._folder)) or f'exit code {code}'}"
        else:
            said = marks(self._folder, [entry]).get(entry.case.hash)
            how = said.status if said else "no result"
        self.ended(entry.case.label, how, entry.case.geometry.ranks, typical=not code)
