"""Where the numbers of a file come from: what every result says of itself, whoever wrote it."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.results import contents
from bench.results.reader import BrokenFileError, Run

T = TypeVar("T")


def read_origin(path: Path, attributes: Mapping[str, Any]) -> Run:
    """The attributes, hosts and texts of a result: a Run without numbers.

    Errors: BrokenFileError.
    """
    with contents.opened(path) as file:
        hosts = "provenance/ranks/host"
        return Run(
            path=path,
            attributes=dict(attributes),
            train={},
            evals={},
            partition={},
            workers={},
            ranks={"host": contents.column(file, hosts)} if contents.has(file, hosts) else {},
            texts=contents.texts(file, "provenance/text"),
        )


def derived(path: Path, derive: Callable[[], T]) -> T:
    """What comes of the numbers of a file.

    Errors: BrokenFileError where something is missing or its parts do not fit together.
    """
    try:
        return derive()
    except KeyError as error:
        raise BrokenFileError(f"{path}: {error.args[0]} is missing") from None
    except (ValueError, TypeError, IndexError, AttributeError, ArithmeticError) as error:
        text = " ".join(str(error).split())
        raise BrokenFileError(f"{path}: the parts do not fit together: {text}") from None


def hosts(run: Run) -> Counter[str]:
    """The hosts of a run, rank 0's first, and how many ranks each has."""
    names = run.ranks.get("host", np.array([], "S1")).tolist()
    return Counter(x.decode(errors="replace") for x in names)


def machine(run: Run) -> dict[str, Any]:
    """Processor, cores, kernel and load of rank 0's host."""
    found: dict[str, Any] = json.loads(run.texts.get("machine", "{}"))
    return found


def provenance(run: Run) -> dict[str, str]:
    """Label -> text: how a program was started, where, with what."""
    attributes, texts = run.attributes, run.texts
    argv = [str(x) for x in json.loads(attributes.get("argv_json", "[]"))]
    program = str(attributes.get("program", "bench.train"))
    command = ["mpirun", "-n", str(attributes["ranks"]), "python", "-m", program, *argv]
    said = {
        "status": " - ".join(filter(None, (run.status, str(attributes.get("reason", ""))))),
        "command": shlex.join(command),
        "started": str(attributes.get("created_utc", "")),
        "ended": str(attributes.get("closed_utc", "")),
        "hosts": ", ".join(f"{name} ({n} ranks)" for name, n in hosts(run).items()),
        "machine": _pairs(machine(run)),
        "MPI": texts.get("mpi_library", ""),
        "packages": _pairs(json.loads(texts.get("packages", "{}"))),
        "git commit": texts.get("git_commit", ""),
        "binding": str(attributes.get("binding_flaws", "")),
        "shards": _shards(run),
        "parameters": str(attributes.get("parameters_sha256", "")),
        "file": str(run.path),
    }
    return {key: text for key, text in said.items() if text}


def _shards(run: Run) -> str:
    label = {"label_js": "Jensen-Shannon divergence", "label_tv_max": "largest total variation"}
    skew = [f"{text} {run.attributes[x]:.3g}" for x, text in label.items() if x in run.attributes]
    sizes = run.partition.get("size")
    if sizes is not None and len(sizes):
        text = f"{sizes.min()} to {sizes.max()} samples, median {np.median(sizes):g}"
        skew.insert(0, text)
    return "; ".join(skew)


def _pairs(table: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in table.items())


def program_of(path: Path) -> str:
    """What the file says that wrote it; bench.train, whose reader tells the flaw, where nothing."""
    try:
        with contents.opened(path) as file:
            return str(contents.attributes(file, ["program"]).get("program", "bench.train"))
    except BrokenFileError:
        return "bench.train"
