"""A small transformer that predicts the next character, on the text of `--data`.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, the decoder alone, with the norm in front
of each part: Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020.
Departs from the papers: (1) no dropout; (2) places are learned, and in and out do not share
weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from bench.common.spec import UserError
from bench.tasks.mlp import check_part
from bench.tasks.protocol import Metric
from bench.tasks.sizing import width_for

if TYPE_CHECKING:
    from bench.tasks.attention import CharacterProblem


def count(width: int, depth: int, context: int, alphabet: int) -> int:
    """Parameters of a transformer."""
    block = 12 * width**2 + 13 * width
    return (alphabet + context) * width + depth * block + 2 * width + (width + 1) * alphabet


@dataclass(frozen=True)
class Transformer:
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
    reads: ClassVar[str] = "text"
    needs_data: ClassVar[bool] = True

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

    def load(self, dtype: str, data: str = "") -> CharacterProblem:
        """Read the text and cut it into windows of context + 1 characters of one speaker.

        Errors: UserError without a text; ValueError where it is too short, or has fewer speakers.
        """
        from bench.data.opening import open_text
        from bench.tasks.attention import CharacterProblem, Decoder
        from bench.tasks.windows import windows

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
