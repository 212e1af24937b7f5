"""Mistakes that end in one line: numbers, options without a value, files that are none, plans."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.common.cli import Parser
from bench.common.files import parse_json, read_text, read_toml
from bench.common.spec import UserError, convert, expand_path
from bench.common.typed import typed
from bench.data.checking import require_file
from bench.train import main as train
from partitions.from_file import read


@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        ("9" * 30, int, "x must be below 2^63, got 999"),
        ("-" + "9" * 30, int, "x must be at least -2^63, got -999"),
        ("9" * 5000, int, "x must be below 2^63, got 999"),
        ("y" * 5000, int, "x must be a whole number, got 'yyy"),
        ("1e999", float, "x must be a finite number, got '1e999'"),
    ],
)
def test_numbers_beyond_64_bits_are_one_short_line(text: str, kind: type, line: str) -> None:
    with pytest.raises(UserError) as error:
        convert(text, kind, "x")
    assert str(error.value).startswith(line)
    assert len(str(error.value)) < 150
    assert convert(str(2**63 - 1), int, "x") == 2**63 - 1


def test_an_option_without_a_value_is_refused() -> None:
    parser = Parser()
    parser.add_argument("-b", "--batch")
    for text in ("--batch=--", "-b--"):
        with pytest.raises(UserError, match="expected one argument"):
            parser.parse_args([text])
    assert parser.parse_args(["--batch=-1"]).batch == "-1"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = " + "[" * 2000 + "]" * 2000, "is nested too deeply"),
        ("x = " + "9" * 5000, "whole numbers must be below 2^63"),
        ("[a]\nx = [1, " + "9" * 20 + "]", "whole numbers must be below 2^63"),
    ],
)
def test_toml_of_any_depth_and_numbers_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(UserError, match="toml") as error:
        read_toml(path)
    assert line in str(error.value)
    assert len(str(error.value)) < 300


def test_json_of_any_depth_is_a_value_error() -> None:
    for text in ("[" * 100_000, "9" * 5000):
        with pytest.raises(ValueError, match=r"nested too deeply|too many digits"):
            parse_json(text)
    assert parse_json("[1]") == [1]


def test_pipes_and_devices_are_no_inputs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="a pipe or a device: give a plain file"):
            read_text(path)
        with pytest.raises(UserError, match="a pipe or a device: name a plain file"):
            require_file(path)


def test_long_names_are_refused() -> None:
    with pytest.raises(UserError, match=r"--out 'nnn.*a name has at most 255 bytes"):
        expand_path("n" * 256, "--out")
    assert expand_path("n" * 255) == "n" * 255


def test_an_array_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "owners.npy"
    header = np.lib.format.header_data_from_array_1_0(np.zeros(1, np.int64))
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (10**14,)})
    with pytest.raises(ValueError, match=r"owners\.npy"):
        read(str(path), 10)


@dataclass(frozen=True)
class Inner:
    """A part of a file."""

    count: int


@dataclass(frozen=True)
class Outer:
    """A file of JSON."""

    name: str
    parts: list[Inner]
    table: dict[str, float]
    more: str | None = None


GOOD = {"name": "a", "parts": [{"count": 1}], "table": {"x": 1}}


def test_a_file_of_the_right_types_is_read() -> None:
    assert typed(Outer, GOOD) == Outer("a", [Inner(1)], {"x": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"name": 1},
        {"parts": [{"count": True}]},
        {"parts": [{}]},
        {"parts": {}},
        {"table": {"x": "1"}},
        {"more": 1},
        {"other": 1},
    ],
)
def test_a_value_of_another_type_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the file"):
        typed(Outer, GOOD | change)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ["--task", "digits:hidden=1000000000"],
            "a model of 75,000,000,010 parameters",
        ),
        (["--batch", "1000000000000"], "minibatches of 1,000,000,000,000 samples"),
        (["--task", "synthetic:samples=99999999999999"], "the samples of synthetic"),
    ],
)
def test_sizes_beyond_memory_are_refused_before_the_run(
    tmp_path: Path, options: list[str], line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train([*options, "--steps", "1", "--out", str(tmp_path)]) == 2
    error = capfd.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert list(tmp_path.glob("*.h5*")) == []
