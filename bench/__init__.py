"""The programs, and behind them the machinery."""

import sys
from typing import Any

__version__ = "0.5.0"

if sys.argv and sys.argv[0].rpartition("/")[2] in ("-m", "murmuration"):
    # a program is about to load its modules, which takes seconds
    _hook = sys.excepthook

    def _end_quietly(kind: type[BaseException], *rest: Any) -> None:
        """Print one line for Ctrl-C and the traceback of any other exception."""
        if issubclass(kind, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
        else:
            _hook(kind, *rest)

    sys.excepthook = _end_quietly
