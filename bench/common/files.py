"""Files named by the user: checked early, written atomically; TOML files."""

import os
import tomllib
from pathlib import Path
from typing import Any

from bench.common.spec import UserError

RESULTS = (".h5", ".h5.part")
"""Suffixes of result files."""


def check_target(option: str, path: Path) -> None:
    """Check that a file can be written, before the program reads anything.

    Errors: UserError.
    """
    if path.name.endswith(RESULTS):
        raise UserError(f"{option} {path} is the name of a result file: name another")
    if path.exists() and not path.is_file():
        raise UserError(f"{option} {path} is not a plain file: name another")
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


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically.

    Errors: UserError if the disk refuses it.
    """
    fresh = _fresh(path)
    try:
        fresh.write_bytes(
            content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
        )
        os.replace(fresh, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room") from None
    finally:
        fresh.unlink(missing_ok=True)


def _fresh(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def read_toml(path: Path, prefix: str = "") -> dict[str, Any]:
    """Return the table of a TOML file; prefix: text before its name in an error message.

    Errors: UserError.
    """
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{prefix}{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{prefix}{path} is not TOML: {error}") from None
