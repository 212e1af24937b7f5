"""Errors of the environment, reported in one line without a traceback."""

import os


class DiskError(OSError):
    """Error of a disk while the program runs; its text says which results are kept."""

    def __str__(self) -> str:
        return str(self.strerror)

    @property
    def reason(self) -> str:
        """Short reason given by the operating system."""
        return os.strerror(self.errno or 0)
