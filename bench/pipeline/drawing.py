"""Drawings of a pipeline in model time, as text and as SVG.

A forward pass takes one unit of time and a backward pass two. Digits are forward passes of a
micro-batch, primes their backward passes, and dots idle time. Where the backward pass has two
parts, one prime is the gradient of the input and two are that of the parameters. Where a position
has several stages, letters number them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from string import ascii_lowercase

from algorithms.pipelines.clock import Durations, Played, peaks, play
from algorithms.pipelines.protocol import Action, Kind, Pipeline

MARKS: dict[Kind, str] = {"forward": "", "backward": "'", "input": "'", "weight": '"'}
COLOURS: dict[Kind, tuple[str, str]] = {
    "forward": ("#8fb0ea", "#c4d7f6"),
    "backward": ("#86cf9a", "#c2e8cc"),
    "input": ("#86cf9a", "#c2e8cc"),
    "weight": ("#eac57f", "#f5e3c1"),
}
"""Colours of a pass through the stages of even and odd chunks."""


@dataclass(frozen=True)
class Cell:
    """A pass in the drawing: its label, colour, and the units of time that it takes."""

    label: str
    colour: str
    start: int
    stop: int


class Drawing:
    """A pipeline in model time: for every position a row of cells."""

    def __init__(self, pipeline: Pipeline, minibatches: int) -> None:
        self._pipeline = pipeline
        times = Durations.equal(pipeline.stages, forward=1, input=1, weight=1)
        self.played: Played = play(pipeline, times, minibatches)
        self._minibatches = minibatches
        self.rows = [[self._cell(*each) for each in spans] for spans in self.played.spans]
        self.units = int(self.played.makespan)

    def _cell(self, action: Action, start: float, end: float) -> Cell:
        chunk = action.stage // self._pipeline.positions
        letter = ""
        if self._pipeline.positions < self._pipeline.stages:
            letter = ascii_lowercase[chunk % len(ascii_lowercase)]
        label = f"{action.microbatch}{letter}{MARKS[action.kind]}"
        return Cell(label, COLOURS[action.kind][chunk % 2], int(start), int(end))

    def lines(self, width: int) -> Iterator[list[tuple[str, str]]]:
        """Yield lines of at most `width` characters as pieces of text and colour.

        A longer drawing continues below, with an empty line between the parts.
        """
        size = max((len(cell.label) for row in self.rows for cell in row), default=1)
        left = len(self.head(len(self.rows) - 1))
        many = max(1, (width - left) // (size + 1))
        for first in range(0, self.units, many):
            if first:
                yield [("", "")]
            for r, row in enumerate(self.rows):
                units = [(".", "")] * self.units
                for cell in row:
                    units[cell.start : cell.stop] = [(cell.label, cell.colour)] * (
                        cell.stop - cell.start
                    )
                shown = units[first : first + many]
                pieces = [(f"{text:<{size + 1}}", colour) for text, colour in shown]
                yield [(self.head(r).ljust(left), ""), *pieces]

    def head(self, position: int) -> str:
        """Return the label of a row."""
        stages = range(position, self._pipeline.stages, self._pipeline.positions)
        word = "stage" if len(stages) == 1 else "stages"
        return f"{word} {','.join(map(str, stages))}   "

    def facts(self) -> list[str]:
        """Return lines with the time, the idle fraction, and the memory of every position."""
        pipeline, played = self._pipeline, self.played
        peak = peaks(pipeline, self._minibatches)
        weights = [pipeline.weights(s) for s in range(pipeline.stages)]
        each = "position" if pipeline.positions < pipeline.stages else "stage"
        return [
            f"time       {self.units} units: a forward pass takes 1, a backward pass 2",
            f"idle       {played.bubble():.1%} of the time of all positions",
            f"kept       activations of {', '.join(map(str, peak))} forward passes, by {each}",
            f"versions   {', '.join(map(str, weights))} of the parameters, by stage",
            f"messages   {played.messages}, activations and gradients together",
        ]


UNIT, HEIGHT, LEFT = 26, 30, 110
"""Pixels of a unit of time, of a row, and of the labels of the rows."""


def svg(drawing: Drawing, title: str) -> str:
    """Return the drawing as an SVG picture."""
    width = LEFT + UNIT * drawing.units + 10
    height = HEIGHT * (len(drawing.rows) + 1) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="10" y="20" font-weight="bold">{escape(title)}</text>',
    ]
    for r, row in enumerate(drawing.rows):
        y = HEIGHT * (r + 1)
        parts.append(f'<text x="10" y="{y + 19}">{escape(drawing.head(r).strip())}</text>')
        parts.append(
            f'<rect x="{LEFT}" y="{y}" width="{UNIT * drawing.units}" height="{HEIGHT - 4}" '
            'fill="#eeeeee"/>'
        )
        for cell in row:
            x, wide = LEFT + UNIT * cell.start, UNIT * (cell.stop - cell.start)
            parts.append(
                f'<rect x="{x}" y="{y}" width="{wide - 1}" height="{HEIGHT - 4}" '
                f'fill="{cell.colour}"/>'
                f'<text x="{x + wide / 2:g}" y="{y + 18}" text-anchor="middle">'
                f"{escape(cell.label)}</text>"
            )
    return "\n".join([*parts, "</svg>", ""])
