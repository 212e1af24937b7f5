"""Topology from a file of links, such as the network of a site.

Text: a line `source target` for every link, numbers from 0; # begins a comment. Or JSON: a list
whose entry i is the list of the out-neighbours of i. A link that goes both ways has two entries.
Self-links and doubles are dropped. The number of workers is one more than the largest number.
"""

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from algorithms.topologies.protocol import Links, links
from bench.common.files import parse_json, read_text

NUMBER = re.compile(r"0*[0-9]{1,18}")
LARGEST = 10**18
"""Bound of the numbers of workers, which NUMBER observes."""


@dataclass(frozen=True)
class File:
    """The links of a file, every round."""

    path: str = field(
        default="",
        metadata={
            "help": "file of lines `source target`, or of JSON lists of out-neighbours",
            "path": True,
        },
    )

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path must name a file of links, got none: file:path=links.txt")
        self._graph  # noqa: B018  # read and check before the ranks compute

    def period(self, total: int) -> int:
        """Return 1: the links are static."""
        return 1

    def size(self, total: int) -> int:
        """Return the number of links. Errors: ValueError if the file has not W workers."""
        return len(self._for(total).source)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return the links of the file. Errors: ValueError if it has another number of workers."""
        return self._for(total)

    def _for(self, total: int) -> Links:
        workers = self._graph.total
        if total < workers:
            where = next(line for line, *link in self._named if max(link) >= total)
            raise ValueError(
                f"{self.path}, {where}: worker numbers must be below W = {total}, and the file "
                f"goes to {workers - 1}: take {workers} workers, or another file"
            )
        if total > workers:
            raise ValueError(
                f"{self.path} links {workers} workers, got W = {total}: take {workers} workers, "
                "or add the links of the others"
            )
        return self._graph

    @cached_property
    def _named(self) -> list[tuple[str, int, int]]:
        """Place in the file, source and target of every link."""
        try:
            text = read_text(Path(self.path))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ValueError(f"{self.path} cannot be read: {reason}") from None
        entries = (from_json if text.lstrip().startswith(("[", "{")) else from_lines)(
            self.path, text
        )
        if not entries:
            raise ValueError(f"{self.path} has no links: write lines `source target`")
        return entries

    @cached_property
    def _graph(self) -> Links:
        source, target = np.array([link for _, *link in self._named], np.int64).T
        workers = np.union1d(source, target)
        if len(workers) <= workers[-1]:
            missing = int(np.flatnonzero(workers != np.arange(len(workers)))[0])
            raise ValueError(
                f"{self.path}: worker {missing} has no link, and worker {workers[-1]} has: number "
                "the workers from 0 without a gap"
            )
        graph = links(len(workers), source, target)
        for way, turned in (("from", graph), ("to", links(graph.total, target, source))):
            lost = np.flatnonzero(~turned.reached(0))
            if len(lost):
                raise ValueError(
                    f"{self.path}: no way leads {way} worker 0 {'to' if way == 'from' else 'from'} "
                    f"worker {lost[0]}, so they never agree: name a link that joins them"
                )
        return graph


def from_lines(path: str, text: str) -> list[tuple[str, int, int]]:
    """Return the links of lines `source target`. Errors: ValueError with the line number."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            if len(words) != 2 or not all(map(NUMBER.fullmatch, words)):
                raise ValueError(
                    f"{path}, line {number}: write `source target`, two whole numbers from 0, got "
                    f"{line.strip()[:60]!r}"
                )
            entries.append((f"line {number}", int(words[0]), int(words[1])))
    return entries


def from_json(path: str, text: str) -> list[tuple[str, int, int]]:
    """Return the links of a JSON list of lists. Errors: ValueError with the line or the entry."""
    try:
        lists = parse_json(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(lists, list):
        raise ValueError(f"{path}: write a list of lists, [[1, 2], [0], [0]], got an object")
    entries = []
    for source, targets in enumerate(lists):
        if not isinstance(targets, list) or not all(
            type(x) is int and 0 <= x < LARGEST for x in targets
        ):
            raise ValueError(
                f"{path}, entry {source}: write the list of the out-neighbours of {source}, "
                f"whole numbers from 0, got {json.dumps(targets)[:60]}"
            )
        entries += [(f"entry {source}", source, target) for target in targets]
    return entries
