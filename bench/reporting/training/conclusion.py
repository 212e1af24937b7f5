"""Conclusions of training runs in sentences, each with the chart that shows it.

Who is ahead, and where nobody is, follows from bench.reporting.training.ranking alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.common.text import counted, format_bytes, format_number
from bench.reporting.chapter import Sentence
from bench.reporting.training.ranking import (
    FEW,
    LEAST,
    Contest,
    coarse,
    contests,
    interval,
    values_of,
)
from bench.reporting.training.sections import Section
from bench.results.schema import COMPLETE, RUNNING

MOST_NAMES = 3
"""Maximum number of names or conditions that a sentence lists."""


@dataclass(frozen=True)
class Question:
    """A number of a case by which contestants are compared, and its words."""

    column: str
    subject: str
    """Name of the number, which begins its sentences."""
    text: Callable[[float], str]
    """Return the number with its unit."""
    charts: tuple[str, ...]
    direction: str = ""


def _seconds(value: float) -> str:
    return f"{format_number(value, 3)} s"


def _ms(value: float) -> str:
    return f"{format_number(value, 3)} ms"


def _questions(section: Section) -> list[Question]:
    metric = section.metric
    return [
        Question("metric", metric, format_number, ("map-mean", "final")),
        Question(
            "metric_worst",
            f"{metric} of the worst worker",
            format_number,
            ("map-worst", "final"),
        ),
        Question("step_ms", "time of a step", _ms, ("map-step", "steps"), "min"),
        Question("time_to_target_s", "time to the target", _seconds, ("target-seconds",), "min"),
    ]


def sentences(section: Section) -> list[Sentence]:
    """Return the conclusions of a section: accuracy, time, bytes, exchange and failures."""
    result = []
    for question in _questions(section):
        result += _outcome(question, contests(section, question.column, question.direction))
    if result and (text := coarse(section.runs)):
        result.append(Sentence(text, ("final",)))
    result += fewest_bytes(contests(section, "bytes_per_step", "min"))
    if not result:
        result = _alone(section)
    return [*result, *_exchange(section), *_failures(section), *_missed(section)]


def _outcome(question: Question, some: Sequence[Contest]) -> list[Sentence]:
    """Return who is ahead, who is behind all others, and where nobody is ahead."""
    won: dict[str, list[Contest]] = {}
    lost: dict[str, list[Contest]] = {}
    for contest in some:
        ranking = contest.ranking
        if ranking.winner is not None:
            won.setdefault(contest.names[ranking.winner], []).append(contest)
        elif len(ranking.groups) > 1 and len(ranking.groups[-1]) == 1:
            lost.setdefault(contest.names[ranking.order[-1]], []).append(contest)
    texts = [
        f"In {question.subject}, {name} is ahead{_where(own, len(some))}: {_margin(question, own)}"
        for name, own in sorted(won.items(), key=lambda x: -len(x[1]))
    ]
    open_ = [contest for contest in some if not contest.ranking.apart]
    if open_:
        texts.append(_open(question, open_, len(some)))
    texts += [
        f"In {question.subject}, {name} is behind all others{_where(own, len(some))}"
        for name, own in lost.items()
    ]
    return [Sentence(text, question.charts) for text in texts]


def _margin(question: Question, won: Sequence[Contest]) -> str:
    """Return winner and second of a single contest, or the range of the differences of medians."""
    if len(won) > 1:
        gaps = [abs(_median(x, 0) - _median(x, 1)) for x in won]
        ends = list(dict.fromkeys(question.text(gap) for gap in (min(gaps), max(gaps))))
        return f"the second differs by {' to '.join(ends)}"
    (contest,) = won
    second = contest.names[contest.ranking.order[1]]
    return f"{_spread(question, contest, 0)} against {_spread(question, contest, 1)} of {second}"


def _median(contest: Contest, place: int) -> float:
    return median(contest.values[contest.ranking.order[place]])


def _spread(question: Question, contest: Contest, place: int) -> str:
    middle, low, high = interval(contest.values[contest.ranking.order[place]])
    return f"{question.text(middle)} [{question.text(low)}, {question.text(high)}]"


def _open(question: Question, some: Sequence[Contest], total: int) -> str:
    """Return where nobody is ahead, and the reasons."""
    reasons = Counter(contest.ranking.reason for contest in some)
    if len(some) == 1:
        (contest,) = some
        group = contest.ranking.groups[0]
        first = [contest.names[i] for i in group]
        ends = sorted(median(contest.values[i]) for i in group)
        shown = list(dict.fromkeys(question.text(x) for x in (ends[0], ends[-1])))
        text = f"In {question.subject}, {_listed(first)} are not told apart{_where(some, total)}"
        text += f" (medians {' to '.join(shown)}; {contest.ranking.reason})"
    else:
        why = ", ".join(f"{reason}: {n}" for reason, n in reasons.most_common())
        why = next(iter(reasons)) if len(reasons) == 1 else why
        where = f"any of {total} conditions" if len(some) == total else ""
        where = f" in {where}" if where else _where(some, total)
        text = f"In {question.subject}, no case is ahead{where} ({why})"
    advice = f": run each case with at least {LEAST} seeds" if FEW in reasons else ""
    return text + advice


def fewest_bytes(some: Sequence[Contest]) -> list[Sentence]:
    """Return who sends the fewest bytes. Bytes are counted, so a single run is certain.

    Nobody does where the runs of the fewest and of another overlap, as with asynchronous ones.
    """
    fewest: dict[str, list[Contest]] = {}
    for contest in some:
        least = min(contest.values, key=median)
        equal = [median(values) == median(least) for values in contest.values]
        names = [name for name, same in zip(contest.names, equal, strict=True) if same]
        others = [min(x) for x, same in zip(contest.values, equal, strict=True) if not same]
        if others and max(least) < min(others):
            fewest.setdefault(_listed(names), []).append(contest)
    result = []
    for listed, own in sorted(fewest.items(), key=lambda x: -len(x[1])):
        smallest = sorted(min(map(median, x.values)) for x in own)
        ends = list(dict.fromkeys(map(format_bytes, (smallest[0], smallest[-1]))))
        text = f"The fewest bytes are sent by {listed}{_where(own, len(some))}: "
        text += f"{' to '.join(ends)} per worker and step"
        if len(own) == 1 or len({_most(x) for x in own}) == 1:
            name, most = _most(own[0])
            text += f", {name} the most: {format_bytes(most)}"
        result.append(Sentence(text, ("map-bytes", "bytes")))
    return result


def _exchange(section: Section) -> list[Sentence]:
    """Return the share of a step that the exchange takes: median of each case, the ends of all."""
    shares = [
        (median(run.row.exchange_share for run in case), str(case[0].settings["algorithm"]))
        for _, case in section.complete()
        if all(math.isfinite(run.row.exchange_share) for run in case)
    ]
    if not shares:
        return []
    (low, least), (high, most) = min(shares), max(shares)
    first, last = f"{100 * low:.0f} %", f"{100 * high:.0f} %"
    text = f"The exchange takes {first} of a step"
    if first != last:
        own = ("", "") if least == most else (f" ({least})", f" ({most})")
        text = f"The exchange takes from {first}{own[0]} to {last}{own[1]} of a step"
    return [Sentence(text, ("phases",))]


def _most(contest: Contest) -> tuple[str, float]:
    place = max(range(len(contest.names)), key=lambda i: median(contest.values[i]))
    return contest.names[place], median(contest.values[place])


def _alone(section: Section) -> list[Sentence]:
    """Return the metric of each case where nothing can be compared, of at most MOST_NAMES."""
    cases = [(case, values_of(case, "metric")) for _, case in section.complete()]
    cases = [(case, values) for case, values in cases if all(map(math.isfinite, values))]
    result = []
    for case, values in cases[:MOST_NAMES]:
        middle, low, high = interval(values)
        several = f" [{format_number(low)}, {format_number(high)}]" if len(values) > 1 else ""
        where = f", {section.condition(case[0])}" if len(cases) > 1 else ""
        seeds = counted(len(values), "seed")
        text = f"With {seeds}, {case[0].settings['algorithm']}{where} reaches {section.metric} "
        text += f"{format_number(middle)}{several}; there is nothing to compare it with"
        result.append(Sentence(text, ("final",)))
    return result


def _failures(section: Section) -> list[Sentence]:
    """Return which algorithms diverged, died or failed, and where."""
    ended: dict[tuple[str, str], list[int]] = {}
    for place, run in enumerate(section.runs):
        if run.row.status not in (COMPLETE, RUNNING):
            ended.setdefault((str(run.settings["algorithm"]), run.row.status), []).append(place)
    result = []
    for (name, status), places in ended.items():
        total = sum(str(run.settings["algorithm"]) == name for run in section.runs)
        where = dict.fromkeys(section.condition(section.runs[i]) for i in places)
        some = f" ({'; '.join(where)})" if len(where) <= MOST_NAMES else ""
        text = f"Of {counted(total, 'run')} of {name}, {len(places)} {status}{some}"
        result.append(Sentence(text, ("step",)))
    running = sum(run.row.status == RUNNING for run in section.runs)
    if running:
        verb = "has not ended and is" if running == 1 else "have not ended and are"
        text = f"Of {counted(len(section.runs), 'run')}, {running} {verb} not compared"
        result.append(Sentence(text, ("step",)))
    return result


def _missed(section: Section) -> list[Sentence]:
    """Return which algorithms missed the target."""
    tried: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for run in section.runs:
        seconds = run.row.time_to_target_s
        if not math.isnan(seconds):
            tried[str(run.settings["algorithm"])] += 1
            missed[str(run.settings["algorithm"])] += math.isinf(seconds)
    return [
        Sentence(
            f"Of {counted(tried[name], 'run')} of {name}, {n} missed the target",
            ("target-seconds",),
        )
        for name, n in missed.items()
        if n
    ]


def _where(some: Sequence[Contest], total: int) -> str:
    """Return a space and the conditions of these contests; empty for one without a name."""
    if total == 1:
        return f" ({some[0].condition})" if some[0].condition else ""
    if len(some) == total:
        return f" in all {total} conditions"
    named = f" ({'; '.join(x.condition for x in some)})" if len(some) <= MOST_NAMES else ""
    return f" in {len(some)} of {total} conditions{named}"


def _listed(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMES + 1:
        return f"{', '.join(names[:MOST_NAMES])} and {len(names) - MOST_NAMES} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
