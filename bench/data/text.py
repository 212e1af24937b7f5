"""Texts by speaker: a line after an empty one that ends in a colon names the next speaker."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bench.common.spec import UserError
from bench.data.checking import require_memory
from bench.data.protocol import Text

SPEECH = re.compile(r"(?:\A|(?<=\n\n))([^\n:]{1,60}):\n")
"""The head of a speech; it belongs to the speaker's text, so that a model learns it, too."""
DECODED = 32
"""Bytes of memory for one of the file, while places in the alphabet are looked up."""


def read_text(path: Path) -> Text:
    """The text of a file. What comes before the first head, or all without heads, is of speaker "".

    Errors: UserError for a file that is no text in UTF-8 or is empty.
    """
    try:
        require_memory(path, DECODED * path.stat().st_size)
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not text in UTF-8: byte {error.start} is no character"
        ) from None
    if not text:
        raise UserError(f"{path} is empty")
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    alphabet, codes = np.unique(points, return_inverse=True)
    heads = [(match.start(), match.group(1)) for match in SPEECH.finditer(text)]
    if not heads or heads[0][0] > 0:
        heads.insert(0, (0, ""))
    starts = np.array([start for start, _ in heads] + [len(text)])
    names, who = np.unique([name for _, name in heads], return_inverse=True)
    return Text(
        codes.astype(np.uint8 if len(alphabet) <= 256 else np.int32),
        "".join(chr(point) for point in alphabet),
        np.repeat(who, np.diff(starts)).astype(np.int32),
        [str(name) for name in names],
    )
