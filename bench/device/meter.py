"""Meters of a GPU, which computes while the calls that started it have returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from algorithms.wire.meter import Meter, TracingMeter


class DeviceMeter(Meter):
    """A Meter whose phases end when the GPU has computed them."""

    def lap(self, phase: int, arrived: Sequence[tuple[int, Any]] = ()) -> None:
        """Wait for the GPU, then count the time since the last lap as `phase`."""
        torch.cuda.synchronize()
        super().lap(phase, arrived)


class DeviceTracingMeter(DeviceMeter, TracingMeter):
    """A TracingMeter whose phases end when the GPU has computed them."""
