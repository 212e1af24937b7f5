"""Reader of texts by speaker: a line after an empty one that ends in a colon names the speaker."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bench.common import files
from bench.common.spec import UserError
from bench.data.checking import require_memory
from bench.data.protocol import Text

SPEECH = re.compile(r"(?:\A|(?<=\n\n))([^\n:]{1,60}):\n")
"""Header of a speech; it stays in the speaker's text, so that a model learns it, too."""
DECODED = 32
"""Bytes of memory for one byte of the file, while characters are looked up in the alphabet."""


def read_text(path: Path) -> Text:
    """Return the text of a file. Text before the first header is of speaker "".

    Errors: UserError for a file that is empty or not text in UTF-8.
    """
    try:
        require_memory(path, DECODED * path.stat().st_size)
        text = files.read_text(path)
    except ValueError as error:
        raise UserError(f"{path} is not text in UTF-8: {error}") from None
    if not text:
        raise UserError(f"{path} is empty")
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    alphabet, codes = np.unique(points, return_inverse=True)
    headers = [(match.start(), match.group(1)) for match in SPEECH.finditer(text)]
    if not headers or headers[0][0] > 0:
        headers.insert(0, (0, ""))
    starts = np.array([start for start, _ in headers] + [len(text)])
    names, speakers = np.unique([name for _, name in headers], return_inverse=True)
    return Text(
        codes.astype(np.uint8 if len(alphabet) <= 256 else np.int32),
        "".join(chr(point) for point in alphabet),
        np.repeat(speakers, np.diff(starts)).astype(np.int32),
        [str(name) for name in names],
    )
