"""A small transformer that predicts the next character, on the text of `--data`.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, the decoder alone, with the norm in front
of each part: Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020.
Departs from the papers: (1) no dropout; (2) places are learned, and in and out do not share
weights.

Windows of a text, of one speaker each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from bench.common.spec import UserError
from bench.tasks.mlp import check_part, width_for
from bench.tasks.protocol import Metric, Needs, Task

if TYPE_CHECKING:
    from bench.tasks.attention import CharacterProblem
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.protocol import Table, Text


def count(width: int, depth: int, context: int, alphabet: int) -> int:
    """Parameters of a transformer."""
    block = 12 * width**2 + 13 * width
    return (alphabet + context) * width + depth * block + 2 * width + (width + 1) * alphabet


@dataclass(frozen=True)
class Transformer(Task):
    """Next character of a text by a small transformer; speakers are classes and groups."""

    context: int = field(default=64, metadata={"help": "characters that it looks at"})
    width: int = field(default=64, metadata={"help": "numbers a character, a multiple of heads"})
    depth: int = field(default=2, metadata={"help": "blocks of attention and perceptron"})
    heads: int = field(default=4, metadata={"help": "heads of attention in a block"})
    parameters: int = field(
        default=0, metadata={"help": "choose the width that has at least so many; 0: by width"}
    )
    speakers: int = field(
        default=0, metadata={"help": "only so many speakers, those who say most; 0: all"}
    )
    held_out: float = field(
        default=0.1, metadata={"help": "part of each speaker's windows, the last, held out"}
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
                f"parameters={self.parameters} chooses the width itself: leave width={self.width} "
                "out"
            )
        check_part(self.held_out)

    @property
    def needs(self) -> Needs:
        """Read a text, which --data must name."""
        return Needs(reads="text", data=True)

    def load(self, dtype: str, data: str = "") -> CharacterProblem:
        """Read the text and cut it into windows of context + 1 characters of one speaker.

        Errors: UserError without a text; ValueError where it is too short, or has fewer speakers.
        """
        from bench.data.opening import open_text
        from bench.tasks.attention import CharacterProblem, Decoder
        from bench.tasks.transformer import windows

        if not data:
            raise UserError(
                "transformer needs --data FILE: a text, such as the one that "
                "`python -m bench.fetch tinyshakespeare` downloads"
            )
        text = open_text(data)
        cut = windows(text, self.context + 1, self.held_out, self.speakers)
        alphabet, width = len(text.alphabet), self.width
        if self.parameters:
            width = self.heads * width_for(
                self.parameters,
                lambda n: count(n * self.heads, self.depth, self.context, alphabet),
            )
        return CharacterProblem(
            lambda: Decoder(alphabet, self.context, width, self.depth, self.heads),
            metric=self.metric,
            train=cut.train,
            held_out=cut.held_out,
            classes=alphabet,
            dtype=dtype,
            names=cut.names,
        )


@dataclass(frozen=True, eq=False)
class Windows:
    """What trains and what is held out: tables whose inputs are codes, (length,) a window.

    Labels and groups are the speakers, numbered as in `names`.
    """

    train: Table
    held_out: Table
    names: list[str]


def windows(text: Text, length: int, held_out: float, speakers: int) -> Windows:
    """Windows of so many characters of what each speaker says, one speech after the other.

    They do not overlap; what is left at the end of a speaker is left out, and so are speakers with
    less than one window. speakers: only so many who say most; 0: all. Of each speaker the last
    part `held_out` of the windows is held out, rounded, but for one at least: who is judged has
    trained. Errors: ValueError where nothing is left to judge by, or where fewer speakers than
    wanted have a window.
    """
    order = np.argsort(text.speaker, kind="stable")
    codes = text.codes[order]
    said = np.bincount(text.speaker, minlength=len(text.names))
    count = said // length
    able = np.count_nonzero(count)
    if speakers > able:
        raise ValueError(
            f"speakers={speakers}: the text has {able} who say {length} characters or more, one "
            "window: take at most so many, or 0 for all"
        )
    if speakers:
        count[np.argsort(-said, kind="stable")[speakers:]] = 0
    chosen = np.flatnonzero(count)
    begins = (np.cumsum(said) - said)[chosen]
    tested = np.round(held_out * count[chosen]).astype(np.int64)
    tested = np.minimum(tested, count[chosen] - 1)
    trained = count[chosen] - tested
    if not tested.sum():
        raise ValueError(
            f"the text has {trained.sum()} windows of {length} characters of one speaker, of which "
            f"held_out={held_out:g} of each speaker's leaves none to judge by: take a shorter "
            "context, a larger part or a longer text"
        )

    def table(first: NDArray[np.int64], many: NDArray[np.int64]) -> Table:
        speaker = np.repeat(np.arange(len(chosen)), many)
        place = np.arange(len(speaker)) - np.repeat(np.cumsum(many) - many, many)
        starts = begins[speaker] + (first[speaker] + place) * length

        def rows(indices: NDArray[np.int64]) -> NDArray[Any]:
            return np.asarray(codes[starts[indices][:, None] + np.arange(length)])

        return Table(speaker, (length,), rows, groups=speaker)

    names = [text.names[i] for i in chosen.tolist()]
    return Windows(table(np.zeros_like(trained), trained), table(trained, tested), names)
