"""Plans of pipelines against all others."""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise, product
from random import Random

import pytest

from algorithms.pipelines.cut import balanced
from algorithms.pipelines.planner import Chain, Level, Part, grid, link, replicated

CHAINS = 300


def chain_of(random: Random, units: int) -> Chain:
    """Return a chain with random times and sizes, some of them equal."""
    forward, backward, activations, parameters = (
        [random.choice([1.0, 2.0, random.random()]) for _ in range(units)] for _ in range(4)
    )
    fixed = random.random(), random.random()
    return Chain(forward, backward, activations, parameters, fixed)


def cuts(start: int, stop: int) -> Iterator[tuple[int, ...]]:
    """Yield the bounds of every cut of some units, with any number of stages."""
    for k in range(stop - start):
        for inner in combinations(range(start + 1, stop), k):
            yield (start, *inner, stop)


def stage_time(chain: Chain, start: int, stop: int) -> float:
    """Return the time of both passes of a stage."""
    return sum(chain.fixed) + sum(chain.forward[start:stop]) + sum(chain.backward[start:stop])


def best_of_all(chain: Chain, levels: Sequence[Level], start: int, stop: int) -> float:
    """Return the least period of all cuts and numbers of replicas, level by level."""
    if not levels:
        return stage_time(chain, start, stop)
    *inner, level = levels
    periods = []
    for bounds in cuts(start, stop):
        stages = list(pairwise(bounds))
        for replicas in product(range(1, level.count + 1), repeat=len(stages)):
            if sum(replicas) <= level.count:
                times = [
                    (
                        best_of_all(chain, inner, i, j)
                        + 2 * (m - 1) / m * sum(chain.parameters[i:j]) * level.per_byte
                    )
                    / m
                    for (i, j), m in zip(stages, replicas, strict=True)
                ]
                links = [2 * chain.activations[i - 1] * level.per_byte for i in bounds[1:-1]]
                periods.append(max(times + links))
    return min(periods)


def test_straight_plans_are_the_best_of_all_cuts() -> None:
    random = Random(0)
    for _ in range(CHAINS):
        chain = chain_of(random, random.randint(1, 8))
        columns = random.randint(1, len(chain))
        hosts = random.choice([n for n in range(1, columns + 1) if columns % n == 0])
        levels = [Level(columns // hosts, random.random() / 2), Level(hosts, random.random())]
        best = min(
            max(
                [stage_time(chain, i, j) for i, j in pairwise(bounds)]
                + [
                    2 * chain.activations[i - 1] * link(levels, k, k + 1)
                    for k, i in enumerate(bounds[1:-1])
                ]
            )
            for bounds in cuts(0, len(chain))
            if len(bounds) == columns + 1
        )
        period, bounds = grid(chain, 1, columns, levels)
        assert period == pytest.approx(best)
        assert (bounds[0], bounds[-1], len(bounds)) == (0, len(chain), columns + 1)


@pytest.mark.parametrize("counts", [[1], [3], [4], [2, 2], [3, 2]])
def test_replicated_plans_are_the_best_of_all_plans(counts: list[int]) -> None:
    random = Random(len(counts))
    for _ in range(CHAINS // 5):
        chain = chain_of(random, random.randint(1, 6 - len(counts)))
        levels = [Level(count, random.random()) for count in counts]
        plan = replicated(chain, levels)
        assert plan.period == pytest.approx(best_of_all(chain, levels, 0, len(chain)))
        assert period_of(chain, levels, plan.parts) == pytest.approx(plan.period)
        assert sum(part.replicas for part in plan.parts) <= counts[-1]


def period_of(chain: Chain, levels: Sequence[Level], parts: Sequence[Part]) -> float:
    """Return the period of some parts."""
    *inner, level = levels
    times = [2 * chain.activations[part.start - 1] * level.per_byte for part in parts[1:]]
    for i, j, m, inside in parts:
        alone = period_of(chain, inner, inside) if inner else stage_time(chain, i, j)
        times.append((alone + chain.averaging(i, j, m, level.per_byte)) / m)
    return max(times)


def test_no_grid_is_faster_than_the_best_replicas() -> None:
    random = Random(5)
    for _ in range(CHAINS // 5):
        chain = chain_of(random, random.randint(3, 6))
        levels = [Level(6, random.random())]
        periods = [grid(chain, 6 // k, k, levels)[0] for k in (1, 2, 3)]
        assert replicated(chain, levels).period <= min(periods) * (1 + 1e-12)


def test_a_grid_sends_over_the_links_between_its_hosts() -> None:
    chain = Chain([1.0] * 4, [1.0] * 4, [1.0, 100.0, 1.0, 1.0], [1.0] * 4)
    levels = [Level(2, 0.0), Level(2, 1.0)]
    assert grid(chain, 2, 2, [Level(2, 0.0), Level(2, 0.0)])[0] == 2
    # A row is one host: its stages meet over the fast link, and their replicas over the slow one.
    assert grid(chain, 2, 2, levels)[0] == pytest.approx((4 + 2 / 2 * 2) / 2)
    # The large activations of unit 1 stay inside a host.
    assert grid(chain, 1, 3, [Level(4, 0.0)]) == (4.0, [0, 1, 2, 4])
    assert grid(chain, 1, 3, levels) == (4.0, [0, 1, 3, 4])


def test_cuts_by_parameters_are_as_before() -> None:
    assert balanced([1] * 5, 4) == [0, 1, 2, 3, 5]
    assert balanced([5, 1, 1, 1, 5], 3) == [0, 1, 4, 5]
