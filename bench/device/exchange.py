"""The Exchange of rows in tensors, which are copied through memory of the host, and its meters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from algorithms.exchange.mpi import MPIExchange
from algorithms.exchange.window import SharedRows, SharedVector
from algorithms.protocol import Handle, Rows
from algorithms.wire.meter import COPY, OTHER, Meter, TracingMeter
from bench.device.rows import TorchRows

if TYPE_CHECKING:
    from mpi4py import MPI


class Arrival:
    """Handle of a mean or a pull into rows of a device."""

    def __init__(self, flight: Any, result: Any, meter: Meter) -> None:
        self._flight, self.result, self._meter = flight, result, meter

    def test(self) -> None:
        """Let the messages of a mean progress without blocking."""
        self._flight.test()

    def finish(self, out: Any = None) -> None:
        """Wait for the result, and copy it to the device; `out` is for means alone."""
        if out is None:
            self._flight.finish()
        else:
            self._flight.finish(out.image if isinstance(out, TorchRows) else out)
        _up(self.result if out is None else out, self._meter)


class HostVector(SharedVector):
    """A shared vector on the hosts, read into rows of a device."""

    def read(self, out: Any) -> None:
        """Copy the vector to out, (d,), slice by slice."""
        if isinstance(out, TorchRows):
            super().read(out.image)
            out.up()
        else:
            super().read(out)


class TorchExchange(MPIExchange):
    """The Exchange on TorchRows. Sums and messages are those of MPIExchange, on copies.

    The bits are therefore those of rows of NumPy. device: of the rows. dtype: of the rows, float32,
    float64 or bfloat16, of which the copies are float32.
    """

    def __init__(
        self, comm: MPI.Intracomm, total: int, *, device: torch.device, dtype: str, **options: Any
    ) -> None:
        self._device, self._type = device, getattr(torch, dtype)
        host = "float32" if dtype == "bfloat16" else dtype
        super().__init__(comm, total, dtype=host, **options)

    def like(self, x: Any, *shape: int, dtype: str = "") -> Any:
        """Return zeroed rows on the device."""
        kind = getattr(torch, dtype) if dtype else x.tensor.dtype
        return TorchRows(torch.zeros(shape or x.shape, dtype=kind, device=self._device))

    def rows(self, d: int) -> Any:
        """Return zeroed (V, d) rows on the device; collective."""
        self.prepare(d)
        shape = len(self.ids), d
        return TorchRows(torch.zeros(shape, dtype=self._type, device=self._device))

    def bare(self, x: Any) -> Any:
        """Return the tensor of rows."""
        return x.tensor

    def mean(self, rows: Any, out: Any = None, *, group: int = 0) -> None:
        """Replace every row, or set out, (d,), to the mean over all W workers; collective."""
        host = self._down(rows)
        into = out.image if isinstance(out, TorchRows) else out
        super().mean(host, into, group=group)
        _up(rows if out is None else out, self.meter)

    def start_mean(self, rows: Any) -> Any:
        """Start a mean over all workers; leave rows alone until `finish`; collective."""
        mean: Handle = super().start_mean(self._down(rows))
        return Arrival(mean, rows, self.meter)

    def start_pull(self, rows: Any, links: Any, out: Any) -> Any:
        """Start a pull; leave rows and out alone until `finish`; collective."""
        return self._pull(super().start_pull(self._down(rows), links, _image(out)), out)

    def start_mix(self, rows: Any, mixing: Any, out: Any) -> Any:
        """Start a mix; leave rows and out alone until `finish`; collective."""
        return self._pull(super().start_mix(self._down(rows), mixing, _image(out)), out)

    def start_deliver(self, rows: Any, links: Any, out: Any) -> Any:
        """Start a delivery; leave rows and out alone until `finish`; collective."""
        pull = super().start_deliver(self._down(rows), links, self._down(out))
        return self._pull(pull, out)

    def carry(self, rows: Any, links: Any, out: Any) -> None:
        """Send a row of its own along every link; collective."""
        super().carry(self._down(rows), links, self._down(out))
        _up(out, self.meter)

    def shared_vector(self, start: Any) -> SharedVector:
        """Return a shared vector on the hosts, from start, (d,); collective."""
        make = self._window(start.dtype)
        return HostVector(make, np.asarray(start), self.comm.rank, self.comm.size)

    def shared_rows(self, start: Any) -> SharedRows:
        """Return shared rows on the hosts, from start, (V, d); collective."""
        return super().shared_rows(np.asarray(start))

    def _down(self, rows: Any) -> Rows:
        """Return a copy on the host of rows; arrays of the host as they are."""
        if not isinstance(rows, TorchRows):
            host: NDArray[Any] = rows
            return host
        self.meter.lap(OTHER)
        host = rows.down()
        self.meter.lap(COPY)
        return host

    def _pull(self, pull: Handle, out: Any) -> Any:
        return Arrival(pull, out, self.meter)


def _image(rows: Any) -> NDArray[Any]:
    """Return the memory on the host that becomes the contents of rows."""
    host: NDArray[Any] = rows.image if isinstance(rows, TorchRows) else rows
    return host


def _up(rows: Any, meter: Meter) -> None:
    """Copy rows to the device from their memory on the host."""
    if isinstance(rows, TorchRows):
        rows.up()
        meter.lap(COPY)


class DeviceMeter(Meter):
    """A Meter whose phases end when the GPU has computed them."""

    def lap(self, phase: int, arrived: Sequence[tuple[int, Any]] = ()) -> None:
        """Wait for the GPU, then count the time since the last lap as `phase`."""
        torch.cuda.synchronize()
        super().lap(phase, arrived)


class DeviceTracingMeter(DeviceMeter, TracingMeter):
    """A TracingMeter whose phases end when the GPU has computed them."""
