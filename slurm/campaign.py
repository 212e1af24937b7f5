"""Campaign: a submitted sweep in its folder, with the array index of every case."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.common.cli import Parser
from bench.common.files import parse_json, read_text, write_whole
from bench.common.spec import UserError, expand_path
from bench.common.typed import typed
from slurm.case import Case, Geometry
from slurm.ledger import History
from slurm.site import MAX_ARRAY_SIZE, Site, find

JOBS, PLAN = "jobs", "plan.json"
VERSION = 1


@dataclass(frozen=True)
class Entry:
    """A case and its index in the job array of its geometry. The index never changes."""

    case: Case
    index: int
    in_sweep: bool = True
    """True if the sweep file still contains the case."""

    def output(self, folder: Path) -> Path:
        """Return the path of the output of its job."""
        return folder / JOBS / str(self.case.geometry) / f"{self.index}.out"


@dataclass(frozen=True)
class Campaign:
    """Contents of `plan.json`."""

    folder: Path
    sweep: Path
    sha256: str
    """SHA-256 of the sweep file when it was submitted."""
    settings: tuple[str, ...]
    """Values of --set on the command line."""
    site: str
    """Name of a site of the suite, or the path of a site file."""
    entries: tuple[Entry, ...]

    @property
    def jobs(self) -> Path:
        """Folder of the plan, scripts, outputs, ledger and lock."""
        return self.folder / JOBS

    @property
    def runnable(self) -> list[Entry]:
        """The cases of the sweep file that their algorithms accept."""
        return [x for x in self.entries if x.in_sweep and not x.case.refused]

    @property
    def sweep_changed(self) -> bool:
        """True if the sweep file differs from the submitted one; False without a sweep file."""
        return self.sweep.exists() and sha256(self.sweep) != self.sha256

    def save(self) -> None:
        """Write `plan.json` atomically. Errors: UserError."""
        document = {
            "sweep": str(self.sweep),
            "sha256": self.sha256,
            "settings": self.settings,
            "site": self.site,
            "entries": [
                {"case": asdict(x.case), "index": x.index, "wanted": x.in_sweep}
                for x in self.entries
            ],
            "version": VERSION,
        }
        write_whole(self.jobs / PLAN, json.dumps(document, indent=1) + "\n")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits. Errors: UserError."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def merge_entries(
    before: Sequence[Entry],
    cases: Sequence[Case],
    history: History,
    size: int = MAX_ARRAY_SIZE,
) -> tuple[Entry, ...]:
    """Return entries for the current cases, followed by those of cases no longer in the sweep.

    An index is never assigned twice: a job of another case may still be queued under it. size:
    MaxArraySize of Slurm, above all indices; where an array is full, the next part begins at 0.
    """
    known = {
        (x.case.hash, replace(x.case.geometry, part=0)): x for x in before if 0 <= x.index < size
    }
    following: dict[Geometry, int] = {}
    latest: dict[Geometry, Geometry] = {}
    for entry in before:
        place = entry.case.geometry
        following[place] = max(following.get(place, 0), entry.index + 1)

    def free(place: Geometry) -> tuple[Geometry, int]:
        while True:
            index = max(following.get(place, 0), history.next_index(str(place)))
            following[place] = index + 1
            if index < size:
                return place, index
            place = replace(place, part=place.part + 1)

    current = []
    for case in cases:
        old = known.get((case.hash, case.geometry))
        place, index = (old.case.geometry, old.index) if old else (case.geometry, -1)
        if index < 0 and not case.refused:
            place, index = free(latest.get(place, place))
            latest[case.geometry] = place
        current.append(Entry(replace(case, geometry=place), index))
    hashes = {x.case.hash for x in current}
    removed = [x for x in before if x.case.hash not in hashes and x.index >= 0]
    return (*current, *(Entry(x.case, x.index, False) for x in removed))


def load_campaign(folder: Path) -> Campaign | None:
    """Return the campaign of a folder; None if nothing was submitted there. Errors: UserError."""
    path = folder / JOBS / PLAN
    try:
        document = parse_json(read_text(path))
        if document.pop("version") != VERSION:
            raise UserError(
                f"{path} was written by another version of the suite: give another --out"
            )
        return Campaign(
            folder=folder,
            sweep=Path(document["sweep"]),
            sha256=str(document["sha256"]),
            settings=tuple(document["settings"]),
            site=str(document["site"]),
            entries=tuple(
                Entry(typed(Case, x["case"]), typed(int, x["index"]), typed(bool, x["wanted"]))
                for x in document["entries"]
            ),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged: give another --out, or move it away") from None


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the folder of a sweep to a command line."""
    parser.add_argument(
        "path", metavar="SWEEP", help="the sweep file, or the folder of its results"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="the folder of the results, if submit was given one"
    )


def folder_parser(program: str, description: str, epilog: str) -> Parser:
    """Return the command line of a program that reads a submitted sweep."""
    parser = Parser(
        prog=f"python -m slurm.{program}",
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        summarises=True,
    )
    add_folder_arguments(parser)
    return parser


DEFAULT_ROOT = Path("runs") / "sweeps"
"""Parent of the results folder where neither --out nor the site's scratch names another."""


def results_folder(sweep: Path, site: Site, out: str | None) -> Path:
    """Return the results folder of a sweep: --out, or under the scratch or DEFAULT_ROOT.

    Errors: UserError for a variable in the site's scratch that is not set.
    """
    if out:
        return Path(out)
    root = expand_path(site.scratch, f"site {site.name}: scratch") or DEFAULT_ROOT
    return Path(root) / sweep.stem


def _default_folders(sweep: Path) -> list[Path]:
    """Return the folders that submit chooses without --out: on this site, or with --site local."""
    local = DEFAULT_ROOT / sweep.stem
    try:
        return [results_folder(sweep, find(os.environ), None), local]
    except UserError:  # an unknown cluster does not matter for reading results
        return [local]


def find_campaign(path: str, out: str | None) -> Campaign:
    """Return the campaign of a sweep file or a folder of the command line. Errors: UserError."""
    source = Path(path)
    if not source.exists():
        raise UserError(f"{source} does not exist: give a sweep file, or the folder of its results")
    if source.is_dir():
        if out:
            raise UserError(f"{source} is a folder, and --out gives another: drop --out")
        folders = [source]
    elif out:
        folders = [Path(out)]
    else:
        folders = _default_folders(source)
    for folder in folders:
        if campaign := load_campaign(folder):
            return campaign
    raise UserError(
        f"no sweep was submitted to {folders[0]}: start with `python -m slurm.submit FILE.toml`, "
        "or give the folder of its results"
    )
