"""Command-line parser of every program, and exit codes of programs without MPI."""

import argparse
import errno
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from bench.common import summary
from bench.common.output import OutputError, is_cut, prepare, print_error
from bench.common.spec import UserError, expand_path, shortened

INTERRUPTED, CLOSED_PIPE = 130, 141
"""Exit codes of shells for Ctrl-C and for a closed pipe."""
RANK_VARIABLES = (
    *("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID"),
)
"""Environment variables in which launchers state the rank."""


def launcher_rank(environment: Mapping[str, str] = os.environ) -> int:
    """Return the rank from the launcher's environment, without MPI; 0 without a launcher."""
    return next((int(environment[key]) for key in RANK_VARIABLES if key in environment), 0)


PATH = re.compile(r"(FILE|DIR|PATH|RUN|SWEEP)(\.\w+)?")
"""Metavariables of paths: `DIR`, `FILE.toml`."""


class Parser(argparse.ArgumentParser):
    """Argument parser that raises UserError instead of printing its usage.

    It expands `~` and variables in the arguments whose metavariable names a path. summarises: list
    --json, which `summary.with_summary` takes from the command line before it is parsed.
    """

    def __init__(self, *, summarises: bool = False, **keywords: Any) -> None:
        super().__init__(**keywords)
        if summarises:
            self.add_argument(
                summary.FLAG, action="store_true", default=argparse.SUPPRESS, help=summary.HELP
            )

    def add_argument(self, *names: str, **keywords: Any) -> argparse.Action:
        """Add an argument; one with the metavariable of a path gets the type of a path."""
        if is_path(keywords.get("metavar")):
            keywords.setdefault("type", expand_path)
        return super().add_argument(*names, **keywords)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does; refuse `--option=--`, of which argparse makes a list."""
        for text in sys.argv[1:] if args is None else args:
            if text == "--":
                break
            if re.fullmatch(r"--[\w-]+=--|-\w--", text):
                self.error(f"argument {text.removesuffix('--').rstrip('=')}: expected one argument")
        return super().parse_known_args(args, namespace)

    def print_help(self, file: Any = None) -> None:
        """Print the help; unlike argparse, which ignores them, pass on errors of the output."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        """Raise UserError with the message of argparse."""
        raise UserError(f"{message}; see --help")


def is_path(metavar: object) -> bool:
    """Return whether a metavariable names a path."""
    return isinstance(metavar, str) and bool(PATH.fullmatch(metavar))


def name_too_long(error: OSError) -> str:
    """Return the line for a path with a name that no file system takes."""
    return f"{shortened(str(error.filename))}: the name is too long: a file's has 255 bytes at most"


def run(
    work: Callable[[Sequence[str]], int],
    argv: Sequence[str] | None,
    *,
    acts: bool = False,
    program: str = "",
) -> int:
    """Run a program and return its exit code; a UserError is one line and code 2.

    Of several processes that mpirun or srun started, only rank 0 runs it. acts: the program changes
    more than its output, so its code is returned although the reader of its output has gone; other
    programs then return CLOSED_PIPE. program: name of one with --json.
    """
    prepare()
    if launcher_rank() > 0:
        return 0
    arguments = sys.argv[1:] if argv is None else argv
    code = (
        summary.with_summary(program, arguments, partial(_coded, work))
        if program and summary.is_asked(arguments)
        else _coded(work, arguments)
    )
    return CLOSED_PIPE if is_cut() and not acts else code


def _coded(work: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Return the exit code of work(argv), after one line for an error of the user or of a disk."""
    try:
        return _finished(work, argv)
    except UserError as error:
        return _mistake(str(error))
    except OutputError as error:
        return _mistake(f"cannot write the output ({error.strerror}): free disk space")
    except KeyboardInterrupt:
        print_error("interrupted")
        return INTERRUPTED
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return _mistake(name_too_long(error))


def _mistake(text: str) -> int:
    """Report a mistake; return its exit code."""
    summary.summarise(error=text)
    print_error(f"error: {text}")
    return 2


def _finished(work: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Return the exit code after all output is written. Errors: OutputError."""
    try:
        code = work(argv)
    except SystemExit as end:  # --help
        code = int(end.code or 0)
    sys.stdout.flush()
    return code
