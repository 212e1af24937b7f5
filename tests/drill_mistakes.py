"""Drill of mistakes on command lines and in files: `python -m tests.drill_mistakes 600`.

Every program gets generated mistakes (wrong numbers, names, files and tables), each of which must
end with one line on stderr and exit code 2, without a traceback. A run may also leave a damaged
checkpoint aside and start over, with exit code 0. The mistakes of a
program run one after the other in one process, so a crash or a hang is that of the mistake it began
last.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import h5py
import numpy as np

from bench.runtime.checkpoint import store
from tests.launching import DEADLINE_S, wait_until

TABLES = {
    "bench.train": "bench.runtime.options",
    "bench.collectives.__main__": "bench.collectives.options",
    "bench.consensus.__main__": "bench.consensus.options",
    "bench.simulate.__main__": "bench.simulate.options",
    "bench.partition": "bench.partition",
    "bench.place.__main__": "bench.place.__main__",
    "bench.overhead": "bench.overhead",
    "bench.pipeline.__main__": "bench.pipeline.options",
    "bench.check.__main__": "bench.check.__main__",
}
"""Programs with MPI, and the modules of their tables of options."""
READERS = (
    "bench.report",
    "bench.compare.__main__",
    "bench.trace.__main__",
    "bench.merge",
    "bench.watch.__main__",
    "bench.fetch",
    "bench.list",
)
"""Programs that read files or names."""
SWEEPS = ("bench.sweep.__main__", "slurm.submit", "slurm.status")
"""Programs that read a sweep."""
HANG_S = 60
"""Time after which a mistake counts as a hang."""
DIGITS, LONG = "9" * 5000, "n" * 300
LARGE = "9" * 30
NUMBERS = ("x", "1,5", "0x", LARGE, DIGITS, "1e999", "--")
"""No numbers, or none that 64 bits hold."""
SPECS = ("nothing", "", ":", "nothing:x=1", LONG, "--")
TOMLS = {
    "nested": "x = " + "[" * 2000 + "]" * 2000,
    "digits": f"steps = {DIGITS}",
    "64 bits": f"steps = {'9' * 25}",
    "no TOML": "steps = = 1",
    "U+0000": 'name = "a\\u0000b"',
    "unknown key": "stepz = 3",
    "list": "steps = [[1]]",
    "table": "[steps]\nx = 1",
    "UTF-16": "\ufeffsteps = 3",
    "binary": "\x00\x01\x02",
}
"""Contents of TOML files by the kind of their mistake."""


@dataclass(frozen=True)
class Mistake:
    """One command line with a mistake."""

    program: str
    kind: str
    arguments: list[str]
    may_start_over: bool = False


def files(folder: Path) -> dict[str, Path]:
    """Write the files of the mistakes and return them by kind."""
    paths = {}
    for kind, text in TOMLS.items():
        path = folder / f"{kind.replace(' ', '-').replace('+', '')}.toml"
        path.write_text(text, encoding="utf-16" if kind == "UTF-16" else "utf-8")
        paths[kind] = path
    os.mkfifo(folder / "pipe.toml")
    return paths | {
        "pipe": folder / "pipe.toml",
        "device": Path("/dev/zero"),
        "missing": folder / "missing.toml",
        "long name": folder / f"{LONG}.toml",
        "folder": folder,
    }


def of_options(program: str, table: Any, folder: Path) -> Iterator[Mistake]:
    """Yield mistakes in the numbers and specs of the options of a program."""
    kinds = get_type_hints(table.cls)
    for entry in fields(table.cls):
        kind, name = str(kinds[entry.name]), f"--{entry.name.replace('_', '-')}"
        if entry.metadata.get("positional"):
            continue
        if "int" in kind or "float" in kind:
            for text in NUMBERS:
                if "int" not in kind and text == LARGE:
                    continue  # a float of this size is a number, and no mistake of every option
                yield Mistake(program, f"number {text[:8]}", [f"{name}={text}"])
        elif entry.metadata.get("choices") or "NAME[" in entry.metadata["metavar"]:
            for text in SPECS[:1] + SPECS[2:]:
                yield Mistake(program, "name", [f"{name}={text}"])
    yield Mistake(program, "unknown option", ["--nothing"])
    yield Mistake(program, "stray word", ["nothing"])
    yield Mistake(program, "long name", [f"--out={folder / LONG}"])


def of_files(program: str, paths: dict[str, Path], option: str) -> Iterator[Mistake]:
    """Yield a mistake for each file; option: that names it, empty for a positional."""
    for kind, path in paths.items():
        yield Mistake(program, f"file: {kind}", [option, str(path)] if option else [str(path)])


def in_specs(paths: dict[str, Path]) -> Iterator[Mistake]:
    """Yield mistakes in the files and values of the specs of bench.train."""
    for kind, path in paths.items():
        for spec in (
            f"--partition=file:path={path}",
            f"--partition=histogram:file={path}",
            f"--algorithm=push_sum:topology=file:path={path}",
        ):
            yield Mistake("bench.train", f"spec: {kind}", [spec])
        if kind != "folder":
            yield Mistake("bench.train", f"data: {kind}", ["--task=mlp", f"--data={path}"])
    for text in ("1e999s", "1e300s", "x", "-1s", "1.2.3s", ""):
        yield Mistake("bench.train", "time", [f"--straggler=probability=1,delay={text}"])
        yield Mistake("bench.train", "time", [f"--link=latency={text or 'x'}", "--workers=2"])
    for text in ("1e-300MB/s", "1e999B/s", "0B/s", "1"):
        yield Mistake("bench.train", "rate", [f"--link=bandwidth={text}", "--workers=2"])
    for text in ("task=digits:hidden", "algorithm=elastic_tree:branching", "task=mlp:width"):
        for value in ("9" * 19, "9" * 30, DIGITS, "x", "-1", "1.5"):
            yield Mistake("bench.train", "number of a spec", [f"--{text}={value}"])
    yield Mistake("bench.train", "threads", ["--threads=100000"])
    yield Mistake("bench.train", "no effect", ["--straggler=worker=0,delay=5s"])


TRAINING = (
    *("--task=digits", "--steps=100", "--checkpoint-every=20", "--name=run"),
    "--straggler=worker=0,probability=1,delay=5ms",
)
RESUME = "--resume"
WRONG: tuple[Any, ...] = (None, -1, "x", 2.5, 10**30, [], {}, [None], {"x": "x"}, [[[[]]]])
"""Values of other types or sizes than a manifest has."""
FREE = ("hash", "run_uuid", "elapsed_ns")
"""Entries that any value of their type may have."""


def checkpoints(folder: Path) -> Iterator[Mistake]:
    """Yield runs that continue a checkpoint with a wrong entry in its manifest or other arrays."""
    first = folder / "first"
    command = [sys.executable, "-m", "bench.train", *TRAINING, f"--out={first}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
        wait_until(lambda: bool(store.newest_first(store.place(first / "run.h5"))), "a checkpoint")
        run.kill()
    newest = store.newest_first(store.place(first / "run.h5"))[0]
    entries = asdict(store.read_manifest(newest))
    for name, own in entries.items():
        for i, wrong in enumerate(WRONG):
            if wrong == own or (name in FREE and type(wrong) is type(own)):
                continue
            out = _altered(first, folder / f"{name}{i}", entries | {name: wrong})
            yield Mistake(
                "bench.train", f"manifest: {name}", [*TRAINING, f"--out={out}", RESUME], True
            )
    for i, values in enumerate((np.zeros(0), np.zeros((3, 5)), np.array([b"x"]), np.array(1))):
        out = _altered(first, folder / f"array{i}", entries, {"x": values})
        arguments = [*TRAINING, f"--out={out}", RESUME]
        yield Mistake("bench.train", "array", arguments, may_start_over=True)


def _altered(
    first: Path, out: Path, entries: dict[str, Any], arrays: dict[str, Any] | None = None
) -> Path:
    """Copy a folder of results with other entries in the manifest, and other arrays of rank 0."""
    shutil.copytree(first, out)
    for checkpoint in store.newest_first(store.place(out / "run.h5")):
        if arrays:
            file = checkpoint / store.rank_file(0)
            with h5py.File(file, "r+") as content:
                for name, values in arrays.items():
                    del content[name]
                    content[name] = values
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            entries = entries | {"files": [{"bytes": file.stat().st_size, "sha256": digest}]}
        text = json.dumps(entries)
        digest = hashlib.sha256(text.encode()).hexdigest()
        (checkpoint / store.MANIFEST).write_text(f"{digest}\n{text}\n")
    return out


def mistakes(folder: Path, number: int, seed: int) -> list[Mistake]:
    """Return at most `number` mistakes, drawn from all of them, grouped by program."""
    paths = files(folder)
    every: list[Mistake] = []
    for program, module in TABLES.items():
        table = import_module(module).TABLE
        every += of_options(program, table, folder)
        if table.file:
            every += of_files(program, paths, "--config")
    every += in_specs(paths)
    every += checkpoints(folder)
    for program in READERS:
        every.append(Mistake(program, "unknown option", ["--nothing"]))
        every.append(Mistake(program, "no value", ["--nothing=--"]))
        if program not in ("bench.list", "bench.fetch"):
            every += of_files(
                program, {"missing": paths["missing"], "long": paths["long name"]}, ""
            )
    every.append(Mistake("bench.list", "name", [LONG]))
    every += [
        Mistake("bench.fetch", "URL", ["mnist", "--out", str(folder / "f"), "--mirror", text])
        for text in ("http://[::1", f"http://{'h' * 300}/", "nothing", "file:///nowhere/")
    ]
    for program in SWEEPS:
        some = {k: v for k, v in paths.items() if program != "slurm.status" or k != "folder"}
        every += of_files(program, some, "")
        every.append(Mistake(program, "unknown option", ["--nothing"]))
    sweep = str(Path(__file__).parents[1] / "bench/sweeps/demo.toml")
    for kind, path in paths.items():
        if kind != "folder":
            every.append(
                Mistake("slurm.submit", f"site: {kind}", [sweep, "--dry-run", "--site", str(path)])
            )
    random.Random(seed).shuffle(every)
    return sorted(every[:number], key=lambda x: x.program)


def child(program: str) -> None:
    """Run the mistakes on stdin; write the exit code and stderr of each as a line of JSON."""
    main: Callable[[list[str]], int] = import_module(program).main
    answers = os.fdopen(os.dup(1), "w")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+") as errors, open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            signal.alarm(HANG_S)
            try:
                code: Any = main(json.loads(line))
            except SystemExit as stop:
                code = stop.code
            except BaseException as error:  # a traceback for the user
                code = f"{type(error).__name__}: {error}"
            signal.alarm(0)
            sys.stderr.flush()
            errors.seek(0)
            print(json.dumps([code, errors.read()]), file=answers, flush=True)


def drill(number: int, seed: int) -> list[str]:
    """Print the counts by program and kind, and return one line per flaw."""
    flaws: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        every = mistakes(Path(name), number, seed)
        counts: Counter[tuple[str, bool]] = Counter()
        kinds: Counter[str] = Counter()
        for program in dict.fromkeys(x.program for x in every):
            todo = [x for x in every if x.program == program]
            while todo:
                done = answers(program, todo, name)
                for mistake, answer in zip(todo, done, strict=False):
                    flaw = flaw_of(mistake, *answer)
                    counts[program, not flaw] += 1
                    kinds[mistake.kind.partition(":")[0]] += 1
                    if flaw:
                        flaws.append(f"{program} {' '.join(mistake.arguments)[:120]}: {flaw}")
                if len(done) < len(todo):
                    mistake = todo[len(done)]
                    counts[program, False] += 1
                    flaws.append(f"{program} {' '.join(mistake.arguments)[:120]}: crash or hang")
                todo = todo[len(done) + 1 :]
    for program in dict.fromkeys(x.program for x in every):
        print(f"{program:28} {counts[program, True]:4} good, {counts[program, False]:3} not")
    print(", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items())))
    print(f"{len(every)} mistakes, {len(every) - len(flaws)} of them one line and exit code 2")
    return flaws


def answers(program: str, todo: list[Mistake], folder: str) -> list[tuple[Any, str]]:
    """Return exit code and stderr of each mistake, up to one that ends the process."""
    lines = "".join(f"{json.dumps(x.arguments)}\n" for x in todo)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, program],
        input=lines,
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=DEADLINE_S + HANG_S * len(todo),
        check=False,
    )
    return [(code, text) for code, text in map(json.loads, done.stdout.splitlines())]


CHILD = "import sys; from tests.drill_mistakes import child; child(sys.argv[1])"


def flaw_of(mistake: Mistake, code: Any, stderr: str) -> str:
    """Return what is wrong with an answer; empty for one line and exit code 2."""
    lines = stderr.strip().splitlines()
    if code == 0 and mistake.may_start_over:
        return "" if not lines else "a warning"
    if code != 2:
        return f"exit code {code}"[:200]
    if len(lines) != 1:
        return f"{len(lines)} lines on stderr"
    return "" if len(lines[0]) < 2000 and lines[0].isprintable() else "a line that is no sentence"


def main() -> int:
    """Run the drill, print its flaws, and return 1 if there are any."""
    numbers = [int(x) for x in sys.argv[1:]]
    number, seed = (*numbers, *(600, 0)[len(numbers) :])
    flaws = drill(number, seed)
    for flaw in flaws:
        print(f"flaw: {flaw}")
    return 1 if flaws else 0


if __name__ == "__main__":
    sys.exit(main())
