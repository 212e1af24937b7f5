"""Grid of the ranks of a run over pipelines: rows of workers, columns of positions.

Rank i C + j of a grid with C columns is in row i and column j. The ranks of a row share the
pipelines of some consecutive workers; the ranks of a column share the stages of some consecutive
positions, and so the same columns of all rows of parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

from algorithms.pipelines.clock import Durations, Played, play, play_lists
from algorithms.pipelines.protocol import Action, Pipeline


@dataclass(frozen=True)
class Grid:
    """Grid of ranks; one column without a pipeline."""

    rows: int
    columns: int = 1

    @classmethod
    def of(cls, ranks: int, workers: int, positions: int) -> Grid:
        """Return the grid with the most columns: at most one a position, and one row a worker.

        workers: W; 0 for as many as there are rows. Errors: ValueError if there is none.
        """
        most = min(ranks, positions)
        columns = [c for c in range(most, 0, -1) if ranks % c == 0]
        chosen = next((c for c in columns if not workers or ranks // c <= workers), None)
        if chosen is None:
            counts = {rows * c for rows in range(1, workers + 1) for c in range(1, positions + 1)}
            near = [max(x for x in counts if x < ranks)]
            near += [x for x in sorted(counts) if x > ranks][:1]
            raise ValueError(
                f"{ranks} ranks make no grid of at most {workers} worker{'s' * (workers != 1)} x "
                f"{positions} positions: "
                f"launch {' or '.join(map(str, near))}"
            )
        return cls(ranks // chosen, chosen)

    def cell(self, rank: int) -> tuple[int, int]:
        """Return the row and the column of a rank."""
        return divmod(rank, self.columns)

    def stages(self, pipeline: Pipeline, column: int) -> list[int]:
        """Return the stages of a column, ascending."""
        positions = range(
            column * pipeline.positions // self.columns,
            (column + 1) * pipeline.positions // self.columns,
        )
        return [s for s in range(pipeline.stages) if pipeline.position(s) in positions]

    def column(self, pipeline: Pipeline, stage: int) -> int:
        """Return the column that computes a stage."""
        position = pipeline.position(stage)
        return ((position + 1) * self.columns - 1) // pipeline.positions

    def play(self, pipeline: Pipeline, durations: Durations) -> Played:
        """Return one minibatch of a synchronous pipeline in model time, a list for each column."""
        lists = [merged(pipeline, self.stages(pipeline, j)) for j in range(self.columns)]
        played = play_lists(lists, lambda s: self.column(pipeline, s), pipeline.stages, durations)
        assert played is not None  # the merged order is one for all columns
        return played

    def bubble(self, pipeline: Pipeline) -> float:
        """Return the idle share of the time of all columns with equal stages and no latency.

        A backward pass takes twice the time of a forward pass. An asynchronous pipeline is full.
        """
        if pipeline.asynchronous:
            most = max(len(self.stages(pipeline, j)) for j in range(self.columns))
            return 1 - pipeline.stages / (self.columns * most)
        return self.play(pipeline, Durations.equal(pipeline.stages, 1, 1, 1)).bubble()


def merged(pipeline: Pipeline, stages: list[int]) -> list[Action]:
    """Return the actions of one minibatch for a rank with the positions of these stages, in order.

    Those of several positions are in the order of their start where every position has a rank and
    a backward pass takes twice the time of a forward pass. It is one order for all ranks, so that
    they cannot deadlock.
    """
    played = play(pipeline, Durations.equal(pipeline.stages, 1, 1, 1))
    positions = {pipeline.position(s) for s in stages}
    starts = [
        (start, r, i, action)
        for r in positions
        for i, (action, start, _) in enumerate(played.spans[r])
    ]
    return [action for *_, action in sorted(starts)]
