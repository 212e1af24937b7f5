"""Placements: even ones, and the positions of those that take part, against a listing."""

import pytest

from algorithms.wire.placement import Placement


@pytest.mark.parametrize(
    ("total", "ranks", "absentees"), [(7, 3, ()), (7, 3, (0, 4, 6)), (12, 4, (5,))]
)
def test_positions_follow_the_workers_that_take_part(
    total: int, ranks: int, absentees: tuple[int, ...]
) -> None:
    placement = Placement.dealt(total, ranks).without(absentees)
    home = {
        i: r for r in range(ranks) for i in range(total) if r == (i * ranks + ranks - 1) // total
    }
    members = [i for i in range(total) if i not in absentees]
    assert placement.members == members
    assert placement.total == len(members)
    assert [placement.rank_of(k) for k in range(len(members))] == [home[i] for i in members]
    assert placement.ranks_of(placement.ids * 0).tolist() == [home[members[0]]] * len(members)
    assert [k for r in range(ranks) for k in placement.positions(r)] == list(range(len(members)))
    assert placement.alive.tolist() == [i in members for i in range(total)]
    assert placement.including(absentees) == Placement.dealt(total, ranks)
    with pytest.raises(ValueError, match="no worker is left"):
        placement.without(members)
