"""Injected faults and durations of gradients, as the options describe them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from algorithms.exchange.compute import Compute
from algorithms.exchange.membership import Churn, Leave
from algorithms.exchange.trouble import Link, LossBursts, Straggler, Trouble, check_unit
from bench.common.spec import UserError, parse_spec, unknown_name
from bench.runtime.options import ADOPT, LEAVE, MODEL, TrainOptions

TROUBLES: dict[str, type[Any]] = {
    "straggler": Straggler,
    "link": Link,
    "loss-bursts": LossBursts,
}
PRESETS = {
    "ethernet_1g": "latency=50us,bandwidth=125MB/s",
    "ethernet_25g": "latency=20us,bandwidth=3.125GB/s",
    "infiniband_ndr": "latency=2us,bandwidth=50GB/s",
    "internet_100m": "latency=25ms,bandwidth=12.5MB/s",
}
"""Links by name: line rates of the standards, and typical latencies between two processes."""


@dataclass(frozen=True)
class Adopt:
    """The workers of a rank that dies continue on the others."""


DEATHS: dict[str, type[Any]] = {ADOPT: Adopt, LEAVE: Leave}
"""Policies of --on-death."""


def trouble_of(options: TrainOptions, prefix: str = "--") -> Trouble:
    """Return the faults to inject. Errors: UserError for a wrong text or number.

    prefix: of the options in messages; empty for keywords of `bench.loop.attach`.
    """
    if options.link.isidentifier() and options.link not in PRESETS:
        raise unknown_name(f"{prefix}link", options.link, PRESETS)
    link = PRESETS.get(options.link, options.link)
    texts = {"straggler": options.straggler, "link": link, "loss-bursts": options.loss_bursts}
    parts = {
        kind.replace("-", "_"): parse_spec(
            f"{prefix}{kind}:{text}", {prefix + kind: TROUBLES[kind]}, ""
        )
        for kind, text in texts.items()
        if text
    }
    try:
        if options.clock == MODEL and "link" in parts:
            check_unit(parts["link"].latency, "link: latency")
        return Trouble(drop=options.drop, seed=options.seed, **parts)
    except ValueError as error:
        raise UserError(f"{prefix}{error}") from None


def churn_of(options: TrainOptions) -> Churn | Leave | None:
    """Return the deaths and returns of --churn or --on-death leave. Errors: UserError."""
    policy = parse_spec(options.on_death, DEATHS, "on-death") if options.on_death else None
    if isinstance(policy, Leave):
        return policy
    if not options.churn:
        return None
    churn: Churn = parse_spec(f"--churn:{options.churn}", {"--churn": Churn}, "")
    return churn


def compute_of(options: TrainOptions, prefix: str = "--") -> Compute | None:
    """Return the duration of gradients under the model clock. Errors: UserError.

    prefix: as for `trouble_of`.
    """
    if options.clock != MODEL:
        return None
    first, _, rest = options.compute.partition(",")
    text = options.compute if "=" in first or not first else f"time={first},{rest}"
    name = f"{prefix}compute"
    compute: Compute = parse_spec(f"{name}:{text}", {name: Compute}, "")
    return compute
