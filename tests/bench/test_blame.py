"""Who is to blame, by tables of last beats."""

import pytest

from bench.session.blame import Beat, Heard, silent, stuck, turns, unheard


def heard(
    rank: int, step: int = 5, still_s: float = 0.0, *, waits: bool = True, ago_s: float = 0.1
) -> Heard:
    phase = "exchange" if waits else "gradient"
    return Heard(Beat(rank, f"n{rank // 2}", step, phase, "a.py:7", waits, still_s), ago_s)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([heard(0), heard(1, ago_s=9.9), heard(2)], ""),
        (
            [heard(0), heard(1, ago_s=10), heard(2, ago_s=4.9)],
            "rank 1 on n0 has not been heard of for 10 s; last at step 5, in exchange (a.py:7)",
        ),
        (
            [heard(0), heard(3, waits=False, ago_s=11), heard(2, ago_s=9)],
            "rank 3 on n1 has not been heard of for 11 s; last at step 5, in gradient (a.py:7); "
            "silent, too: rank 2 on n1",
        ),
    ],
    ids=["nobody", "one", "host"],
)
def test_a_silent_rank_is_named(table: list[Heard], expected: str) -> None:
    assert silent(table, 10) == expected


LONGER = ": where that may take so long, give a longer --watchdog"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([], ""),
        ([heard(0, still_s=50), heard(1, still_s=9.9)], ""),
        ([heard(0, still_s=50), heard(1, still_s=9.9, waits=False)], ""),
        (
            [heard(0, 4, 50), heard(1, 5, 12, waits=False), heard(2, 5, 50)],
            f"rank 1 on n0 has been at step 5, in gradient (a.py:7) for 12 s{LONGER}",
        ),
        (
            [heard(r, 6 - r, 10 + r, waits=False) for r in range(3)],
            f"rank 2 on n1 has been at step 4, in gradient (a.py:7) for 12 s{LONGER}",
        ),
        (
            [heard(0, 5, 12), heard(1, 4, 14), heard(2, 4, 15)],
            "all ranks have waited for others for 12 s; the furthest behind is rank 2 on n1, at "
            "step 4, in exchange (a.py:7)",
        ),
    ],
    ids=["nobody-heard", "one-moves", "one-computes", "one-hangs", "all-hang", "all-wait"],
)
def test_a_rank_that_does_not_move_is_named(table: list[Heard], expected: str) -> None:
    assert stuck(table, 10, len(table)) == expected


def test_ranks_that_are_not_heard_are_not_said_to_wait() -> None:
    assert stuck([heard(0, still_s=10)], 10, 3).startswith("all 1 of 3 ranks that are heard have w")


def test_those_that_are_never_heard_are_named() -> None:
    hosts = ["n0", "n0", "n1", *["n2"] * 9]
    assert unheard([heard(r) for r in range(12)], hosts) == ""
    found = unheard([heard(0), heard(2)], hosts)
    assert found.startswith("rank 0 on n0 never hears rank 1 on n0, rank 3 on n2, ")
    assert ", rank 9 on n2 and 2 more, as" in found


def test_one_of_every_host_speaks_of_a_silent_rank_0_before_a_second() -> None:
    assert turns(["a", "a", "a", "b", "b", "c"]) == [0, 1, 4, 2, 5, 3]
    assert turns(["a"] * 4) == [0, 1, 2, 3]
