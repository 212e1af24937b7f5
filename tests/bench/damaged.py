"""Result files with random damage, and files that are not results."""

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import h5py

from tests.bench.made_measurements import make_calls, make_chaos, make_rounds, make_simulation
from tests.bench.made_runs import make

Damage: TypeAlias = Callable[[Path, bytes, random.Random], object]
"""Function that writes a damaged file to a path, from the bytes of a sound one."""


def sound_files(folder: Path) -> list[bytes]:
    """Return the bytes of a sound file of each program."""
    paths = [
        make(folder / "train.h5"),
        make_calls(folder / "collectives.h5", {8: {"ring": 4.0, "library": 2.0}}),
        make_rounds(folder / "consensus.h5", {"ring": 0.5}),
        make_simulation(folder / "simulate.h5"),
        make_chaos(folder / "chaos.h5", {"calm": 0, "adopt": 20}),
    ]
    return [path.read_bytes() for path in paths]


def flip_bits(path: Path, good: bytes, rng: random.Random) -> None:
    """Write the file with 1 to 64 flipped bits."""
    data = bytearray(good)
    for _ in range(rng.choice([1, 2, 8, 64])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def overwrite(path: Path, good: bytes, rng: random.Random) -> None:
    """Write the file with some bytes replaced by zeros, ones or random bytes."""
    at, n = rng.randrange(len(good)), rng.choice([4, 8, 64, 512])
    fill = rng.choice([b"\0" * n, b"\xff" * n, rng.randbytes(n)])
    path.write_bytes((good[:at] + fill + good[at + n :])[: len(good)])


def write_foreign(path: Path, good: bytes, rng: random.Random) -> None:
    with h5py.File(path, "w") as file:
        file["temperature"] = [rng.random() for _ in range(9)]


def forbid(path: Path, good: bytes, rng: random.Random) -> None:
    path.write_bytes(good)
    path.chmod(0)


DAMAGES: dict[str, Damage] = {
    "truncated": lambda path, good, rng: path.write_bytes(good[: rng.randrange(len(good))]),
    "flipped": flip_bits,
    "overwritten": overwrite,
    "foreign": write_foreign,
    "empty": lambda path, good, rng: path.touch(),
    "text": lambda path, good, rng: path.write_text("step,loss\n" * rng.randrange(1, 999)),
    "noise": lambda path, good, rng: path.write_bytes(good[:8] + rng.randbytes(2000)),
    "folder": lambda path, good, rng: path.mkdir(),
    "forbidden": forbid,
    "dangling": lambda path, good, rng: path.symlink_to(path.with_suffix(".gone")),
    "loop": lambda path, good, rng: path.symlink_to(path),
    "pipe": lambda path, good, rng: os.mkfifo(path),
}
CHANGED = ("truncated", "flipped", "overwritten")
"""Damages that occur several times as often as the others."""


def damage(folder: Path, good: Sequence[bytes], number: int, seed: int) -> list[Path]:
    """Write `number` damaged files, named after their damage; return their paths."""
    rng = random.Random(seed)
    kinds = [*DAMAGES, *(CHANGED * 4)]
    paths = []
    for i in range(number):
        kind = kinds[i % len(kinds)]
        path = folder / f"{i:04}-{kind}.h5"
        DAMAGES[kind](path, good[rng.randrange(len(good))], rng)
        paths.append(path)
    return paths
