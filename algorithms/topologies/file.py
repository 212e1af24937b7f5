"""Links that a file names: a site's own network.

Text: a line `source target` for every link, numbers from 0; # begins a comment. Or JSON: a list
whose entry i is the list of the workers that i sends to. A link that goes both ways is named twice.
Self-links and doubles are dropped. The number of workers is one more than the largest number.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from algorithms.topologies.protocol import Links, links


@dataclass(frozen=True)
class File:
    """The links that a file names, every round."""

    path: str = field(
        default="", metadata={"help": "lines `source target`, or JSON lists of who hears from each"}
    )

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path must name a file of links, got none: file:path=links.txt")
        self._graph  # noqa: B018  # read and checked now, not when ranks compute

    def period(self, total: int) -> int:
        """1: static."""
        return 1

    def size(self, total: int) -> int:
        """As many as the file names. Errors: ValueError where it is of other workers than W."""
        return len(self._for(total).source)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Those of the file. Errors: ValueError where it is of other workers than W."""
        return self._for(total)

    def _for(self, total: int) -> Links:
        known = self._graph.total
        if total < known:
            where = next(line for line, *link in self._named if max(link) >= total)
            raise ValueError(
                f"{self.path}, {where}: worker numbers must be below W = {total}, and the file "
                f"goes to {known - 1}: take {known} workers, or another file"
            )
        if total > known:
            raise ValueError(
                f"{self.path} links {known} workers, got W = {total}: take {known} workers, or "
                "name the links of the others, too"
            )
        return self._graph

    @cached_property
    def _named(self) -> list[tuple[str, int, int]]:
        """Where in the file, source and target of every link."""
        try:
            text = Path(self.path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise ValueError(f"{self.path} cannot be read: {reason}") from None
        found = (from_json if text.lstrip().startswith(("[", "{")) else from_lines)(self.path, text)
        if not found:
            raise ValueError(f"{self.path} names no link: write lines `source target`")
        return found

    @cached_property
    def _graph(self) -> Links:
        source, target = np.array([link for _, *link in self._named], np.int64).T
        there = np.union1d(source, target)
        if len(there) <= there[-1]:
            missing = int(np.flatnonzero(there != np.arange(len(there)))[0])
            raise ValueError(
                f"{self.path}: worker {missing} has no link, and {there[-1]} is there: number the "
                "workers from 0 without a gap"
            )
        graph = links(len(there), source, target)
        for way, turned in (("from", graph), ("to", links(graph.total, target, source))):
            lost = np.flatnonzero(~turned.reached(0))
            if len(lost):
                raise ValueError(
                    f"{self.path}: no way leads {way} worker 0 {'to' if way == 'from' else 'from'} "
                    f"worker {lost[0]}, so they never agree: name a link that joins them"
                )
        return graph


def from_lines(path: str, text: str) -> list[tuple[str, int, int]]:
    """The links of lines `source target`. Errors: ValueError that names the line."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            if len(words) != 2 or not all(word.isascii() and word.isdigit() for word in words):
                raise ValueError(
                    f"{path}, line {number}: write `source target`, two whole numbers from 0, got "
                    f"{line.strip()!r}"
                )
            found.append((f"line {number}", int(words[0]), int(words[1])))
    return found


def from_json(path: str, text: str) -> list[tuple[str, int, int]]:
    """The links of a JSON list of lists. Errors: ValueError that names the line or the entry."""
    try:
        lists = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from None
    if not isinstance(lists, list):
        raise ValueError(f"{path}: write a list of lists, [[1, 2], [0], [0]], got an object")
    found = []
    for source, targets in enumerate(lists):
        if not isinstance(targets, list) or not all(type(x) is int and x >= 0 for x in targets):
            raise ValueError(
                f"{path}, entry {source}: write the list of the workers that {source} sends to, "
                f"whole numbers from 0, got {json.dumps(targets)[:60]}"
            )
        found += [(f"entry {source}", source, target) for target in targets]
    return found
