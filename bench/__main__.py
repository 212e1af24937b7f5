"""Run a program of the suite: `python -m bench train ...`, or `murmuration train ...`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from bench.common.cli import launcher_rank, run
from bench.common.output import prepare
from bench.common.spec import unknown_name
from bench.session.launch import write_stderr

USAGE = """\
usage: murmuration PROGRAM [OPTIONS], or python -m bench PROGRAM [OPTIONS]

Each program has --help. On several ranks: mpirun -n 4 murmuration train [OPTIONS].

programs:"""
GUARD = 'if __name__ == "__main__":'


def programs() -> dict[str, Path]:
    """Return the file of each program by module: runnable modules and packages of the suite."""
    bench = Path(__file__).parent
    files = {f"bench.{path.stem}": path for path in bench.glob("[!_]*.py")}
    files |= {f"bench.{path.parent.name}": path for path in bench.glob("*/__main__.py")}
    slurm = sorted(bench.parent.glob("slurm/[!_]*.py"))
    files |= {f"slurm.{x.stem}": x for x in slurm if GUARD in x.read_text()}
    return dict(sorted(files.items()))


def first_line(docstring: str | None) -> str:
    """Return the first line of a docstring without its full stop."""
    return (docstring or "").strip().partition("\n")[0].rstrip(".")


def listing() -> str:
    """Return the usage and the programs, each with the first line of its docstring."""
    lines = [USAGE]
    for name, path in programs().items():
        about = first_line(ast.get_docstring(ast.parse(path.read_text())))
        lines.append(f"  {name.removeprefix('bench.'):<14} {about.partition(': `')[0]}")
    return "\n".join(lines)


def _print_listing(_: Sequence[str]) -> int:
    """Print the programs; return the exit code."""
    print(listing())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program that the first argument names; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if name in ("-h", "--help"):
        return run(_print_listing, rest)
    prepare()
    files = programs()
    module = name if name in files else f"bench.{name}"
    if module not in files:
        known = [x.removeprefix("bench.") for x in files]
        return fail(str(unknown_name("program", name, known)))
    if files[module].stem == "__main__":
        module += ".__main__"
    code: int = import_module(module).main(rest)
    return code


def fail(message: str) -> int:
    """Print the error on one rank of a launch; return the exit code."""
    if launcher_rank():
        return 0  # else mpirun may discard the line of rank 0
    write_stderr(f"error: {message}")
    return 2


if __name__ == "__main__":
    sys.exit(main())
