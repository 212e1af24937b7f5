"""Best value of an option in every case, chosen on a validation split, for --best.

A case is everything but the seed and the options to choose, such as `optimizer.lr`. Its candidates
are the values of these options; the one with the best median score over the seeds is kept, and the
report compares the cases with their chosen values. The score is the metric on the validation
split, which no run trained on. A diverged run has the worst score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bench.common.spec import OUTER, UserError, unknown_name
from bench.common.text import NONE, Setting, TextTable, counted, format_number, interval_line
from bench.reporting.chapter import Chapter, Sentence
from bench.reporting.training.choice import Choice, choose, mask, sortable, spelled, value_of
from bench.reporting.training.runs import Digest
from bench.reporting.training.sections import order, shared
from bench.results.schema import COMPLETE

TRAIN = "bench.train"
SPLITS = ("validation", "test")
"""Splits on which values can be chosen; choices on the test split flatter the chosen values."""
CONDITIONS = ("task", "partition", "workers", "ranks", "suite version", "processor")
"""Settings that make a condition, in which values are compared, and never a choice."""


def split_named(best: str | None, name: str | None) -> str:
    """Return the split of --best-on, for the value of --best. Errors: UserError."""
    if name is None:
        return SPLITS[0]
    if best is None:
        raise UserError("--best-on chooses the split of --best: give --best OPTION, too")
    if name not in SPLITS:
        raise unknown_name("split in --best-on", name, SPLITS)
    return name


def fold_best(loaded: dict[str, list[Any]], best: str, split: str) -> list[Chapter]:
    """Keep the runs with the best values of the options; return the chapter of the choices.

    Errors: UserError.
    """
    if TRAIN not in loaded:
        raise UserError(
            f"--best {best} chooses among training runs, but the files are of "
            f"{' and '.join(loaded)}: drop --best or name runs of {TRAIN}"
        )
    options = list(dict.fromkeys(x.strip() for x in best.split(",") if x.strip()))
    loaded[TRAIN], choices = fold(loaded[TRAIN], options, split)
    return [choices]


def fold(
    runs: Sequence[Digest], options: Sequence[str], split: str
) -> tuple[list[Digest], Chapter]:
    """Return the runs with the best values, and a chapter with the choices.

    options: settings (`batch`) or options of their specs (`optimizer.lr`), chosen together. split:
    `validation` or `test`. Runs without these options are returned as they are. Errors: UserError
    for an unknown option, and for runs without a validation split.
    """
    for option in options:
        _check_option(option, runs)
    cases: dict[tuple[object, ...], list[Digest]] = {}
    folded: list[Digest] = []
    for run in runs:
        if all(value_of(run, x) is None for x in options):
            folded.append(run)
            continue
        settings = mask(run, options).settings
        key = (run.row.task, run.row.metric_name, tuple(settings), order(settings))
        cases.setdefault(key, []).append(run)
    _check_split([run for some in cases.values() for run in some], options, split)
    choices = []
    for _, some in sorted(cases.items(), key=lambda item: item[0]):
        choice = choose(some, options, split)
        if choice is None:
            folded += some
        else:
            choices.append(choice)
            folded += [mask(run, options) for run in choice.chosen.runs]
    return folded, _chapter(choices, options, split)


def _check_option(option: str, runs: Sequence[Digest]) -> None:
    if option in CONDITIONS or option == "seed":
        raise UserError(
            f"--best {option}: values of {option} are not compared with each other; name an option "
            "of the training, as in --best optimizer.lr"
        )
    known = {x for run in runs for x in run.settings if x not in CONDITIONS}
    specs = {f"{name}.{key}" for run in runs for name, of in run.options.items() for key in of}
    specs = {x for x in specs if x.partition(".")[0] not in CONDITIONS}
    if option not in known | specs:
        same = {x for x in specs if x.partition(".")[0] == option.partition(".")[0]}
        raise unknown_name("option in --best", option, (same if "." in option else {}) or known)


def _check_split(runs: Sequence[Digest], options: Sequence[str], split: str) -> None:
    without = [run for run in runs if not run.row.validation_samples]
    if split == "validation" and without:
        raise UserError(
            f"--best {OUTER.join(options)}: {len(without)} of {len(runs)} runs have no validation "
            f"split ({without[0].row.file}): train with --validation 0.2, or choose on the test "
            "split by --best-on test, which flatters the chosen values"
        )


def _chapter(choices: Sequence[Choice], options: Sequence[str], split: str) -> Chapter:
    """Return the chapter of the choices: one row per case."""
    what, unfair = OUTER.join(options), " (unfair)" if split == "test" else ""
    settings = spelled([x.case for x in choices])
    varying = shared(settings)[1] if choices else []
    names = ["algorithm", *sorted((x for x in varying if x != "algorithm"), key=_partition_first)]
    header = [*(x.replace("_", " ") for x in names), f"best {what}", "out of", "note"]
    header += [f"{split} {_metric(choices)}", *([f"test {_metric(choices)}"] if not unfair else [])]
    rows = []
    for choice, case in zip(choices, settings, strict=True):
        chosen = choice.chosen
        words = [NONE if (x := case[name]) is None else str(x) for name in names]
        tried = ("; " if len(options) > 1 else ", ").join(
            x.text for x in sorted(choice.candidates, key=lambda x: sortable(x.value.values()))
        )
        cells = [chosen.text, tried, "; ".join(choice.notes) or "clear", _scores(chosen.scores)]
        tests = [run.row.metric for run in chosen.runs]
        rows.append([*words, *cells, *([_scores(tests)] if not unfair else [])])
    foot = [f"{counted(len(choices), 'case')}; below, runs with the chosen values only"]
    if unfair:
        foot.append(
            "UNFAIR: values were chosen on the test split whose metric is reported below, so that "
            "cases with more values tried look better than they are: train with --validation"
        )
    notes = [
        f"best: largest median {split} metric of the mean model over the seeds [smallest, largest]"
        if not choices or choices[0].direction == "max"
        else f"best: smallest median {split} metric of the mean model over the seeds [smallest, "
        "largest]",
        "clear: at least 3 seeds, ranges apart by more than one sample, and inside the tried range",
    ]
    table = TextTable(
        heading=f"Best {what} on the {split} split{unfair}",
        header=header,
        rows=rows,
        states=[COMPLETE] * len(rows),
        words=len(names) + 3,
        foot=foot,
    )
    title = f"Choice of {what} on the {split} split{unfair}"
    answers = [
        Sentence(text) for text in _sentences(choices, settings, f"{split} split{unfair}", what)
    ]
    return Chapter(title, _summary(choices, split), [table], notes, [], list, answers)


def _sentences(
    choices: Sequence[Choice], settings: Sequence[Mapping[str, Setting]], split: str, what: str
) -> list[str]:
    """Return, for each algorithm, its best values and the number of cases that tell them apart."""
    by_algorithm: dict[str, list[Choice]] = {}
    for choice, case in zip(choices, settings, strict=True):
        by_algorithm.setdefault(str(case["algorithm"]), []).append(choice)
    texts = []
    for name, some in by_algorithm.items():
        values = Counter(choice.chosen.text for choice in some).most_common()
        counts = f" (in {{}} of {len(some)} cases)" if len(values) > 1 else ""
        listed = ", ".join(text + counts.format(n) for text, n in values)
        if all(len(choice.candidates) == 1 for choice in some):
            texts.append(f"The only {what} of {name} is {listed}: these files have no other value")
            continue
        apart = sum(choice.apart for choice in some)
        verdict = f"told apart in {apart} of {len(some)} cases"
        if apart in (0, len(some)):
            verdict = f"{'' if apart else 'not '}told apart from the others"
        texts.append(f"The best {what} of {name} on the {split} is {listed}, {verdict}")
    return texts


def _summary(choices: Sequence[Choice], split: str) -> str:
    """Return the tasks, and the sizes of the splits on which the values were chosen."""
    rows = [run.row for choice in choices for run in choice.chosen.runs]
    sizes = {x.validation_samples if split == "validation" else x.eval_samples for x in rows}
    texts = [f"{n:,}" if n else "unknown" for n in sorted(sizes)]
    tasks = ", ".join(sorted({x.task for x in rows}))
    return f"{tasks}; {split} split of {' or '.join(texts) or 'no'} samples"


def _metric(choices: Sequence[Choice]) -> str:
    names = {x.chosen.runs[0].row.metric_name for x in choices}
    return next(iter(names)) if len(names) == 1 else "metric"


def _partition_first(name: str) -> bool:
    return name != "partition"


def _scores(values: Sequence[float]) -> str:
    """Return the median of some scores, with the smallest and the largest."""
    several = interval_line(min(values), max(values)) if len(values) > 1 else ""
    return format_number(median(values)) + several
