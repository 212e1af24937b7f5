"""Output of a run on the terminal: progress, and a summary at the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from algorithms.pipelines import PIPELINES
from algorithms.pipelines.grid import Grid
from bench.common.spec import parse_spec
from bench.common.text import counted, format_bytes, format_score, printable, since_mark
from bench.results import contents, decisions, lost
from bench.results.reader import Run
from bench.session.terminal import OptionalProgress, is_interactive

FEW_RANKS = 8
"""Maximum number of ranks whose paces are printed one by one."""
FEW_CHOICES, FEW_GROUPS = 4, 8
"""Maximum numbers of choices of a controller, and of groups of workers, that are printed."""


class Reporter(OptionalProgress):
    """Progress of a run on rank 0: a bar on an interactive terminal, plain lines elsewhere.

    quiet: print nothing, for a program with output of its own.
    """

    def __init__(self, steps: int, metric: str, *, quiet: bool = False) -> None:
        self._steps, self._metric = steps, metric
        self._console = Console(highlight=False, soft_wrap=True, emoji=False, quiet=quiet)
        if is_interactive() and not quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("step", total=steps)

    def print_line(self, line: str) -> None:
        """Print a line of text without markup."""
        self._console.print(printable(line), markup=False)

    def print_lines(self, lines: Iterable[str]) -> None:
        """Print lines of text without markup."""
        for line in lines:
            self.print_line(line)

    def show_evaluation(
        self, step: int, seconds: float, scores: dict[str, float], since: int
    ) -> None:
        """Show the scores of an evaluation, `since` steps after the last exchange."""
        text = f"{self._metric} {format_score(scores['metric'])}"
        if self._bar:
            self._bar.update(self._task, completed=step, description=text)
            return
        worst = f"{format_score(scores['metric_worst'])}{since_mark(since)}"
        self.print_line(
            f"step {step:>6}/{self._steps}  {seconds:8.2f} s  {text}  "
            f"worst worker {worst}  loss {format_score(scores['loss'])}  "
            f"consensus {scores['consensus']:.3g}"
        )

    def show_progress(self, step: int) -> None:
        """Move the bar."""
        if self._bar:
            self._bar.update(self._task, completed=step)

    def summarise(self, run: Run) -> None:
        """Print the summary of a closed file."""
        if self._bar:
            self._bar.stop()
        lines = summary(run)
        width = max(len(label) for label, _ in lines)
        for label, text in lines:
            self.print_line(f"{label:<{width}}  {text}")


def paces(run: Run) -> str:
    """Return a text with the pace of the ranks, each of them where they are few."""
    pace = run.pace()
    if len(pace) <= FEW_RANKS:
        return f"{', '.join(f'{x:.1f}' for x in pace)} steps/s by rank"
    return f"{pace.min():.1f} steps/s of the slowest rank, {pace.max():.1f} of the fastest"


def validation_lines(run: Run) -> list[tuple[str, str]]:
    """Return the line of the validation split, if the run has one."""
    row = run.row()
    if not row.validation_samples:
        return []
    text = f"{format_score(row.validation_metric)} {row.metric_name} of the mean model"
    return [
        (
            "validation",
            f"{text} on {counted(row.validation_samples, 'sample')} held out of training",
        )
    ]


def answer_lines(run: Run) -> list[tuple[str, str]]:
    """Return the line of --answer, if the run has it: the metric on the data of each worker."""
    row = run.row()
    if not row.answer:
        return []
    own, worst, everything = map(format_score, (row.own_mean, row.own_worst, row.answer_metric))
    text = f"{own} workers' mean, {worst} worst worker, each on its own data; {everything} on all"
    return [(row.answer, text)]


def group_lines(run: Run) -> list[tuple[str, str]]:
    """Return the line about the groups of workers, if the algorithm forms some: their sizes."""
    with contents.open_hdf5(run.path) as file:
        table = contents.columns(file, "workers") if contents.has(file, "workers") else {}
    if "group" not in table:
        return []
    members = table["group"][table["group"] >= 0]
    sizes = [str(n) for n in sorted(Counter(members.tolist()).values(), reverse=True)]
    more = ["..."] if len(sizes) > FEW_GROUPS else []
    text = f"{counted(len(sizes), 'group')} of {', '.join([*sizes[:FEW_GROUPS], *more])} workers"
    return [("groups", text)]


def wire_lines(run: Run) -> list[tuple[str, str]]:
    """Return the line of --wire, if the run has it: the error of rows that travel."""
    error = run.attributes.get("wire_error")
    if error is None:
        return []
    text = f"rows travel with a relative rounding error of {error:.2g}, that of the parameters"
    return [("wire", f"{run.params['wire']}: {text}")]


def controller_lines(run: Run) -> list[tuple[str, str]]:
    """Return the line of the controller, if the run has one: the shares of its choices."""
    table = decisions.read(run.path)
    if not table:
        return []
    shares = list(table.shares().items())
    texts = [f"{share:.0%} {text}" for text, share in shares[:FEW_CHOICES]]
    more = [f"{len(shares) - FEW_CHOICES} more"] if len(shares) > FEW_CHOICES else []
    count = counted(len(table.columns["steps"]), "segment")
    return [("controller", f"{count}; of the steps {', '.join([*texts, *more])}")]


def churn_lines(run: Run) -> list[tuple[str, str]]:
    """Return the line about deaths and returns of workers, if the run may have some."""
    if "participation" not in run.attributes:
        return []
    row = run.row()
    text = f"{counted(row.deaths, 'death')}, {counted(row.returns, 'return')}"
    return [("members", f"{text}, participation {row.participation:.1%} of the workers' steps")]


def loss_lines(run: Run) -> list[tuple[str, str]]:
    """Return the lines of --on-death, if given: the cost of the copies, and the dead ranks."""
    copies = int(run.attributes.get("protected", 0))
    if not copies:
        return []
    text = f"{counted(copies, 'copy', 'copies')} in {run.attributes['protection_s']:.3f} s"
    lines = [("protection", text)]
    names = lost.text(run.path)
    return [*lines, ("lost", names)] if names else lines


def pipeline_lines(run: Run) -> list[tuple[str, str]]:
    """Return the line of the pipeline, if the run has one: measured numbers beside the formulas."""
    bubble = run.row().bubble
    if math.isnan(bubble):
        return []
    pipeline = parse_spec(str(run.params["pipeline"]), PIPELINES, "pipeline")
    workers, ranks = (int(run.attributes[name]) for name in ("workers", "ranks"))
    expected = Grid.of(ranks, workers, pipeline.positions).bubble(pipeline)
    lines = [
        ("pipeline", f"bubble {bubble:.1%} of the stages' time, {expected:.1%} by the formula")
    ]
    with contents.open_hdf5(run.path) as file:
        memory = contents.columns(file, "pipeline") if contents.has(file, "pipeline") else {}
    if memory:
        rank = int(memory["saved_bytes"].argmax())
        names = ("saved_bytes", "saved_bytes_formula", "versions", "versions_formula")
        size, size_formula, versions, versions_formula = (int(memory[x][rank]) for x in names)
        text = (
            f"{size:,} B of activations on rank {rank}, {size_formula:,} B by the formula; "
            f"{counted(versions, 'version')} of the parameters, {versions_formula} by the formula"
        )
        lines.append(("memory", text))
    return lines


def summary(run: Run) -> list[tuple[str, str]]:
    """Return label and text of each line of the summary."""
    row = run.row()
    share = run.phase_share()
    known = not math.isnan(row.step_ms_ci_lo)
    interval = (
        f" (95 % interval {row.step_ms_ci_lo:.3f} to {row.step_ms_ci_hi:.3f})" if known else ""
    )
    lines = [
        ("status", f"{row.status}  {run.attributes.get('reason', '')}".strip()),
        (
            "run",
            f"{row.task}  {row.algorithm}  {row.partition}  "
            f"{counted(row.workers, 'worker')} on {counted(row.ranks, 'rank')}  seed {row.seed}",
        ),
        (
            "step",
            f"{row.step_ms:.3f} ms, elapsed over {counted(run.cycle_steps(), 'step')}{interval}; "
            f"median {row.step_ms_p50:.3f}",
        ),
        ("speed", f"{row.steps_per_s:,.1f} steps/s, {row.samples_per_s:,.0f} samples/s"),
        ("phases", "  ".join(f"{name} {part:.0%}" for name, part in share.items())),
        ("exchange", f"{row.exchange_share:.1%} of the step"),
        ("pace", paces(run)),
        (
            "traffic",
            f"{format_bytes(row.bytes_per_step)} a worker and step, "
            f"{format_bytes(row.wire_bytes_per_step)} of it through MPI",
        ),
        (
            row.metric_name,
            f"{format_score(row.metric)} mean model, {format_score(row.metric_mean)} workers' "
            f"mean, {format_score(row.metric_worst)} worst worker{since_text(row.since)}",
        ),
        *validation_lines(run),
        *answer_lines(run),
        *group_lines(run),
        *wire_lines(run),
        *controller_lines(run),
        *churn_lines(run),
        *pipeline_lines(run),
        *loss_lines(run),
        ("consensus", f"{row.consensus:.4g} root mean square distance to the mean model"),
    ]
    if "target" in run.attributes:
        reached = run.attributes.get("target_reached", False)
        text = (
            f"{run.attributes['target']:g} reached after {row.time_to_target_s:.3f} s, "
            f"{counted(row.steps_to_target, 'step')}, {counted(row.samples_to_target, 'sample')}, "
            f"{format_bytes(row.bytes_to_target)}"
            if reached
            else f"{run.attributes['target']:g} not reached"
        )
        lines.append(("target", text))
    return [*lines, ("file", row.file)]


def since_text(since: int) -> str:
    """Return the steps since the last exchange as a text; empty right after one or if unknown."""
    return f", {since} steps after the last exchange" if since > 0 else ""
