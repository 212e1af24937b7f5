"""Environment of a result: hosts, MPI library, processor and binding, derived from its file.

Results of different environments are never repetitions of each other.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from bench.common.text import counted

Columns = Mapping[str, NDArray[Any]]
"""Columns of /provenance/ranks by name."""

VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "NPY_DISABLE_CPU_FEATURES",
    "OMP_DYNAMIC",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
)
"""Environment variables by which libraries choose instructions, precision and order of sums."""
SHA_DIGITS = 12
"""Hexadecimal digits of a SHA-256 that identify a file."""
THREADS, INSTRUCTIONS = "threads per rank", "instruction set of torch"
"""Names in Arithmetic besides VARIABLES."""
Arithmetic = dict[str, str]
"""Properties that decide the rounding of results, by name; an unknown one is missing."""


@dataclass(frozen=True)
class Environment:
    """Properties of the machine and its software; empty texts where the file lacks them."""

    hosts: str
    """Number of hosts and, with several, ranks per host."""
    mpi_library: str
    """Name, version and device of the MPI library."""
    processor: str
    """Model of the processor of rank 0's host."""
    cores: str
    """Number of cores of rank 0's host."""
    binding: str
    """Cores per rank, with a mark if ranks share them."""
    arithmetic: str
    """Vector instructions of torch, and the variables of VARIABLES that are set."""
    oversubscribed: bool
    """True if threads share cores."""
    suite_version: str

    def settings(self) -> dict[str, str | None]:
        """Return the properties as settings by name; None where one is empty."""
        texts = {name: x for name, x in vars(self).items() if isinstance(x, str)}
        return {name.replace("_", " "): text or None for name, text in texts.items()}


def environment(
    attributes: Mapping[str, Any], ranks: Columns, texts: Mapping[str, str]
) -> Environment:
    """Return the environment of a result.

    ranks: columns of /provenance/ranks; texts: those of /provenance/text.
    """
    machine = machine_of(texts)
    shared = bool(attributes.get("binding_flaws"))
    masks = [x.decode(errors="replace") for x in ranks.get("cpu_mask", ())]
    return Environment(
        hosts=layout(list(ranks_by_host(ranks).values())),
        mpi_library=library(texts.get("mpi_library", "")),
        processor=str(machine.get("processor", "")),
        cores=counted(int(machine["cores"]), "core") if "cores" in machine else "",
        binding=", ".join(filter(None, (width(masks), "oversubscribed" if shared else ""))),
        arithmetic=_arithmetic_text(arithmetic(attributes, ranks, texts)),
        oversubscribed=shared,
        suite_version=str(attributes.get("suite_version", "")),
    )


def arithmetic(
    attributes: Mapping[str, Any], ranks: Columns, texts: Mapping[str, str]
) -> Arithmetic:
    """Return the arithmetic of a result; files before version 1.6 record a part of it."""
    result: Arithmetic = {}
    if "threads_per_rank" in attributes:
        result[THREADS] = str(attributes["threads_per_rank"])
    complete = "instructions" in ranks
    if complete:
        names = dict.fromkeys(x.decode(errors="replace") for x in ranks["instructions"])
        result[INSTRUCTIONS] = ", ".join(filter(None, names))
    if "environment" in texts:
        variables = json.loads(texts["environment"])
        recorded = [x for x in VARIABLES if complete or x.startswith(("MKL_", "OMP_"))]
        result |= {name: str(variables.get(name, "")) for name in recorded}
    return result


def input_sums(attributes: Mapping[str, Any], digits: int = 64) -> str:
    """Return option and SHA-256 of each input besides --data; empty without or unknown."""
    sums = json.loads(str(attributes.get("inputs_json", "{}")))
    return ", ".join(f"{option} {x[:digits]}" for option, x in sums.items())


def _arithmetic_text(properties: Arithmetic) -> str:
    """Return instructions and variables as a text; empty if the file does not record them."""
    variables = [f"{x}={properties[x]}" for x in VARIABLES if properties.get(x)]
    text = ", ".join(filter(None, [properties.get(INSTRUCTIONS), *variables]))
    return text or ("default" if INSTRUCTIONS in properties else "")


def ranks_by_host(ranks: Columns) -> Counter[str]:
    """Return the number of ranks on each host, rank 0's host first."""
    return Counter(x.decode(errors="replace") for x in ranks.get("host", ()))


def machine_of(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the processor, cores, kernel and load of rank 0's host."""
    machine: dict[str, Any] = json.loads(texts.get("machine", "{}"))
    return machine


def layout(ranks: Sequence[int]) -> str:
    """Return the number of hosts and, with several, the ranks of each; ranks: of each host."""
    if len(ranks) < 2:
        return "1 host" if ranks else ""
    each = f"{ranks[0]}" if len(set(ranks)) == 1 else " + ".join(map(str, ranks))
    return f"{len(ranks)} hosts of {each} {'rank' if each == '1' else 'ranks'}"


def library(text: str) -> str:
    """Return name and version of an MPI library, and its device if it names one.

    text: version text of the library.
    """
    lines = [" ".join(line.partition(",")[0].split()) for line in text.splitlines()]
    return ", ".join(x for i, x in enumerate(lines) if i == 0 or x.startswith("MPICH Device"))


def width(masks: Sequence[str]) -> str:
    """Return the number of cores per rank; empty if unknown. masks: cores of each rank."""
    widths = sorted({cores_in(mask) for mask in masks if mask})
    if not widths:
        return ""
    wide = f"{widths[0]}" if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
    return f"{wide} {'core' if wide == '1' else 'cores'} a rank"


def cores_in(mask: str) -> int:
    """Return the number of cores of a CPU list in the kernel's format: 0-3,8."""
    ends = [part.split("-") for part in mask.split(",")]
    return sum(int(x[-1]) - int(x[0]) + 1 for x in ends)
