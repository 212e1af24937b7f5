"""The folder of a sweep: indices that stay, a ledger that survives a cut, one command at a time."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.common.spec import UserError
from slurm import campaign, ledger
from slurm.campaign import Campaign, merged, opened, submitted_at
from slurm.case import TRAIN, Case, Geometry
from slurm.ledger import History, history, submitted
from tests.slurm.jobs import CHECKOUT

PLACE = Geometry(ranks=2, ranks_per_node=2, threads=1, minutes=5)


def case(name: str, place: Geometry = PLACE, refused: str = "") -> Case:
    return Case(TRAIN, {"seed": "0"}, f"{name}-hash", name, place, f"case {name}", refused)


def names_and_indices(entries: tuple[campaign.Entry, ...]) -> list[tuple[str, int, bool]]:
    return [(x.case.name, x.index, x.wanted) for x in entries]


# The plan


def test_indices_stay_when_the_sweep_changes() -> None:
    first = merged((), [case("a"), case("b"), case("r", refused="too few")], History())
    assert names_and_indices(first) == [("a", 0, True), ("b", 1, True), ("r", -1, True)]
    second = merged(first, [case("c"), case("b")], History())
    assert names_and_indices(second) == [("c", 2, True), ("b", 1, True), ("a", 0, False)]
    third = merged(second, [case("a"), case("b"), case("c")], History())
    assert names_and_indices(third) == [("a", 0, True), ("b", 1, True), ("c", 2, True)]


def test_every_geometry_counts_for_itself() -> None:
    other = replace(PLACE, minutes=6)
    made = merged((), [case("a"), case("b", other), case("c")], History())
    assert names_and_indices(made) == [("a", 0, True), ("b", 0, True), ("c", 1, True)]
    moved = merged(made, [case("a", other)], History())
    assert names_and_indices(moved)[0] == ("a", 1, True)


def test_no_index_is_given_twice_that_a_job_may_still_wait_under() -> None:
    waiting = submitted("n", str(PLACE), {0: "x", 4: "y"}, "s", "slurm", "submit")
    made = merged((), [case("a")], History(submissions={"n": waiting}))
    assert made[0].index == 5


def in_folder(folder: Path) -> Campaign:
    sweep = folder / "s.toml"
    sweep.write_text("steps = 1\n")
    (folder / "jobs").mkdir()
    entries = merged((), [case("a")], History())
    return Campaign(folder, sweep, campaign.sha256(sweep), ("a=b",), "local", entries)


def test_the_plan_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = in_folder(tmp_path)
    made.save()
    assert opened(tmp_path) == made
    assert not made.changed
    made.sweep.write_text("steps = 2\n")
    assert made.changed
    made.sweep.unlink()
    assert not made.changed


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1}', '{"version": 9}'])
def test_a_damaged_plan_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "plan.json").write_text(text)
    with pytest.raises(UserError, match="give another --out"):
        opened(tmp_path)


def test_a_sweep_file_means_the_folder_that_submit_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")  # no scontrol: the site is this machine
    (tmp_path / "runs" / "sweeps" / "s").mkdir(parents=True)
    made = in_folder(tmp_path / "runs" / "sweeps" / "s")
    made.save()
    sweep = tmp_path / "s.toml"
    sweep.touch()
    assert submitted_at(str(sweep), None).entries == made.entries
    assert submitted_at("runs/sweeps/s", None).entries == made.entries
    assert submitted_at(str(sweep), "runs/sweeps/s").entries == made.entries
    for path, out, words in (
        ("nowhere", None, "there is no nowhere"),
        ("runs/sweeps/s", "runs", "drop --out"),
        ("runs", None, "no sweep was submitted to runs: begin by"),
    ):
        with pytest.raises(UserError, match=words):
            submitted_at(path, out)


# The ledger


def test_the_ledger_remembers(tmp_path: Path) -> None:
    one = submitted("one", "g", {0: "a", 1: "b"}, "s", "slurm", "submit")
    ledger.add_submission(tmp_path, one)
    ledger.add(tmp_path, "queued", name="one", job="17")
    ledger.add(tmp_path, "cancel", hashes=["a", "b"], jobs=["17"])
    ledger.add_submission(tmp_path, submitted("two", "g", {1: "b"}, "s", "none", "retry"))
    ledger.add(tmp_path, "ended", name="two", hash="b", code=3)
    said = history(tmp_path)
    assert said.submissions["one"] == replace(one, job="17")
    assert said.codes == {("two", "b"): 3}
    assert said.cancelled == {"a"}  # b was handed over since
    last = said.last("b")
    assert last is not None
    assert (last.name, last.command) == ("two", "retry")
    assert said.last("c") is None
    assert (said.next_index("g"), said.next_index("h")) == (2, 0)


def test_a_line_that_was_cut_says_nothing_and_spoils_nothing(tmp_path: Path) -> None:
    ledger.add_submission(tmp_path, submitted("one", "g", {0: "a"}, "s", "slurm", "submit"))
    with open(tmp_path / "ledger.jsonl", "a") as file:
        file.write('{"event": "queu')
    ledger.add_submission(tmp_path, submitted("two", "g", {1: "b"}, "s", "slurm", "submit"))
    assert list(history(tmp_path).submissions) == ["one", "two"]


def test_a_line_of_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text(json.dumps({"event": "submit", "color": 3}) + "\n")
    with pytest.raises(UserError, match="not a line of this version's"):
        history(tmp_path)


def test_names_of_jobs_are_plain_and_unlike() -> None:
    names = {ledger.fresh_name("a b,c|d/é" * 20, "r2-n1") for _ in range(20)}
    assert len(names) == 20
    for name in names:
        assert name.isascii()
        assert not set(name) & set(" ,|/")
        assert len(name) < 80


# The lock


def test_who_holds_a_folder_is_told_and_others_are_refused(tmp_path: Path) -> None:
    assert ledger.holder(tmp_path) is None
    with ledger.held(tmp_path, "slurm.submit"):
        code = (
            "import sys; from pathlib import Path; from slurm import ledger\n"
            "print(ledger.holder(Path(sys.argv[1])))\n"
            "with ledger.held(Path(sys.argv[1]), 'other'): pass"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.startswith("slurm.submit (process ")
        assert "is in the hands of slurm.submit (process" in done.stderr
    assert ledger.holder(tmp_path) is None
    with ledger.held(tmp_path, "slurm.submit"):
        pass
