"""Ends for which nobody's code is to blame: told in one line, without a traceback."""

import os


class DiskError(OSError):
    """A disk refused a result while the program ran. Its text, for the user, says what is kept."""

    def __str__(self) -> str:
        return str(self.strerror)

    @property
    def reason(self) -> str:
        """What the disk said, in short."""
        return os.strerror(self.errno or 0)
