"""Twin of speciation, with all workers in one matrix."""

from math import ceil, log2

import numpy as np

from algorithms.protocol import Algorithm
from algorithms.speciation import Speciation
from tests.algorithms.twin import STEPS, Twin, Twins
from tests.helpers import Array

VARIANTS: dict[str, Algorithm] = {
    "speciation": Speciation(period=1, decide=4, gap=0.0),
    "speciation, pairs": Speciation(period=1, decide=8, most=2, gap=1.2),
    "speciation, averages only": Speciation(period=2, decide=8, gap=1e9),
}


def speciation(twin: Twin, algorithm: Speciation) -> None:
    """Keep the species as lists of members, and the deviations as they are, without a sketch."""
    (W, d), H = twin.x.shape, algorithm.period
    species, before = [list(range(W))], list[Array]()
    for k in range(1, STEPS + 1):
        twin.x = twin.x - twin.direction(twin.gradient(twin.x))
        if k % H:
            continue
        before.append(twin.x)
        x = twin.x.copy()
        for members in species:
            n = len(members)
            for place, i in enumerate(members):
                if len(species) == 1:
                    x[i] = twin.x.mean(0)
                elif n > 1:
                    hop = 2 ** (k // H % ceil(log2(n)))
                    x[i] = (twin.x[i] + twin.x[members[place - hop]]) / 2
        twin.x = x
        if k not in (algorithm.decide * 2**i for i in range(STEPS)):
            continue
        late = range(k // 2 // H, k // H)
        odd, even = (np.sum([before[t] for t in late if t % 2 == r], axis=0) for r in (0, 1))
        species = [part for one in species for part in parts(odd, even, one, algorithm, d)]


def parts(
    odd: Array, even: Array, members: list[int], algorithm: Speciation, d: int
) -> list[list[int]]:
    """Return the species that one splits into."""
    n = len(members)
    a, b = (x[members] - x[members].mean(0) for x in (odd, even))
    C = a.T @ b + b.T @ a
    values = np.sort(np.linalg.eigvalsh(C))[::-1]
    gaps = [
        values[j] / values[j + 1]
        for j in range(min(algorithm.most, (n + 1) // 2, (d + 1) // 2) - 1)
    ]
    if not gaps or max(gaps) < 1 + algorithm.gap / n ** (1 / 3):
        return [members]
    j = int(np.argmax(gaps)) + 1
    away = (a + b) @ np.linalg.eigh(C)[1][:, -j:]
    centres = [away[0]]
    while len(centres) <= j:
        centres.append(max(away, key=lambda p: min(float(((p - c) ** 2).sum()) for c in centres)))
    for _ in range(100):
        of = [int(np.argmin([((p - c) ** 2).sum() for c in centres])) for p in away]
        groups = [[i for i, c in enumerate(of) if c == g] for g in range(j + 1)]
        centres = [away[g].mean(0) if g else c for g, c in zip(groups, centres, strict=True)]
    return [[members[i] for i in g] for g in groups if g]


TWINS: Twins = {Speciation: speciation}
