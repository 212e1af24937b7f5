"""Task of a small transformer that predicts the next character, on the text of `--data`.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, the decoder alone, with the norm before
each part: Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020.
Departs from the papers: (1) no dropout; (2) positions are learned, and input and output do not
share weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from bench.common.spec import UserError
from bench.common.text import counted
from bench.tasks.mlp import check_part, width_for
from bench.tasks.protocol import Metric, Needs, Task

if TYPE_CHECKING:
    from bench.tasks.attention import CharacterProblem
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.protocol import Summary, Table, Text


def count(width: int, depth: int, context: int, alphabet: int) -> int:
    """Return the number of parameters of a transformer."""
    block = 12 * width**2 + 13 * width
    return (alphabet + context) * width + depth * block + 2 * width + (width + 1) * alphabet


@dataclass(frozen=True)
class Transformer(Task):
    """Next character of a text by a small transformer; speakers are classes and groups."""

    context: int = field(default=64, metadata={"help": "characters of a window"})
    width: int = field(
        default=64, metadata={"help": "features of a character, a multiple of heads"}
    )
    depth: int = field(default=2, metadata={"help": "blocks of attention and perceptron"})
    heads: int = field(default=4, metadata={"help": "heads of attention in a block"})
    parameters: int = field(
        default=0, metadata={"help": "minimum number of parameters, sets the width; 0: by width"}
    )
    speakers: int = field(
        default=0, metadata={"help": "number of speakers, those with most text; 0: all"}
    )
    held_out: float = field(
        default=0.1, metadata={"help": "last fraction of each speaker's windows, held out"}
    )
    metric: ClassVar[Metric] = Metric("bits_per_character", "min")

    def __post_init__(self) -> None:
        for name, least in (
            ("context", 1),
            ("width", 1),
            ("depth", 1),
            ("heads", 1),
            ("parameters", 0),
            ("speakers", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")
        if not self.parameters and self.width % self.heads:
            below, heads = self.width - self.width % self.heads, self.heads
            near = " or ".join(str(x) for x in (below, below + heads) if x)
            raise ValueError(
                f"width must be a multiple of heads={heads}, got {self.width}: take {near}"
            )
        if self.parameters and self.width != Transformer.width:
            raise ValueError(
                f"parameters={self.parameters} sets the width: leave width={self.width} out"
            )
        check_part(self.held_out)

    @property
    def needs(self) -> Needs:
        """Declare that the task reads a text, which --data must name."""
        return Needs(reads="text", data=True, layered=True)

    def load(self, dtype: str, data: str = "") -> CharacterProblem:
        """Read the text and cut it into windows of context + 1 characters of one speaker.

        Errors: UserError without a text; ValueError for a text that is too short, or has fewer
        speakers.
        """
        from bench.data.opening import open_text
        from bench.tasks.attention import CharacterProblem, decoder
        from bench.tasks.transformer import windows

        if not data:
            raise UserError(
                "transformer needs --data FILE: a text, such as the one that "
                "`python -m bench.fetch tinyshakespeare` downloads"
            )
        text = open_text(data)
        cut = windows(text, self.context + 1, self.held_out, self.speakers)
        summary = Summary(
            f"data: {data}, {len(text.codes):,} characters, {len(text.alphabet)} different, "
            f"{counted(len(cut.names), 'speaker')} with {cut.train.size:,} "
            f"windows to train and {cut.held_out.size:,} held out"
        )
        alphabet, width = len(text.alphabet), self.width
        if self.parameters:
            width = self.heads * width_for(
                self.parameters,
                lambda n: count(n * self.heads, self.depth, self.context, alphabet),
            )
        return CharacterProblem(
            lambda: decoder(alphabet, self.context, width, self.depth, self.heads),
            metric=self.metric,
            train=cut.train,
            held_out=cut.held_out,
            classes=alphabet,
            dtype=dtype,
            names=cut.names,
            summary=summary,
        )


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of one speaker each: tables to train and to evaluate, inputs are codes (length,).

    Labels and groups are the speakers, numbered as in `names`.
    """

    train: Table
    held_out: Table
    names: list[str]


def windows(text: Text, length: int, held_out: float, speakers: int) -> Windows:
    """Cut each speaker's text, speech after speech, into windows of `length` characters.

    Windows do not overlap; the remainder of a speaker is left out, and so are speakers with less
    than one window. speakers: number of speakers, those with most text; 0: all. Of each speaker the
    last fraction `held_out` of the windows is held out, rounded, but at least one window trains:
    every evaluated speaker has trained. Errors: ValueError if nothing is left to evaluate, or fewer
    speakers than requested have a window.
    """
    order = np.argsort(text.speaker, kind="stable")
    codes = text.codes[order]
    lengths = np.bincount(text.speaker, minlength=len(text.names))
    count = lengths // length
    able = np.count_nonzero(count)
    if speakers > able:
        raise ValueError(
            f"speakers={speakers}: the text has {able} with {length} characters or more, one "
            f"window: take at most {able}, or 0 for all"
        )
    if speakers:
        count[np.argsort(-lengths, kind="stable")[speakers:]] = 0
    chosen = np.flatnonzero(count)
    begins = (np.cumsum(lengths) - lengths)[chosen]
    test_count = np.round(held_out * count[chosen]).astype(np.int64)
    test_count = np.minimum(test_count, count[chosen] - 1)
    train_count = count[chosen] - test_count
    if not test_count.sum():
        raise ValueError(
            f"the text has {train_count.sum()} windows of {length} characters of one speaker, of "
            f"which held_out={held_out:g} of each speaker's leaves none to evaluate: take a "
            "shorter context, a larger fraction or a longer text"
        )

    def table(first: NDArray[np.int64], many: NDArray[np.int64]) -> Table:
        speaker = np.repeat(np.arange(len(chosen)), many)
        place = np.arange(len(speaker)) - np.repeat(np.cumsum(many) - many, many)
        starts = begins[speaker] + (first[speaker] + place) * length

        def rows(indices: NDArray[np.int64]) -> NDArray[Any]:
            return np.asarray(codes[starts[indices][:, None] + np.arange(length)])

        return Table(speaker, (length,), rows, groups=speaker)

    names = [text.names[i] for i in chosen.tolist()]
    return Windows(
        table(np.zeros_like(train_count), train_count), table(train_count, test_count), names
    )
