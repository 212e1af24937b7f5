"""What a program that measures has so far, as one line."""

from __future__ import annotations

import json

from bench.common.sizes import format_size
from bench.common.text import format_number
from bench.results.calls import Calls
from bench.results.rounds import Rounds
from bench.results.rounds_rows import rows as rows_of


def told_of_calls(calls: Calls) -> str:
    """Rows of bench.collectives: how many, the fastest at the last size, and what was wrong."""
    rows = calls.rows()
    if not rows:
        return "no row yet"
    size = rows[-1]["bytes"]
    fastest = min((x for x in rows if x["bytes"] == size), key=lambda row: float(row["p50_us"]))
    wrong = list(dict.fromkeys(row["algorithm"] for row in rows if row["wrong"] > 0))
    return (
        f"{len(rows)} rows, at {format_size(size)}B {fastest['algorithm']} is fastest: "
        f"{format_number(fastest['p50_us'], 3)} us"
        + (f", WRONG SUMS: {', '.join(wrong)}" if wrong else "")
    )


def told_of_rounds(rounds: Rounds) -> str:
    """Cases of bench.consensus: how many of how many, and the last one beside theory."""
    wanted = json.loads(rounds.attributes["params_json"]).get("topologies", [])
    rows = rows_of(rounds)
    of = f" of {len(wanted)}" if wanted else ""
    count = f"{len(rows)}{of} topologies done"
    if not rows:
        return count
    last = rows[-1]
    measured, theory = (format_number(last[f"{x}_factor"], 3) for x in ("measured", "theory"))
    return (
        f"{count}, {last['topology']}: the error shrinks by {measured} a round, "
        f"in theory by {theory}"
    )
