"""Mixing rules against their formulas, the needs that `require` checks, extreme eigenvalues."""

import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from algorithms.topologies.exponential import Exponential
from algorithms.topologies.file import File
from algorithms.topologies.mixing import MIXINGS, Need, default_topologies, mixings, require
from algorithms.topologies.protocol import Links, Topology, links
from algorithms.topologies.ring import Ring
from algorithms.topologies.spectrum import extremes
from tests.helpers import Array

TOTALS = [1, 2, 3, 4, 5, 6, 7, 12, 13, 16, 33]
DEFAULTS = default_topologies()


def rounds_of(topology: Topology, total: int) -> list[Links]:
    rounds = range(topology.period(total) or 3)
    return [topology.links(total, k, np.random.default_rng((2, k))) for k in rounds]


def reference_matrix(rule: str, graph: Links) -> Array:
    """Return P of a rule, computed entry by entry from its formula."""
    total = graph.total
    pairs = set(zip(graph.source.tolist(), graph.target.tolist(), strict=True))
    out = [sum((i, j) in pairs for j in range(total)) for i in range(total)]
    P = np.zeros((total, total))
    for source, target in pairs:
        smallest = out[source] if "metropolis" not in rule else max(out[source], out[target])
        P[target, source] = 1 / (1 + smallest)
    P += np.diag(1 - P.sum(0))
    return (P + np.eye(total)) / 2 if rule.startswith("lazy") else P


@pytest.mark.parametrize("rule", MIXINGS)
@pytest.mark.parametrize("name", DEFAULTS)
def test_rules_equal_their_formulas_and_have_their_properties(rule: str, name: str) -> None:
    for total in TOTALS:
        for graph in rounds_of(DEFAULTS[name], total):
            if "metropolis" in rule and not graph.symmetric:
                with pytest.raises(ValueError, match="metropolis needs links both ways"):
                    MIXINGS[rule](graph)
                continue
            mixing = MIXINGS[rule](graph)
            P = mixing.matrix()
            np.testing.assert_allclose(P, reference_matrix(rule, graph), atol=1e-14)
            assert (P >= 0).all()
            np.testing.assert_allclose(P.sum(0), 1, atol=1e-14)
            np.testing.assert_allclose(mixing.columns, P.sum(0), atol=1e-15)
            # row sums reach W / 2 on the star
            np.testing.assert_allclose(mixing.rows, P.sum(1), atol=1e-13)
            x = np.random.default_rng(total).standard_normal(total)
            np.testing.assert_allclose(mixing.apply(x), P @ x, atol=1e-13)
            assert mixing.symmetric == np.array_equal(P, P.T)
            if "metropolis" in rule:
                assert mixing.symmetric
            if rule == "uniform":
                np.testing.assert_allclose(P, graph.mixing_matrix(), atol=1e-15)
            if rule == "lazy_metropolis":
                assert np.linalg.eigvalsh(P).min() >= -1e-14
            if rule == "lazy" and graph.symmetric:  # similar to a symmetric matrix
                assert np.linalg.eigvals(P).real.min() >= -1e-14


def test_metropolis_equals_closed_forms_on_chain_and_star() -> None:
    chain = MIXINGS["metropolis"](rounds_of(DEFAULTS["chain"], 4)[0]).matrix() * 3
    expected = [[2, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 2]]
    np.testing.assert_allclose(chain, expected, atol=1e-15)
    for total in (3, 5, 16):
        P = MIXINGS["metropolis"](rounds_of(DEFAULTS["chain"], total)[0]).matrix()
        second = (1 + 2 * np.cos(np.pi / total)) / 3
        assert np.linalg.eigvalsh(P)[-2] == pytest.approx(second, abs=1e-14)
    star = MIXINGS["metropolis"](rounds_of(DEFAULTS["star"], 16)[0]).matrix()
    np.testing.assert_allclose(star[0], 1 / 16, atol=1e-15)  # the hub sends equal shares
    np.testing.assert_allclose(np.diag(star)[1:], 15 / 16, atol=1e-15)


MET: dict[tuple[str, str, int], str] = {
    ("ring", "uniform", 5): "c d y s p",
    ("ring", "uniform", 16): "c d y s",
    ("ring", "lazy", 16): "c d y s p",
    ("ring", "lazy_metropolis", 4096): "c d y s p",
    ("hypercube", "metropolis", 16): "c d y s",
    ("hypercube", "metropolis", 4096): "c d y s",
    ("chain", "uniform", 9): "c s t",
    ("chain", "metropolis", 9): "c d y s t p",
    ("binary_tree", "lazy_metropolis", 1000): "c d y s t p",
    ("star", "metropolis", 7): "c d y s t p",
    ("star", "uniform", 2): "c d y s t p",
    ("static_exponential", "uniform", 12): "c d s",
    ("static_exponential", "metropolis", 12): "s",
    ("exponential", "uniform", 12): "c d",
    ("random_pair", "metropolis", 7): "c d y",
    ("random_pair", "uniform", 7): "c d y",
    ("epidemic", "uniform", 12): "c",
    ("bipartite", "metropolis", 5): "c d y",
    ("erdos_renyi", "uniform", 30): "c s",
    ("erdos_renyi", "metropolis", 30): "c d y s p",
    ("complete", "uniform", 6): "c d y s p",
    ("ring", "uniform", 1): "c d y s t p",
}
"""(topology, rule, workers) -> the needs that are met, by the letters below."""
LETTERS = dict(zip("cdystp", get_args(Need), strict=True))
WAYS_OUT = {
    "doubly_stochastic": "the mean would move: take mixing metropolis",
    "symmetric": "is not symmetric: take mixing metropolis",
    "static": "take a static topology such as ring",
    "tree": "take chain, binary_tree or star",
    "spectrum": "take mixing lazy_metropolis",
}


@pytest.mark.parametrize("case", MET, ids=lambda case: "-".join(map(str, case)))
def test_unmet_needs_are_refused_in_one_line(case: tuple[str, str, int]) -> None:
    name, rule, total = case
    for letter, need in LETTERS.items():
        if letter in MET[case].split():
            require(DEFAULTS[name], rule, total, need)
            continue
        with pytest.raises(ValueError, match=rf"^{name} .*take ") as error:
            require(DEFAULTS[name], rule, total, need)
        message = str(error.value)
        assert "\n" not in message
        if "metropolis needs links both ways" not in message and "changes its links" not in message:
            assert WAYS_OUT[need] in message or WAYS_OUT["symmetric"] in message


def test_exact_diffusion_refuses_even_rings() -> None:
    for total in (4, 8, 16, 2048):
        with pytest.raises(ValueError, match=r"has the eigenvalue -0.3333, .* above -1/3"):
            require(DEFAULTS["ring"], "uniform", total, "spectrum")
    for total in (5, 33, 513):
        require(DEFAULTS["ring"], "uniform", total, "spectrum")


def test_unknown_rules_and_too_dense_topologies_are_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("ring with mixing even: mixing must be one of")):
        require(DEFAULTS["ring"], "even", 4, "symmetric")
    with pytest.raises(ValueError, match="take a sparse topology"):
        mixings(DEFAULTS["complete"], "uniform", 8192)


def test_a_triangle_and_an_isolated_worker_are_not_a_tree() -> None:
    """A tree needs W - 1 edges and must be connected."""

    class TriangleAndPoint(Ring):
        def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
            i = np.array([0, 1, 2, 1, 2, 0])
            return links(total, i, np.roll(i, 3))

    assert len(TriangleAndPoint().links(4, 0, np.random.default_rng()).source) == 6
    with pytest.raises(ValueError, match="is not a tree"):
        require(TriangleAndPoint(), "uniform", 4, "tree")


@pytest.mark.parametrize("name", ["ring", "chain", "torus", "hypercube", "star", "random_regular"])
def test_extremes_equal_dense_eigenvalues(name: str) -> None:
    for total in (1, 2, 3, 12, 100, 301):
        mixing = MIXINGS["metropolis"](rounds_of(DEFAULTS[name], total)[0])
        smallest, largest = extremes(mixing.apply, np.ones(total))
        if total == 1:
            assert (smallest, largest) == (0, 0)
            continue
        deflated = mixing.matrix() - 1 / total  # moves the eigenvalue 1 to 0
        values = np.linalg.eigvalsh(deflated)
        inner = np.delete(values, np.abs(values).argmin())
        # rounding, and the tolerance SETTLED for a chain of 301, which is 4e-5 from 1
        assert smallest == pytest.approx(inner[0], abs=1e-11)
        assert largest == pytest.approx(inner[-1], abs=1e-11)


def test_extremes_of_a_long_chain_converge() -> None:
    """Two eigenvalues differ by a millionth; power iteration would need a million rounds."""
    total = 3000
    mixing = MIXINGS["metropolis"](rounds_of(DEFAULTS["chain"], total)[0])
    smallest, largest = extremes(mixing.apply, np.ones(total))
    second = (1 + 2 * np.cos(np.pi / total)) / 3
    assert 1 - largest == pytest.approx(1 - second, rel=1e-5)
    assert smallest == pytest.approx((1 - 2 * np.cos(np.pi / total)) / 3, abs=1e-9)


def test_needs_depend_on_the_options_of_a_topology(tmp_path: Path) -> None:
    path = tmp_path / "three.txt"
    path.write_text("0 1\n1 2\n2 0\n0 2\n")
    require(File(path=str(path)), "uniform", 3, "column_stochastic")
    for topology, total in ((File(path=str(path)), 3), (File(path=str(path)), 4)):
        with pytest.raises(ValueError, match=r"^file with mixing uniform"):
            require(topology, "uniform", total, "doubly_stochastic")
    require(Exponential(peers=4), "uniform", 16, "static")
