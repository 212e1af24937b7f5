"""Classes of the user's own, FILE.py:CLASS, in the place of a registered name.

    --algorithm mine.py:MyGossip:alpha=0.5

The file is loaded as a module whose name is its path as given, so that a class states where it is
from: `cls.__module__`. Files beside it can be imported by name.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from dataclasses import is_dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Protocol

from bench.common.hints import suggestion

SUFFIX = ".py"
ROOT = Path(__file__).resolve().parents[2]
HIDDEN = (*(f"{ROOT / name}/" for name in ("algorithms", "bench", "partitions")), "<frozen")
"""Beginnings of the files whose frames a user's traceback leaves out."""


def is_own(text: str) -> bool:
    """Report whether a spec names a file instead of a registered name."""
    return text.partition(":")[0].endswith(SUFFIX)


def head(text: str) -> str:
    """Return the name at the beginning of a spec: FILE.py:CLASS, or a registered name."""
    path, colon, rest = text.partition(":")
    return f"{path}{colon}{rest.partition(':')[0]}" if is_own(text) else path


def short(text: str) -> str:
    """Return the name of a spec as it stands in a file name: the class, or a registered name."""
    return head(text).rpartition(":")[2].rpartition("/")[2]


def options_of(text: str) -> str:
    """Return the options of a spec, without its name."""
    return text.removeprefix(head(text)).removeprefix(":")


def source(thing: object) -> str:
    """Return the path of the file that defines an object's class; empty for the suite's own."""
    name = type(thing).__module__
    return name if name.endswith(SUFFIX) else ""


def name_of(cls: type) -> str:
    """Return the name of an unregistered class: FILE.py:CLASS, or CLASS of a running script."""
    own = cls.__module__.endswith(SUFFIX)
    return f"{cls.__module__}:{cls.__qualname__}" if own else cls.__qualname__


def load(path: str, name: str, registry: Mapping[str, type]) -> type:
    """Return a class of a file, which can stand in the place of the registered ones.

    Errors: ValueError, one line, for a file that cannot be imported, and a class that lacks
    something that the registered ones have.
    """
    module = _module(path)
    classes: dict[str, type] = {
        key: x
        for key, x in vars(module).items()
        if isinstance(x, type) and x.__module__ == module.__name__
    }
    if name not in classes:
        near = suggestion(name, list(classes))
        known = ", ".join(classes) or "none"
        hint = f" (did you mean {near}?)" if near else ""
        problem = f"has no class {name!r}{hint}" if name else f"needs a class, as {path}:NAME"
        raise ValueError(f"{path} {problem}; it defines {known}")
    _check(classes[name], f"{path}:{name}", registry)
    return classes[name]


def _module(path: str) -> ModuleType:
    """Return the module of a file, imported once. Errors: ValueError."""
    if path in sys.modules:
        return sys.modules[path]
    if not Path(path).is_file():
        raise ValueError(f"{path} is not a file: give the path of a file with the class")
    spec = spec_from_file_location(path, Path(path).absolute())
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    folder = str(Path(path).absolute().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    sys.modules[path] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[path]
        if not isinstance(error, Exception | SystemExit):
            raise
        kind = type(error).__name__
        raise ValueError(
            f"{path} cannot be imported: {_line(error, path)}{kind}: {error}: correct it, "
            f"`python {path}` shows all of the traceback"
        ) from None
    return module


def _line(error: BaseException, path: str) -> str:
    """Return words for the last line of the file in a traceback."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}, "
    frames = traceback.extract_tb(error.__traceback__)
    lines = [x.lineno for x in frames if x.filename == str(Path(path).absolute())]
    return f"line {lines[-1]}, " if lines else ""


def _check(cls: type, name: str, registry: Mapping[str, type]) -> None:
    """Check that a class is of the kind of the registered ones. Errors: ValueError."""
    known = list(registry.values())
    bases = [x for x in known[0].__mro__ if all(x in y.__mro__ for y in known)]
    for base in bases:
        if base not in cls.__mro__ and base not in (Protocol, Generic, object):
            raise ValueError(
                f"{name} does not inherit from {base.__name__}: write class {cls.__name__}"
                f"({base.__name__}), with `from {base.__module__} import {base.__name__}`"
            )
    if "__dataclass_params__" not in vars(cls) or not is_dataclass(cls):
        raise ValueError(f"{name} is not a dataclass: write @dataclass(frozen=True) above it")
    parameters: Any = vars(cls)["__dataclass_params__"]
    if not parameters.frozen:
        raise ValueError(f"{name} can change: write @dataclass(frozen=True) above it")
    common = set.intersection(*(set(dir(x)) for x in known))
    lacking = sorted(x for x in common if not x.startswith("_") and x not in dir(cls))
    lacking += sorted(vars(cls).get("__abstractmethods__", ()))
    if lacking:
        raise ValueError(f"{name} lacks {', '.join(lacking)}, which {known[0].__name__} has")


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an exception, that of the user's frames where it is in own code."""
    files = {module.__file__ for name, module in sys.modules.items() if is_own(name)}
    frames = traceback.extract_tb(error.__traceback__)
    if any(frame.filename in files for frame in frames):
        return user_traceback(error)
    return "".join(traceback.format_exception(error))


def user_traceback(error: BaseException) -> str:
    """Return the traceback of an exception without the frames of the suite.

    An exception that the suite raises itself keeps all of them.
    """
    report = traceback.TracebackException.from_exception(error)
    cause: traceback.TracebackException | None = report
    while cause is not None:
        if cause.stack and not cause.stack[-1].filename.startswith(HIDDEN):
            frames = [x for x in cause.stack if not x.filename.startswith(HIDDEN)]
            cause.stack = traceback.StackSummary.from_list(frames)
        cause = cause.__cause__ or cause.__context__
    return "".join(report.format())
