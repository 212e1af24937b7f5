"""Networks of SimGrid between the workers of a simulation, one class for each.

Every link of a network has half the latency and the whole bandwidth of --link, in each direction.
So two links, as between any two hosts of a star, have the latency of --link. Worker w is host w;
hosts beyond the last worker are idle. The networks are those of SimGrid 3.32 (Casanova, Giersch,
Legrand, Quinson, Suter: Versatile, scalable, and accurate simulation of distributed applications
and platforms, J. Parallel Distrib. Comput. 2014), with its static routes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isqrt, prod
from typing import Any, Protocol

from algorithms.exchange.trouble import Link
from bench.common.spec import UserError, parse_spec
from bench.common.text import counted

MOST_WORKERS = 4096
"""Maximum number of workers: each is a thread of SimGrid."""
SPEED = 1e9
"""Speed of a host, which computes nothing: gradients are durations."""


class Platform(Protocol):
    """A network for any number of workers."""

    def text(self, workers: int) -> str:
        """Describe the smallest network of this kind with as many hosts as workers.

        Errors: ValueError.
        """

    def build(self, simgrid: Any, workers: int, bandwidth: float, latency: float) -> list[Any]:
        """Create that network from links of a bandwidth, B/s, and a latency, s; return its hosts.

        simgrid: the module.
        """


@dataclass(frozen=True)
class Star(Platform):
    """A link to every host from one switch of unlimited capacity."""

    def text(self, workers: int) -> str:
        """Describe the network."""
        return f"{counted(workers, 'host')} at one switch"

    def build(self, simgrid: Any, workers: int, bandwidth: float, latency: float) -> list[Any]:
        """Create the network; return its hosts."""
        zone = simgrid.NetZone.create_star_zone("star")
        hosts = []
        for worker in range(workers):
            host = zone.create_host(str(worker), SPEED)
            link = zone.create_split_duplex_link(f"link {worker}", bandwidth)
            up = simgrid.LinkInRoute(
                link.set_latency(latency).seal(), simgrid.LinkInRoute.Direction.UP
            )
            zone.add_route(host.netpoint, None, None, None, [up], True)
            hosts.append(host)
        zone.seal()
        return hosts


@dataclass(frozen=True)
class FatTree(Platform):
    """Two levels of switches; a message takes the uplink that its destination determines."""

    taper: int = field(
        default=1, metadata={"help": "hosts of a switch for each of its uplinks: oversubscription"}
    )

    def __post_init__(self) -> None:
        if self.taper < 1:
            raise ValueError(f"taper must be >= 1, got {self.taper}")

    def shape(self, workers: int) -> tuple[int, int, int]:
        """Return the hosts of a switch, the lower switches, and the upper switches."""
        hosts = 1 << isqrt(workers - 1).bit_length()
        if hosts % self.taper:
            raise ValueError(
                f"taper must divide the {hosts} hosts of a switch, got {self.taper}: take "
                "taper=1, 2 or another power of two, or more workers"
            )
        return hosts, -(-workers // hosts), hosts // self.taper

    def text(self, workers: int) -> str:
        """Describe the network. Errors: ValueError."""
        hosts, lower, upper = self.shape(workers)
        return (
            f"{counted(hosts * lower, 'host')}, {hosts} at each of {lower} lower switches, which "
            f"have {counted(upper, 'uplink')} each"
        )

    def build(self, simgrid: Any, workers: int, bandwidth: float, latency: float) -> list[Any]:
        """Create the network; return its hosts."""
        hosts, lower, upper = self.shape(workers)
        shape = simgrid.FatTreeParams(2, [hosts, lower], [1, upper], [1, 1])
        return _cluster(
            simgrid, simgrid.NetZone.create_fatTree_zone, shape, workers, bandwidth, latency
        )


@dataclass(frozen=True)
class Torus(Platform):
    """A link between neighbours in a grid whose rows are closed, one dimension after the other."""

    dimensions: int = field(default=3, metadata={"help": "dimensions of the grid"})

    def __post_init__(self) -> None:
        if not 1 <= self.dimensions <= 5:
            raise ValueError(f"dimensions must be in [1, 5], got {self.dimensions}")

    def text(self, workers: int) -> str:
        """Describe the network."""
        grid = sides(workers, self.dimensions)
        return f"{counted(prod(grid), 'host')} in a grid of {' x '.join(map(str, grid))}"

    def build(self, simgrid: Any, workers: int, bandwidth: float, latency: float) -> list[Any]:
        """Create the network; return its hosts."""
        shape = [side for side in sides(workers, self.dimensions) if side > 1] or [1]
        return _cluster(
            simgrid, simgrid.NetZone.create_torus_zone, shape, workers, bandwidth, latency
        )


@dataclass(frozen=True)
class Dragonfly(Platform):
    """Groups of k routers with k / 2 hosts each; routers of a group and groups linked pairwise.

    The links of a group to the others have, together, the bandwidth of its hosts, as in the
    balanced dragonfly of Kim, Dally, Scott, Abts, ISCA 2008. A message takes the shortest route;
    those from one group to another all pass one router of each.
    """

    def shape(self, workers: int) -> tuple[int, int]:
        """Return k, which is even, and the number of groups, at most k."""
        k = 2
        while k**3 // 2 < workers:
            k += 2
        return k, -(-2 * workers // k**2)

    def text(self, workers: int) -> str:
        """Describe the network."""
        k, groups = self.shape(workers)
        return (
            f"{counted(groups * k**2 // 2, 'host')}, {k // 2} at each of {k} routers of "
            f"{counted(groups, 'group')}"
        )

    def build(self, simgrid: Any, workers: int, bandwidth: float, latency: float) -> list[Any]:
        """Create the network; return its hosts."""
        k, groups = self.shape(workers)
        between = max(1, k**2 // 2 // max(1, groups - 1))
        shape = simgrid.DragonflyParams((groups, between), (1, 1), (k, 1), k // 2)
        return _cluster(
            simgrid, simgrid.NetZone.create_dragonfly_zone, shape, workers, bandwidth, latency
        )


def sides(hosts: int, dimensions: int) -> tuple[int, ...]:
    """Return the ascending sides with the smallest sum of a grid with at least so many hosts."""
    if dimensions == 1:
        return (hosts,)
    grids: list[tuple[int, ...]] = []
    for side in range(1, hosts + 1):
        if side**dimensions > hosts and grids:
            break
        grids.append(tuple(sorted((side, *sides(-(-hosts // side), dimensions - 1)))))
        if side**dimensions >= hosts:
            break
    return min(grids, key=lambda grid: (sum(grid), prod(grid)))


def _cluster(
    simgrid: Any,
    create: Callable[..., Any],
    shape: Any,
    workers: int,
    bandwidth: float,
    latency: float,
) -> list[Any]:
    """Create a network by a function of SimGrid for clusters; return the hosts of the workers."""

    def host(zone: Any, _: list[int], number: int) -> tuple[Any, None]:
        return zone.create_host(str(number), SPEED).netpoint, None

    callbacks = simgrid.ClusterCallbacks(host, None, None)
    policy = simgrid.Link.SharingPolicy.SPLITDUPLEX
    create("cluster", None, shape, callbacks, bandwidth, latency, policy).seal()
    return [simgrid.Host.by_name(str(worker)) for worker in range(workers)]


PLATFORMS: dict[str, type[Any]] = {
    "star": Star,
    "fat_tree": FatTree,
    "torus": Torus,
    "dragonfly": Dragonfly,
}
"""Networks by name."""


def platform_of(text: str, link: Link, totals: Sequence[int]) -> Platform:
    """Return the network of --platform for numbers of workers. Errors: UserError."""
    platform: Platform = parse_spec(text, PLATFORMS, "platform")
    if not link.bandwidth:
        raise UserError(
            "--link has no bandwidth, which the links of a network need: add one, as in --link "
            "latency=20us,bandwidth=3GB/s"
        )
    for total in totals:
        if total > MOST_WORKERS:
            raise UserError(
                f"--engine simgrid has a thread for each worker and takes at most {MOST_WORKERS:,}"
                f", got {total:,}: reduce --workers, or take --engine model"
            )
        try:
            platform.text(total)
        except ValueError as error:
            raise UserError(f"--platform {text}, {counted(total, 'worker')}: {error}") from None
    return platform
