"""bench.chaos: plans of faults, what follows from a run, its file and report, and a real kill."""

import math
import os
import re
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bench.chaos.faults import DATAGRAM_BYTES, KINDS, draw, flood, slow, udp_ports
from bench.chaos.options import TABLE, split
from bench.chaos.run import plan_run
from bench.common.spec import UserError
from bench.reporting.chaos import report
from bench.reporting.loading import load
from bench.results.chaos import UNKNOWN, read_chaos, recovery
from bench.results.reader import read
from bench.results.validation import flaws
from bench.watch.measured import MEASURED
from tests.bench.made_measurements import make_chaos
from tests.launching import launch


def test_a_plan_strikes_each_time_another_rank_in_another_interval() -> None:
    plans = {}
    for seed in range(20):
        plan = draw(seed, 1, 3, list(KINDS), 4, 5)
        plans[seed] = plan
        assert plan == draw(seed, 1, 3, list(KINDS), 4, 5)
        assert plan != draw(seed, 2, 3, list(KINDS), 4, 5)
        places = [fault.interval for fault in plan]
        assert places == sorted(set(places))
        assert 1 <= places[0] <= places[-1] < 5
        assert len({fault.rank for fault in plan}) == 3
        steps = [fault.step(100) for fault in plan]
        assert all(i * 100 <= step < (i + 1) * 100 for i, step in zip(places, steps, strict=True))
    victims = {fault.rank for plan in plans.values() for fault in plan}
    kinds = {fault.kind for plan in plans.values() for fault in plan}
    assert (victims, kinds) == (set(range(4)), set(KINDS))


@pytest.mark.parametrize(
    ("struck", "expected"),
    [
        (330, (3, 1000 + 10 - 330)),  # rows 0 to 29 were kept, 3 steps of 10 ns after them were not
        (300, (0, 1000 + 10 - 300)),  # at the end of the last kept step
        (155, (0, 15)),  # step 15 is under way and kept
        (2000, (90, UNKNOWN)),  # after the last step
        (-50, (5, 60)),  # before the first kept one: 5 steps since the start at -100
    ],
)
def test_lost_steps_and_recovery_follow_from_the_kept_steps(
    struck: int, expected: tuple[int, int]
) -> None:
    starts = np.array([*range(0, 300, 10), *range(1000, 1100, 10)], np.int64)
    assert recovery(starts, starts + 10, -100, struck) == expected


def test_a_file_of_runs_is_valid_and_its_report_compares_strategies(tmp_path: Path) -> None:
    times = {"calm": 0, "adopt": 20, "restart": 9000, "other": 90}
    path = make_chaos(tmp_path / "x.h5", times, failed="other")
    assert flaws(path) == []
    rows = read_chaos(path).rows()
    calm, adopt = rows[:2]
    assert (calm.goodput, calm.faults) == (1, 0)
    assert math.isnan(calm.recovery_ms)
    assert (adopt.goodput, adopt.useful_share, adopt.recovery_ms) == (0.8, 0.8, 20)
    reading, summarize = MEASURED["bench.chaos"]
    line = "8 runs done, other, plan 2: failed, 1 fault"
    assert summarize(reading(path)) == line
    program, loaded = load(path)
    (chapter,) = report.chapters([loaded])
    assert program == "bench.chaos"
    (table,) = chapter.tables
    cells = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    assert [row["strategy"] for row in cells] == list(times)
    assert cells[1]["recovery s"] == "0.021 [0.020, 0.021]"
    assert cells[1]["useful steps %"] == "80.0"
    assert cells[3]["complete"] == "1 of 2"
    texts = [sentence.text for sentence in chapter.sentences]
    assert texts[0].startswith("After a fault, adopt takes the next step within 0.0205 s, restart")
    assert texts[1] == "1 of 2 runs by other did not end well"
    figures = chapter.draw()
    assert [figure.title for figure in figures] == ["Useful steps and time", "Recovery"]
    assert all(chart.to_dict() for figure in figures for chart in figure.charts.values())
    assert len(report.frame([loaded])) == len(rows)


GOOD = "--task quadratic --steps 400 --eval-every 50"


@pytest.mark.parametrize(
    ("own", "training", "message"),
    [
        ("--kinds quake", GOOD, "unknown kind of fault 'quake'; known: "),
        ("--strategies adopt,adopt", GOOD, "--strategies has adopt twice"),
        ("--ranks 2 --faults 2", GOOD, "--faults must be below --ranks, 2, got 2"),
        ("", f"{GOOD} --out x", "--out after -- is decided by bench.chaos"),
        ("", f"{GOOD} --clock model", "faults strike in real time"),
        ("", f"{GOOD} --algorithm ad_psgd", "--on-death adopt: ad_psgd keeps parameters in"),
        ("", f"{GOOD} --allreduce library", "--allreduce library waits inside the MPI library"),
        ("", "--task quadratic --steps 100", "--faults 2 strike between different evaluations"),
        ("", "--task quadratix", "unknown task 'quadratix'"),
    ],
)
def test_mistakes_are_found_before_the_first_launch(own: str, training: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        plan_run(TABLE.read(own.split()), training.split())


def test_a_flood_fills_the_udp_sockets_of_a_process() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        own.setblocking(False)
        assert own.getsockname()[1] in udp_ports(os.getpid())
        flood(os.getpid(), 0.01)
        for _ in range(50):
            assert len(own.recv(2048)) == DATAGRAM_BYTES


def test_a_slow_process_runs_again_afterwards() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        slow(process.pid, 0.1)
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        process.kill()
    assert state == "S"


def test_options_after_two_dashes_are_those_of_the_training() -> None:
    assert split(["--plans", "2", "--", "--steps", "9"]) == (["--plans", "2"], ["--steps", "9"])
    assert split(["--plans", "2"]) == (["--plans", "2"], [])


def test_a_restart_after_a_kill_ends_with_the_bits_of_the_calm_run(tmp_path: Path) -> None:
    own = "--ranks 2 --plans 1 --faults 1 --strategies restart --name x --out"
    done = launch(0, "-m", "bench.chaos", *own.split(), str(tmp_path), "--", *GOOD.split())
    assert done.returncode == 0, done.stderr
    assert "plan 1  restart" in done.stdout
    assert flaws(tmp_path / "x.h5") == []
    calm, restart = read_chaos(tmp_path / "x.h5").rows()
    assert (calm.launches, calm.faults, calm.steps_lost) == (1, 0, 0)
    assert (restart.launches, restart.faults, restart.steps) == (2, 1, 400)
    assert restart.same_bits
    assert restart.recovery_ms > restart.detection_ms > 0
    assert len(read(tmp_path / "x" / "restart-1.h5").train["step"]) == 400
