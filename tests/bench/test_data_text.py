"""Texts: every character has its code and its speaker."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.common.spec import UserError
from bench.data.opening import open_text
from bench.data.protocol import Text
from tests.bench.made_data import refusal, text_file


def turns(text: Text) -> list[tuple[str, str]]:
    """Return speaker and text in the order of the file, with neighbours of one speaker joined."""
    characters = [text.alphabet[code] for code in text.codes]
    pairs = zip([text.names[i] for i in text.speaker], characters, strict=True)
    return [
        (name, "".join(character for _, character in part))
        for name, part in itertools.groupby(pairs, key=lambda pair: pair[0])
    ]


LINES = st.lists(st.text("ab \u00e9:", min_size=1, max_size=5).map("x{}".format), max_size=3)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    preface=LINES,
    speeches=st.lists(
        st.tuples(st.sampled_from(["ALL", "First Citizen", "Z."]), LINES), max_size=6
    ),
)
def test_a_speech_and_its_header_belong_to_the_speaker(
    tmp_path: Path, preface: list[str], speeches: list[tuple[str, list[str]]]
) -> None:
    parts = [("", "no head\n" + "".join(f"{line}\n" for line in preface) + "\n")] if preface else []
    parts += [
        (name, f"{name}:\n" + "".join(f"{line}\n" for line in lines) + "\n")
        for name, lines in speeches
    ]
    whole = "".join(part for _, part in parts) or "no head"
    text = open_text(text_file(tmp_path, "a.txt", whole))
    joined = [
        (name, "".join(part for _, part in group))
        for name, group in itertools.groupby(parts or [("", whole)], key=lambda pair: pair[0])
    ]
    assert turns(text) == joined
    assert text.alphabet == "".join(sorted(set(whole)))
    assert list(text.names) == sorted({name for name, _ in joined})
    assert text.codes.dtype == np.uint8
    assert text.speaker.dtype == np.int32


def test_a_line_within_a_speech_is_not_a_header(tmp_path: Path) -> None:
    text = open_text(text_file(tmp_path, "a.txt", "A:\nsaid thus:\nB:\n\nC:\nno\n"))
    assert [name for name, _ in turns(text)] == ["A", "C"]


def test_byte_order_mark_and_line_ends_are_removed(tmp_path: Path) -> None:
    text = open_text(text_file(tmp_path, "a.txt", "\ufeffA:\r\nyes\r\n\r\nB:\r\nno\r\n"))
    assert turns(text) == [("A", "A:\nyes\n\n"), ("B", "B:\nno\n")]


def test_a_large_alphabet_takes_larger_codes(tmp_path: Path) -> None:
    whole = "".join(chr(0x4E00 + i) for i in range(300)) + "\U0001f600"
    text = open_text(text_file(tmp_path, "a.txt", whole))
    assert text.codes.dtype == np.int32
    assert turns(text) == [("", whole)]


def test_files_without_text_are_refused(tmp_path: Path) -> None:
    for name, content, message in (
        ("empty.txt", b"", " is empty"),
        (
            "latin.txt",
            b"caf\xe9",
            " is not text in UTF-8: byte 0xe9 in line 1 is not UTF-8: save the file as UTF-8",
        ),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError) as refused:
            open_text(str(path))
        assert str(refused.value).startswith(f"{path}{message}")
    for path, message in (
        (tmp_path / "none.txt", "does not exist: name a text file"),
        (tmp_path, f"is a folder: name a text file ({tmp_path / 'empty.txt'}, "),
    ):
        with pytest.raises(UserError) as refused:
            open_text(str(path))
        assert str(refused.value).startswith(f"--data {path} {message}")
    assert "is a text, which the task transformer reads" in refusal(tmp_path / "empty.txt")
