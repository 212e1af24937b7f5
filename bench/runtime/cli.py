"""The command line of every program: a mistake there is one line, like any other."""

import argparse
from typing import NoReturn

from bench.runtime.spec import UserError


class Parser(argparse.ArgumentParser):
    """argparse that raises UserError instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise UserError(f"{message}; see --help")
