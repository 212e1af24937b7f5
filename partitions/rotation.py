"""Covariate shift by pictures rotated by an angle of each worker.

Ghifary, Kleijn, Zhang, Balduzzi, "Domain Generalization for Object Recognition with Multi-Task
Autoencoders", ICCV 2015, make domains of MNIST by rotation; Ghosh, Chung, Yin, Ramchandran, "An
Efficient Framework for Clustered Federated Learning", NeurIPS 2020, rotate it by 0, 90, 180 and 270
degrees between groups of workers.

Departs from the papers: (1) the angles are evenly spaced from -degrees to +degrees over the
workers, so that one option scales the shift; (2) held-out pictures are not rotated, except
for `bench.train --answer`.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from partitions.bases import Based
from partitions.protocol import Needs


@dataclass(frozen=True)
class Rotation(Based):
    """Covariate shift: worker k turns its pictures, from -degrees to +degrees.

    Inputs are (m, height, width), (m, channels, height, width), or (m, f) with f a square number,
    rows of a square picture. Pixels are interpolated linearly, with 0 outside the picture. A single
    worker, and the middle one of an odd number, does not rotate. The split is that of `base`.
    """

    degrees: float = field(default=45.0, metadata={"help": "rotation of the first and last worker"})

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise ValueError(f"degrees must be in [0, 180], got {self.degrees}")

    @property
    def needs(self) -> Needs:
        """Declare the needs of the base, and pictures."""
        return replace(super().needs, pictures=True)

    def angle(self, worker: int, parts: int) -> float:
        """Return the rotation of a worker in degrees, counterclockwise."""
        return self.degrees * (2 * worker / (parts - 1) - 1) if parts > 1 else 0.0

    def alter(
        self,
        worker: int,
        parts: int,
        inputs: NDArray[np.floating],
        labels: NDArray[np.int64],
        classes: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Return rotated pictures and unchanged labels.

        Raises ValueError for inputs that are not pictures.
        """
        from scipy.ndimage import rotate

        pictures = _pictures(inputs)
        angle = self.angle(worker, parts)
        if not angle:
            return inputs, labels
        rotated = rotate(pictures, angle, axes=(-2, -1), reshape=False, order=1)
        return rotated.reshape(inputs.shape), labels


def _pictures(inputs: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return inputs with height and width as their last two dimensions."""
    if inputs.ndim > 2:
        return inputs
    numbers = math.prod(inputs.shape[1:])
    side = math.isqrt(numbers)
    if side * side != numbers or side == 1:
        raise ValueError(
            f"rotation needs pictures, and {numbers} numbers a sample are not a square one: take a "
            "task on pictures, or gain"
        )
    return inputs.reshape(-1, side, side)
