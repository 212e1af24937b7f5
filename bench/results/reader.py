"""The reader of result files of training runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bench.results import contents
from bench.results.contents import BrokenFileError
from bench.results.run import NAMES, NUMBERS, Run
from bench.results.schema import EVAL, SCHEMA, TRAIN, VERSION

__all__ = ["DIGESTED", "BrokenFileError", "Run", "check_schema", "read"]

NEEDED = ("status", "host", "pid", "pid_started", "params_json", *NAMES, *NUMBERS)
"""Attributes that every result has."""
DIGESTED = {
    "train": ("start_ns", "phase_ns", "bytes_sent", "bytes_copied", "flags"),
    "eval": tuple(EVAL),
    "partition": ("size",),
    "workers": (),
    "provenance/ranks": ("host", "cpu_mask"),
}
"""Group -> the columns that Run and a report derive numbers from."""


def read(path: Path, wanted: Mapping[str, Collection[str]] | None = None) -> Run:
    """Read a result file, closed or still being written.

    wanted: group -> the columns to read, of those that the file has; by default all of them.
    Errors: BrokenFileError for what is no HDF5, not of this schema, or lacks a part of it.
    """
    with contents.opened(path) as file:
        attributes = contents.attributes(file)
        check_schema(path, attributes)
        parts = int(attributes.get("parts", 1))
        if parts > 1:
            raise BrokenFileError(
                f"{path}: its steps lie in {parts} files: put them together by "
                f"`python -m bench.merge {path}`"
            )
        missing = [f"attribute {x}" for x in NEEDED if x not in attributes]
        for group, table in (("train", TRAIN), ("eval", EVAL)):
            there = contents.names(file, group)
            missing += [f"{group}/{x}" for x in table if x not in there]
        if missing:
            raise BrokenFileError(f"{path}: {missing[0]} is missing")
        train, evals, partition, workers, ranks = (
            contents.columns(file, group, None if wanted is None else wanted[group])
            for group in DIGESTED
        )
        texts = contents.texts(file, "provenance/text")
    return Run(path, attributes, train, evals, partition, workers, ranks, texts)


def check_schema(path: Path, attributes: Mapping[str, Any]) -> None:
    """Refuse a file of another schema, or of a version of it that this suite cannot read.

    Minor versions only add. Errors: BrokenFileError.
    """
    schema, version = attributes.get("schema"), str(attributes.get("schema_version"))
    if schema != SCHEMA:
        raise BrokenFileError(f"{path}: schema is {contents.brief(repr(schema))}, not {SCHEMA!r}")
    major, ours = version.partition(".")[0], VERSION.partition(".")[0]
    if major == ours:
        return
    newer = major.isdecimal() and int(major) > int(ours)
    wrote = contents.brief(attributes.get("suite_version", "that wrote it"))
    way = "update this suite" if newer else f"read it with the suite {wrote}"
    raise BrokenFileError(
        f"{path}: schema version {contents.brief(version)}, this suite reads {VERSION}: {way}"
    )
