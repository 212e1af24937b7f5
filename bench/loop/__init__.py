"""The door for a loop of one's own: `from bench.loop import attach`."""

from bench.loop.attachment import Attachment
from bench.loop.start import attach

__all__ = ["Attachment", "attach"]
