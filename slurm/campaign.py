"""A sweep in its folder: which cases, each one's place in its job array, and where all lies."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.common.cli import Parser
from bench.common.files import write_whole
from bench.common.spec import UserError
from slurm.case import Case, Geometry
from slurm.ledger import History
from slurm.site import Site, find

JOBS, PLAN = "jobs", "plan.json"
VERSION = 1


@dataclass(frozen=True)
class Entry:
    """A case and its index in the job array of its geometry, which it keeps for good."""

    case: Case
    index: int
    wanted: bool = True
    """Whether the sweep file still has it."""

    def output(self, folder: Path) -> Path:
        """What its job writes."""
        return folder / JOBS / str(self.case.geometry) / f"{self.index}.out"


@dataclass(frozen=True)
class Campaign:
    """What `plan.json` holds."""

    folder: Path
    sweep: Path
    sha256: str
    """Of the sweep file when it was submitted."""
    settings: tuple[str, ...]
    """--set of the command line."""
    site: str
    """Its name, or the path of its file."""
    entries: tuple[Entry, ...]

    @property
    def jobs(self) -> Path:
        """The folder of the plan, scripts, outputs, ledger and lock."""
        return self.folder / JOBS

    @property
    def wanted(self) -> list[Entry]:
        """The cases that the sweep file has and that can run."""
        return [x for x in self.entries if x.wanted and not x.case.refused]

    @property
    def changed(self) -> bool:
        """Whether the sweep file is another by now; not where it is gone."""
        return self.sweep.exists() and sha256(self.sweep) != self.sha256

    def save(self) -> None:
        """Write `plan.json` whole. Errors: UserError."""
        said = asdict(self) | {"version": VERSION, "sweep": str(self.sweep)}
        del said["folder"]
        write_whole(self.jobs / PLAN, json.dumps(said, indent=1) + "\n")


def sha256(path: Path) -> str:
    """64 hex digits of a file's bytes. Errors: UserError."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def merged(before: Sequence[Entry], cases: Sequence[Case], history: History) -> tuple[Entry, ...]:
    """The cases of now with their indices, then those of before that are no more among them.

    No index is given twice: a job of another case may still wait under it.
    """
    known = {(x.case.hash, x.case.geometry): x.index for x in before}
    following: dict[Geometry, int] = {}
    for entry in before:
        place = entry.case.geometry
        following[place] = max(following.get(place, 0), entry.index + 1)
    made = []
    for case in cases:
        place, index = case.geometry, known.get((case.hash, case.geometry), -1)
        if index < 0 and not case.refused:
            index = max(following.get(place, 0), history.next_index(str(place)))
            following[place] = index + 1
        made.append(Entry(case, index))
    now = {x.case.hash for x in made}
    left = [x for x in before if x.case.hash not in now and x.index >= 0]
    return (*made, *(Entry(x.case, x.index, False) for x in left))


def opened(folder: Path) -> Campaign | None:
    """The campaign of a folder; None where none was begun there. Errors: UserError."""
    path = folder / JOBS / PLAN
    try:
        said = json.loads(path.read_text())
        if said.pop("version") != VERSION:
            raise UserError(f"{path} is of another version of this suite: give another --out")
        return Campaign(
            folder=folder,
            sweep=Path(said["sweep"]),
            sha256=str(said["sha256"]),
            settings=tuple(said["settings"]),
            site=str(said["site"]),
            entries=tuple(
                Entry(_case(x["case"]), x["index"], x["wanted"]) for x in said["entries"]
            ),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged: give another --out, or move it away") from None


def _case(said: Mapping[str, Any]) -> Case:
    return Case(**{**said, "geometry": Geometry(**said["geometry"])})


def add_place(made: argparse.ArgumentParser) -> None:
    """Add what names the folder of a sweep to a command line."""
    made.add_argument("path", metavar="SWEEP", help="the sweep file, or the folder of its results")
    made.add_argument(
        "--out", metavar="DIR", help="the folder, where it is not the one that submit chooses"
    )


def folder_parser(program: str, description: str, epilog: str) -> Parser:
    """The command line of a program that looks at a submitted sweep."""
    made = Parser(
        prog=f"python -m slurm.{program}",
        description=description,
        epilog=epilog,
        allow_abbrev=False,
    )
    add_place(made)
    return made


USUAL = Path("runs") / "sweeps"
"""Where results lie that nobody has another place for."""


def chosen_folder(sweep: Path, site: Site, out: str | None) -> Path:
    """Where results of a sweep file lie: --out, else in the site's scratch or USUAL by its name.

    Errors: UserError for a variable in the site's scratch that the environment lacks.
    """
    if out:
        return Path(out)
    base = os.path.expanduser(os.path.expandvars(site.scratch)) if site.scratch else str(USUAL)
    if "$" in base:
        raise UserError(
            f"site {site.name}: scratch is {site.scratch}, and not all of its variables are set: "
            "set them, or give --out"
        )
    return Path(base) / sweep.stem


def _usual(sweep: Path) -> list[Path]:
    """Where submit would have put a sweep: on this site, or by --site local."""
    usual = USUAL / sweep.stem
    try:
        return [chosen_folder(sweep, find(os.environ), None), usual]
    except UserError:  # it need not be known where jobs run to look at what has
        return [usual]


def submitted_at(path: str, out: str | None) -> Campaign:
    """The campaign that a sweep file or a folder on the command line means. Errors: UserError."""
    given = Path(path)
    if not given.exists():
        raise UserError(f"there is no {given}: name a sweep file, or the folder of its results")
    if given.is_dir():
        if out:
            raise UserError(f"{given} is a folder, and --out names one, too: drop --out")
        places = [given]
    elif out:
        places = [Path(out)]
    else:
        places = _usual(given)
    for folder in places:
        if found := opened(folder):
            return found
    raise UserError(
        f"no sweep was submitted to {places[0]}: begin by `python -m slurm.submit FILE.toml`, or "
        "name the folder that it wrote to"
    )
