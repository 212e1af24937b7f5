"""Findings of a check, one line each, and the kinds of names that can be checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.common import own
from bench.common.spec import UserError, parse_spec, unknown_name

OK, NOTE, FAILS = "ok", "note", "FAILS"


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    state: str
    """OK, NOTE for a property that the contract does not demand, or FAILS."""
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.state:<6}{self.subject:<12}{self.text}"


def judged(good: Any, subject: str, text: str, failure: str = "") -> Finding:
    """Return a finding that fails unless `good`; failure: its text in that case."""
    return Finding(OK if good else FAILS, subject, text if good else failure or text)


def registries() -> dict[str, Mapping[str, type[Any]]]:
    """Return the registries whose contracts can be checked by kind."""
    from algorithms import ALGORITHMS
    from algorithms.controllers import CONTROLLERS
    from algorithms.topologies import TOPOLOGIES
    from bench.tasks import TASKS
    from partitions import PARTITIONS

    return {
        "algorithm": ALGORITHMS,
        "topology": TOPOLOGIES,
        "partition": PARTITIONS,
        "task": TASKS,
        "controller": CONTROLLERS,
    }


def thing_of(spec: str) -> tuple[str, Any]:
    """Return the kind and the object of a spec. Errors: UserError."""
    known = registries()
    if not own.is_own(spec):
        for kind, registry in known.items():
            if own.head(spec) in registry:
                return kind, parse_spec(spec, registry, kind)
        if "." in own.head(spec):
            raise UserError(f"{spec}: give a class as FILE.py:CLASS, or a registered name")
        names = list(dict.fromkeys(name for registry in known.values() for name in registry))
        raise unknown_name("name", own.head(spec), names)
    path, _, name = own.head(spec).partition(":")
    reasons = {}
    for kind, registry in known.items():
        try:
            own.load(path, name, registry)
        except ValueError as error:
            reasons[kind] = str(error)
            continue
        return kind, parse_spec(spec, registry, kind)
    if len(set(reasons.values())) == 1:
        raise UserError(next(iter(reasons.values())))
    likely = next((x for x in reasons.values() if "not inherit" not in x), reasons["algorithm"])
    raise UserError(likely)
