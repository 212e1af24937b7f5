"""Files that a program writes at a user's word: refused early, written whole."""

import os
from pathlib import Path

from bench.common.spec import UserError

RESULTS = (".h5", ".h5.part")
"""How names of result files end."""


def check_target(option: str, path: Path) -> None:
    """Refuse a file that cannot be written, before anything is read.

    Errors: UserError.
    """
    if path.name.endswith(RESULTS):
        raise UserError(f"{option} {path} is the name of a result file: name another")
    if path.exists() and not path.is_file():
        raise UserError(f"{option} {path} is no plain file: name another")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: there is no folder {path.parent}: make it first")
    try:
        fresh = _fresh(path)
        fresh.touch()
        fresh.unlink()
    except OSError as error:
        raise UserError(
            f"{option} {path} cannot be written ({error.strerror}): name another place"
        ) from None


def write_whole(path: Path, made: str | bytes) -> None:
    """Write a file whole or not at all.

    Errors: UserError where the disk refuses.
    """
    fresh = _fresh(path)
    try:
        fresh.write_bytes(
            made if isinstance(made, bytes) else made.encode("utf-8", "surrogateescape")
        )
        os.replace(fresh, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room") from None
    finally:
        fresh.unlink(missing_ok=True)


def _fresh(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")
