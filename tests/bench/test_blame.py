"""Diagnosis of the watchdog: the rank that it names for a table of last heartbeats."""

import pytest

from bench.session.beats import Beat, LastBeat, report_order, silence, stall, unreachable


def last(
    rank: int, step: int = 5, still_s: float = 0.0, *, waits: bool = True, age_s: float = 0.1
) -> LastBeat:
    phase = "exchange" if waits else "gradient"
    return LastBeat(Beat(rank, f"n{rank // 2}", step, phase, "a.py:7", waits, still_s), age_s)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([last(0), last(1, age_s=9.9), last(2)], ""),
        (
            [last(0), last(1, age_s=10), last(2, age_s=4.9)],
            "rank 1 on n0 has sent no heartbeat for 10 s; last at step 5, in exchange (a.py:7)",
        ),
        (
            [last(0), last(3, waits=False, age_s=11), last(2, age_s=9)],
            "rank 3 on n1 has sent no heartbeat for 11 s; last at step 5, in gradient (a.py:7); "
            "also silent: rank 2 on n1",
        ),
    ],
    ids=["nobody", "one", "host"],
)
def test_a_silent_rank_is_named(table: list[LastBeat], expected: str) -> None:
    assert silence(table, 10) == expected


REMEDY = ": if such a step may take so long, give a longer --watchdog"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([], ""),
        ([last(0, still_s=50), last(1, still_s=9.9)], ""),
        ([last(0, still_s=50), last(1, still_s=9.9, waits=False)], ""),
        (
            [last(0, 4, 50), last(1, 5, 12, waits=False), last(2, 5, 50)],
            f"rank 1 on n0 has been at step 5, in gradient (a.py:7) for 12 s{REMEDY}",
        ),
        (
            [last(r, 6 - r, 10 + r, waits=False) for r in range(3)],
            f"rank 2 on n1 has been at step 4, in gradient (a.py:7) for 12 s{REMEDY}",
        ),
        (
            [last(0, 5, 12), last(1, 4, 14), last(2, 4, 15)],
            "all ranks have waited for others for 12 s; the last one is rank 2 on n1, at "
            "step 4, in exchange (a.py:7)",
        ),
    ],
    ids=["no-beats", "one-moves", "one-computes", "one-hangs", "all-hang", "all-wait"],
)
def test_a_rank_without_progress_is_named(table: list[LastBeat], expected: str) -> None:
    assert stall(table, 10, len(table)) == expected


def test_unreachable_ranks_are_not_reported_to_wait() -> None:
    assert stall([last(0, still_s=10)], 10, 3).startswith("all 1 of 3 reachable ranks have w")


def test_unreachable_ranks_are_named() -> None:
    hosts = ["n0", "n0", "n1", *["n2"] * 9]
    assert unreachable([last(r) for r in range(12)], hosts) == ""
    message = unreachable([last(0), last(2)], hosts)
    assert message.startswith(
        "rank 0 on n0 receives no heartbeat from rank 1 on n0, rank 3 on n2, "
    )
    assert ", rank 9 on n2 and 2 more, as" in message


def test_one_rank_of_every_host_reports_a_silent_rank_0_before_a_second() -> None:
    assert report_order(["a", "a", "a", "b", "b", "c"]) == [0, 1, 4, 2, 5, 3]
    assert report_order(["a"] * 4) == [0, 1, 2, 3]
