"""Deadlines of --watchdog auto on a fake clock: gaps between beats, stays, and their judgement."""

import json
import math
import socket
from dataclasses import asdict

import pytest
from mpi4py import MPI

from bench.common.spec import UserError
from bench.session.beats import Beat, LastBeat, silence, stall
from bench.session.deadlines import (
    BEAT_S,
    FIXED_S,
    LEAST_STAY_S,
    PAUSE_S,
    QUANTILE,
    RATIO,
    WINDOW,
    Gaps,
    Stays,
    parse,
)
from bench.session.watchdog import Watch


def gaps_of(*times: float) -> Gaps:
    gaps, now_s = Gaps(0.0), 0.0
    for gap_s in times:
        now_s += gap_s
        gaps.beat(now_s)
    return gaps


def test_the_first_deadline_is_an_estimate() -> None:
    assert gaps_of().limit_s == pytest.approx(PAUSE_S + BEAT_S + QUANTILE * BEAT_S / 4)


def test_the_deadline_of_even_beats_is_the_pause_and_the_least_deviation() -> None:
    assert gaps_of(*[1.0] * WINDOW).limit_s == pytest.approx(PAUSE_S + 1 + 0.1 * QUANTILE)
    assert pytest.approx(6.36, abs=0.01) == QUANTILE  # of a normal distribution at 1 - 1e-10


def test_the_deadline_adapts_to_late_beats_and_forgets_them() -> None:
    even, late = gaps_of(*[1.0] * WINDOW), gaps_of(*[1.0, 5.0] * WINDOW)
    assert late.limit_s == pytest.approx(PAUSE_S + 3 + 2 * QUANTILE)
    now_s = WINDOW * 6.0
    for _ in range(WINDOW):
        now_s += 1
        late.beat(now_s)
    assert late.limit_s == pytest.approx(even.limit_s)


def test_a_second_beat_at_the_same_time_is_no_gap() -> None:
    assert gaps_of(*[1.0, 0.0] * 20).limit_s == gaps_of(*[1.0] * 20).limit_s


def test_a_step_may_take_ten_times_the_longest_before_it_and_an_activity_its_own() -> None:
    stays = Stays()
    assert stays.limit_s("") == math.inf
    for stay_s in (0.1, 30.0, 0.2):
        stays.end("", stay_s)
    stays.end("evaluation", 1.0)
    assert stays.limit_s("") == RATIO * 30
    assert stays.limit_s("evaluation") == LEAST_STAY_S
    assert stays.limit_s("writing results") == math.inf


def test_limits_shorten_the_timeout_and_never_extend_it() -> None:
    def last(rank: int, age_s: float, limit_s: float) -> LastBeat:
        return LastBeat(Beat(rank, "n0", 5, "gradient", "a.py:7", False, 0.0), age_s, limit_s)

    assert silence([last(0, 11, 12), last(1, 11, math.inf)], FIXED_S) == ""
    assert silence([last(0, 11, 12), last(1, 12, 12)], FIXED_S).startswith("rank 1 on n0 has sent")
    assert silence([last(0, FIXED_S, 1e6)], FIXED_S)
    beat = Beat(0, "n0", 5, "gradient", "a.py:7", False, 61.0, LEAST_STAY_S)
    assert stall([LastBeat(beat, 0.1)], FIXED_S, 1).startswith("rank 0 on n0 has been at step 5")


def test_other_words_than_auto_and_seconds_are_refused() -> None:
    assert (parse("auto"), parse("0"), parse("7")) == ((FIXED_S, True), (0, False), (7, False))
    for text in ("", "-1", "1.5", "soon", "9" * 30):
        with pytest.raises(UserError, match="--watchdog must be auto or whole seconds"):
            parse(text)


def test_the_watchdog_ends_after_the_deadline_of_the_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    step, ends = 5, list[str]()
    watch = Watch(MPI.COMM_SELF, FIXED_S, lambda: step, [], adapts=True)
    monkeypatch.setattr(watch, "_end", ends.append)
    beat = Beat(1, "n1", 5, "gradient", "a.py:7", False, 0.0)
    text = watch._post._token + json.dumps(asdict(beat)).encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for step in range(60):  # beats every second, on the clock of the watchdog
            watch._now_s = float(step)
            other.sendto(text, watch._post._targets[0])
            watch._exchange()
            watch._judge()
    for step in (59 + 11, 59 + 13):
        assert ends == []
        watch._now_s = float(step)
        watch._exchange()
        watch._judge()
    watch._post.close()
    assert ends[0].startswith("rank 1 on n1 has sent no heartbeat for 13 s; last at step 5")
