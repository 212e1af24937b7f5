"""TOML files that a user names."""

import tomllib
from pathlib import Path
from typing import Any

from bench.common.spec import UserError


def load(path: Path, said: str = "") -> dict[str, Any]:
    """The table of a file. said: what stands before its name in a refusal. Errors: UserError."""
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{said}{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{said}{path} is not TOML: {error}") from None
