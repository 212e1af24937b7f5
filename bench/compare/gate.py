"""Exit codes of bench.compare, and the requirements of --require."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.common.spec import unknown_name

if TYPE_CHECKING:
    from bench.compare.verdict import Comparison, Verdict

MET, WORSE, UNDECIDED = 0, 1, 3
"""Exit codes; 2 is a usage error."""

REQUIREMENTS: dict[str, tuple[str, Callable[[Verdict], bool]]] = {
    "decided": ("a difference is shown, or the case is not-worse", lambda x: x.decided),
    "not-worse": (
        "the interval of B/A excludes a worsening by --margin, or B is better",
        lambda x: x.not_worse,
    ),
    "better": ("B is shown to be better", lambda x: x.better),
}
"""Name -> meaning and test of each requirement on a case."""


def check_requirement(name: str) -> None:
    """Check the value of --require. Errors: UserError."""
    if name and name not in REQUIREMENTS:
        raise unknown_name("requirement in --require", name, REQUIREMENTS)


def requirement_list() -> str:
    """Return the requirements with their meanings, for --help."""
    return "; ".join(f"{name}: {meaning}" for name, (meaning, _) in REQUIREMENTS.items())


def judge_gate(comparison: Comparison, required: str) -> tuple[int, list[str]]:
    """Return the exit code, and the lines that explain it; required: value of --require.

    A worse case is decisive. Otherwise, without a requirement one case must be decided; with a
    requirement every case of A must be in B and meet it.
    """
    verdicts = comparison.verdicts
    worse = any(x.worse for x in verdicts)
    if not required:
        if worse or any(x.decided for x in verdicts):
            return (WORSE if worse else MET), []
        return UNDECIDED, [
            "nothing is shown: neither a difference of any case, nor that one is not worse by "
            f"{100 * comparison.margin:g} %"
        ]
    test = REQUIREMENTS[required][1]
    failures = [
        pair.label for pair, x in zip(comparison.pairs, verdicts, strict=True) if not test(x)
    ]
    failures += [f"{label} (not in B)" for label in comparison.missing]
    total = len(verdicts) + len(comparison.missing)
    line = f"required {required}: met by {total - len(failures)} of {total} cases of A"
    lines = [f"{line}; not by {'; '.join(failures)}" if failures else line]
    return (WORSE if worse else UNDECIDED if failures else MET), lines
