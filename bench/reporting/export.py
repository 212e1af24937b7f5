"""The rows of many files for other programs."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def allow_any_name() -> None:
    """Let frames hold the name of any file; pyarrow's texts, pandas' choice, are UTF-8 only."""
    import pandas as pd

    pd.set_option("mode.string_storage", "python")


def csv(frame: pd.DataFrame) -> str:
    """The frame as comma-separated values with a header; nothing where a number is not known."""
    text: str = frame.to_csv(index=False)
    return text


def parquet(frame: pd.DataFrame) -> bytes:
    """The frame as a Parquet file, columns and types as they are.

    Columns of texts and others mixed become texts; bytes of a file's name that are no UTF-8 become
    replacement characters.
    """
    import pandas as pd

    def text(value: Any) -> str | None:
        if pd.isna(value):
            return None
        return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    columns = {
        name: column if column.dtype.kind in "biuf" else column.map(text)
        for name, column in frame.items()
    }
    file = BytesIO()
    pd.DataFrame(columns).to_parquet(file, engine="pyarrow", index=False)
    return file.getvalue()
