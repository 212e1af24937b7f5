"""Tests of the folder of a sweep: fixed indices, a ledger with cut lines, and the lock."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.common.spec import UserError
from bench.results.claims import holder
from slurm import campaign, ledger
from slurm.campaign import Campaign, find_campaign, load_campaign, merge_entries
from slurm.case import TRAIN, Case, Geometry
from slurm.ledger import History, history, new_submission
from tests.slurm.jobs import CHECKOUT

PLACE = Geometry(ranks=2, ranks_per_node=2, threads=1, minutes=5)


def case(name: str, place: Geometry = PLACE, refused: str = "") -> Case:
    return Case(TRAIN, {"seed": "0"}, f"{name}-hash", name, place, f"case {name}", refused)


def names_and_indices(entries: tuple[campaign.Entry, ...]) -> list[tuple[str, int, bool]]:
    return [(x.case.name, x.index, x.in_sweep) for x in entries]


# The plan


def test_indices_stay_when_the_sweep_changes() -> None:
    first = merge_entries((), [case("a"), case("b"), case("r", refused="too few")], History())
    assert names_and_indices(first) == [("a", 0, True), ("b", 1, True), ("r", -1, True)]
    second = merge_entries(first, [case("c"), case("b")], History())
    assert names_and_indices(second) == [("c", 2, True), ("b", 1, True), ("a", 0, False)]
    third = merge_entries(second, [case("a"), case("b"), case("c")], History())
    assert names_and_indices(third) == [("a", 0, True), ("b", 1, True), ("c", 2, True)]


def test_indices_count_within_a_geometry() -> None:
    other = replace(PLACE, minutes=6)
    before = merge_entries((), [case("a"), case("b", other), case("c")], History())
    assert names_and_indices(before) == [("a", 0, True), ("b", 0, True), ("c", 1, True)]
    after = merge_entries(before, [case("a", other)], History())
    assert names_and_indices(after)[0] == ("a", 1, True)


def test_indices_stay_below_the_array_size_however_often_the_sweep_is_edited() -> None:
    entries: tuple[campaign.Entry, ...] = ()
    before: dict[str, tuple[str, int]] = {}
    for edit in range(5):
        cases = [case(f"{edit}-{i}") for i in range(edit, edit + 4)] + [case("kept")]
        entries = merge_entries(entries, cases, History(), size=3)
        places = {x.case.name: (str(x.case.geometry), x.index) for x in entries}
        assert before.items() <= places.items(), "an index never changes"
        assert len(set(places.values())) == len(places), "nor is it given twice"
        before = places
    assert {index for _, index in before.values()} == {0, 1, 2}
    assert len({place for place, _ in before.values()}) == 7  # 21 cases in arrays of 3
    lower = merge_entries(entries, [case("kept")], History(), size=2)
    assert lower[0].index < 2


def test_an_index_of_a_queued_job_is_not_assigned_again() -> None:
    queued = new_submission("n", str(PLACE), {0: "x", 4: "y"}, "s", "slurm", "submit")
    entries = merge_entries((), [case("a")], History(submissions={"n": queued}))
    assert entries[0].index == 5


def in_folder(folder: Path) -> Campaign:
    sweep = folder / "s.toml"
    sweep.write_text("steps = 1\n")
    (folder / "jobs").mkdir()
    entries = merge_entries((), [case("a")], History())
    return Campaign(folder, sweep, campaign.sha256(sweep), ("a=b",), "local", entries)


def test_a_saved_plan_loads_as_the_same_campaign(tmp_path: Path) -> None:
    saved = in_folder(tmp_path)
    saved.save()
    assert load_campaign(tmp_path) == saved
    assert not saved.sweep_changed
    saved.sweep.write_text("steps = 2\n")
    assert saved.sweep_changed
    saved.sweep.unlink()
    assert not saved.sweep_changed


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1}', '{"version": 9}'])
def test_a_damaged_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "plan.json").write_text(text)
    with pytest.raises(UserError, match="give another --out"):
        load_campaign(tmp_path)


def test_a_sweep_file_finds_the_folder_of_submit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")  # no scontrol: the site is this machine
    (tmp_path / "runs" / "sweeps" / "s").mkdir(parents=True)
    saved = in_folder(tmp_path / "runs" / "sweeps" / "s")
    saved.save()
    sweep = tmp_path / "s.toml"
    sweep.touch()
    assert find_campaign(str(sweep), None).entries == saved.entries
    assert find_campaign("runs/sweeps/s", None).entries == saved.entries
    assert find_campaign(str(sweep), "runs/sweeps/s").entries == saved.entries
    for path, out, words in (
        ("nowhere", None, "nowhere does not exist"),
        ("runs/sweeps/s", "runs", "drop --out"),
        ("runs", None, "no sweep was submitted to runs: start with"),
    ):
        with pytest.raises(UserError, match=words):
            find_campaign(path, out)


# The ledger


def test_the_ledger_restores_its_events(tmp_path: Path) -> None:
    one = new_submission("one", "g", {0: "a", 1: "b"}, "s", "slurm", "submit")
    ledger.add_submission(tmp_path, one)
    ledger.add(tmp_path, "queued", name="one", job="17")
    ledger.add(tmp_path, "cancel", hashes=["a", "b"], jobs=["17"])
    ledger.add_submission(tmp_path, new_submission("two", "g", {1: "b"}, "s", "none", "retry"))
    ledger.add(tmp_path, "ended", name="two", hash="b", code=3)
    events = history(tmp_path)
    assert events.submissions["one"] == replace(one, job="17")
    assert events.codes == {("two", "b"): 3}
    assert events.cancelled == {"a"}  # b was submitted again since
    last = events.last("b")
    assert last is not None
    assert (last.name, last.command) == ("two", "retry")
    assert events.last("c") is None
    assert (events.next_index("g"), events.next_index("h")) == (2, 0)


def test_a_truncated_line_is_skipped(tmp_path: Path) -> None:
    ledger.add_submission(tmp_path, new_submission("one", "g", {0: "a"}, "s", "slurm", "submit"))
    with open(tmp_path / "ledger.jsonl", "a") as file:
        file.write('{"event": "queu')
    ledger.add_submission(tmp_path, new_submission("two", "g", {1: "b"}, "s", "slurm", "submit"))
    assert list(history(tmp_path).submissions) == ["one", "two"]


def test_an_unknown_line_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text(json.dumps({"event": "submit", "color": 3}) + "\n")
    with pytest.raises(UserError, match="is not of this version"):
        history(tmp_path)


def test_job_names_are_plain_and_unique() -> None:
    names = {ledger.fresh_name("a b,c|d/é" * 20, "r2-n1") for _ in range(20)}
    assert len(names) == 20
    for name in names:
        assert name.isascii()
        assert not set(name) & set(" ,|/")
        assert len(name) < 80


# The lock


def test_a_locked_folder_refuses_others_and_names_the_holder(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    assert holder(folder) is None
    with ledger.lock_folder(folder, "slurm.submit"):
        code = (
            "import sys; from pathlib import Path; from slurm import ledger\n"
            "from bench.results.claims import holder\n"
            "print(holder(Path(sys.argv[1])))\n"
            "with ledger.lock_folder(Path(sys.argv[1]), 'other'): pass"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, folder],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert re.match(r"process \d+ on .* \(slurm\.submit, since ", done.stdout)
        assert "is in use by process" in done.stderr
    assert holder(folder) is None
    with ledger.lock_folder(folder, "slurm.submit"):
        pass
