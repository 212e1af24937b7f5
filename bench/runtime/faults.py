"""Injected faults and durations of gradients, as the options describe them."""

from __future__ import annotations

from typing import Any

from algorithms.exchange.compute import Compute
from algorithms.exchange.trouble import Link, Straggler, Trouble, check_unit
from bench.common.spec import UserError, parse_spec
from bench.runtime.options import MODEL, TrainOptions

TROUBLES: dict[str, type[Any]] = {"straggler": Straggler, "link": Link}


def trouble_of(options: TrainOptions) -> Trouble:
    """Return the faults to inject. Errors: UserError for a wrong text or number."""
    parts = {
        kind: parse_spec(f"{kind}:{text}", TROUBLES, "--" + kind)
        for kind, text in (("straggler", options.straggler), ("link", options.link))
        if text
    }
    try:
        if options.clock == MODEL and "link" in parts:
            check_unit(parts["link"].latency, "link: latency")
        return Trouble(drop=options.drop, seed=options.seed, **parts)
    except ValueError as error:
        raise UserError(f"--{error}") from None


def compute_of(options: TrainOptions) -> Compute | None:
    """Return the duration of gradients under the model clock. Errors: UserError."""
    if options.clock != MODEL:
        return None
    first, _, rest = options.compute.partition(",")
    text = options.compute if "=" in first or not first else f"time={first},{rest}"
    compute: Compute = parse_spec(f"compute:{text}", {"compute": Compute}, "--compute")
    return compute
