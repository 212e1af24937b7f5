"""Declarative options: the fields of a dataclass define the command line of a program.

    @dataclass(frozen=True)
    class Options:
        steps: int = option(400, "training steps", "N", least=1)

    TABLE = Table(Options, prog="python -m bench.train", description="Train a task.")
    options = TABLE.read(["--steps", "20"])

The same table reads a command line, a TOML file and the options of a sweep's case, and writes the
command line of an instance.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from bench.common import summary
from bench.common.cli import Parser, is_path
from bench.common.files import read_toml
from bench.common.spec import LIMIT, UserError, convert, expand_path, unknown_name

T = TypeVar("T")


def option(
    default: Any,
    help: str,
    metavar: str = "",
    *,
    names: Sequence[str] = (),
    group: str = "",
    choices: Sequence[str] = (),
    least: int | None = None,
    aside: bool = False,
    later: bool = False,
    **argument: Any,
) -> Any:
    """Return a dataclass field that is an option of a program.

    metavar: FILE, DIR and PATH mark a path, whose `~` and variables are expanded. names: further
    names, as `-n` or `--iters`. group: title of its section in the help. least: the
    smallest integer allowed. aside: whether the option leaves the numbers of a run unchanged.
    later: whether earlier result files lack the option, so that its default is not recorded.
    argument: further keywords of `ArgumentParser.add_argument`. A bool is a flag, a tuple collects
    the values of a repeated option.
    """
    metadata = {
        "help": help,
        "metavar": metavar,
        "names": tuple(names),
        "group": group,
        "choices": tuple(choices),
        "least": least,
        "aside": aside,
        "later": later,
        "argument": argument,
    }
    return field(default=default, metadata=metadata)


def positional(help: str, metavar: str) -> Any:
    """Return a dataclass field that is a required positional argument of a program."""
    return field(metadata={"help": help, "metavar": metavar, "positional": True})


def same(cls: type, name: str) -> Any:
    """Return a copy of an option of another table."""
    original: Field[Any] = cls.__dataclass_fields__[name]  # type: ignore[attr-defined]
    return field(default=original.default, metadata=original.metadata)


def check_ranges(options: Any) -> None:
    """Check the options that have choices or a smallest value. Errors: UserError."""
    for entry in fields(options):
        least, value = entry.metadata.get("least"), getattr(options, entry.name)
        names = entry.metadata.get("choices")
        if names and value not in names:
            raise unknown_name(entry.name, value, names)
        if least is None or value is None:
            continue
        if value < least:
            raise UserError(f"{flag(entry.name)} must be >= {least}, got {value}")
        if value >= LIMIT:
            raise UserError(f"{flag(entry.name)} must be below 2^63, got {value}")


def check_name(name: str) -> None:
    """Check the name of a result file; empty: the default one. Errors: UserError."""
    if os.sep in name:
        raise UserError(f"--name must not hold a folder, got {name!r}: use --out for that")
    if name.startswith("."):
        raise UserError(
            f"--name must not begin with a dot, got {name!r}: reports skip hidden files"
        )
    if not name.isprintable():
        raise UserError(f"--name must be printable, got {name!r}: leave out control characters")


def flag(name: str) -> str:
    """Return the command-line name of an option."""
    return "--" + name.replace("_", "-")


def command_line(texts: Mapping[str, str]) -> list[str]:
    """Return options by name as `--name=value`, which a value with a leading dash cannot break."""
    return [f"{flag(name)}={value}" for name, value in texts.items()]


@dataclass(frozen=True)
class Table(Generic[T]):
    """Options of one program: the fields of `cls` and the text of its help.

    groups: title -> description of the sections of the help. file: whether `--config FILE` reads
    options from a TOML file.
    """

    cls: type[T]
    prog: str
    description: str
    epilog: str = ""
    groups: Mapping[str, str] | None = None
    file: bool = False

    @property
    def entries(self) -> dict[str, Field[Any]]:
        """The fields by name."""
        return {entry.name: entry for entry in fields(self.cls)}  # type: ignore[arg-type]

    def defaults(self) -> dict[str, str]:
        """Return the default of every option as text, empty where there is none."""
        return {
            name: "" if entry.default in (None, MISSING) else str(entry.default)
            for name, entry in self.entries.items()
        }

    def parser(self) -> argparse.ArgumentParser:
        """Return the parser of the command line; its values are texts, None where absent."""
        lines = argparse.RawDescriptionHelpFormatter if "\n" in self.epilog else None
        parser = Parser(
            prog=self.prog,
            description=self.description,
            epilog=self.epilog or None,
            formatter_class=lines or argparse.HelpFormatter,
            allow_abbrev=False,
            summarises="json" not in self.entries,
        )
        if self.file:
            text = "TOML file with these options by name"
            parser.add_argument("--config", metavar="FILE", help=text)
        sections = {
            title: parser.add_argument_group(title, text or None)
            for title, text in (self.groups or {}).items()
        }
        for entry in self.entries.values():
            names, keywords = _argument(entry)
            section = sections.get(entry.metadata.get("group", ""), parser)
            section.add_argument(*names, **keywords)
        return parser

    def texts(self, argv: Sequence[str]) -> dict[str, Any]:
        """Return the options that a command line gives, as texts by name.

        An option of the command line overrides the one of a TOML file. Errors: UserError.
        """
        namespace, rest = self.parser().parse_known_args(argv)
        if rest:
            names = [name for entry in self.entries.values() for name in _argument(entry)[0]]
            known = [
                *(name for name in names if name.startswith("-")),
                *(["--config"] if self.file else []),
                *([summary.FLAG] if "json" not in self.entries else []),
            ]
            raise _unknown_argument(rest, known)
        texts = {name: value for name, value in vars(namespace).items() if value is not None}
        file = texts.pop("config", "") if self.file else ""
        return self._from_file(Path(file)) | texts if file else texts

    def values(self, texts: Mapping[str, Any]) -> dict[str, Any]:
        """Convert the texts of some options to the types of their fields. Errors: UserError."""
        kinds = get_type_hints(self.cls)
        for name in texts:
            if name not in kinds:
                raise unknown_name("option", flag(name), map(flag, self.entries))
        return {name: self._value(name, text, kinds[name]) for name, text in texts.items()}

    def _value(self, name: str, text: Any, kind: Any) -> Any:
        if not isinstance(text, str):
            return tuple(text)
        if is_path(self.entries[name].metadata["metavar"]):
            return expand_path(text, flag(name))
        return convert(text, kind, flag(name))

    def build(self, texts: Mapping[str, Any]) -> T:
        """Return the options of which some are given as texts. Errors: UserError."""
        return self.cls(**self.values(texts))

    def read(self, argv: Sequence[str]) -> T:
        """Return the options of a command line. Errors: UserError."""
        return self.build(self.texts(argv))

    def arguments(self, options: T) -> list[str]:
        """Return the shortest command line that reads as these options."""
        changed = {
            name: value
            for name, entry in self.entries.items()
            if (value := getattr(options, name)) != entry.default
        }
        return [
            flag(name) if value is True else f"{flag(name)}={value}"
            for name, value in changed.items()
        ]

    def _from_file(self, path: Path) -> dict[str, str]:
        known = self.entries
        texts: dict[str, str] = {}
        for key, value in read_toml(path, "--config ").items():
            name = key.replace("-", "_")
            if name not in known:
                raise unknown_name(f"option in {path}", key, known)
            if isinstance(value, list | dict):
                raise UserError(f"{path}: {key} must be one value, got {value!r}")
            if name in texts:
                raise UserError(f"{path}: {name} is given twice")
            texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
        return texts


def _unknown_argument(rest: Sequence[str], known: Sequence[str]) -> UserError:
    """Return the error for the first of the arguments that no option takes."""
    name, equals, value = rest[0].partition("=")
    if not name.startswith("-"):
        return UserError(
            f"{rest[0]!r} belongs to no option: options begin with --, and values with spaces "
            "need quotes; see --help"
        )
    if not equals and rest[1:]:
        value = rest[1]
    error = unknown_name("option", name, known)
    return UserError(str(error).replace("VALUE", value or "VALUE", 1))


def _argument(entry: Field[Any]) -> tuple[list[str], dict[str, Any]]:
    """Return names and keywords of an option for `add_argument`."""
    data = entry.metadata
    if data.get("positional"):
        return [entry.name], {"metavar": data["metavar"], "help": data["help"], "type": str}
    text = data["help"] + (f": {', '.join(data['choices'])}" if data["choices"] else "")
    if entry.default not in (None, "", ()) and not isinstance(entry.default, bool):
        text += f" (default: {entry.default})"
    keywords = {"dest": entry.name, "help": text} | data["argument"]
    if isinstance(entry.default, bool) and "nargs" not in data["argument"]:
        keywords |= {"action": "store_const", "const": "true"}
    else:
        keywords |= {"metavar": data["metavar"], "type": str}  # Table.values converts it
    if isinstance(entry.default, tuple):
        keywords |= {"action": "append"}
    short = [name for name in data["names"] if not name.startswith("--")]
    long = [name for name in data["names"] if name.startswith("--")]
    return [*short, flag(entry.name), *long], keywords
