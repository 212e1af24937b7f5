"""Pictures turned by an angle of each worker's own.

Ghifary, Kleijn, Zhang, Balduzzi, "Domain Generalization for Object Recognition with Multi-Task
Autoencoders", ICCV 2015, make domains of MNIST by turning it; Ghosh, Chung, Yin, Ramchandran, "An
Efficient Framework for Clustered Federated Learning", NeurIPS 2020, turn it by 0, 90, 180 and 270
degrees between groups of workers.

Departs from the papers: (1) the angles go evenly from -degrees to +degrees over the workers, so
that one knob leads from no shift to a large one; (2) what is held out is not turned.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.bases import Based


@dataclass(frozen=True)
class Rotation(Based):
    """covariate shift: worker k turns its pictures, from -degrees to +degrees

    Inputs are (m, height, width), (m, channels, height, width), or (m, f) with f a square number,
    rows of a square picture.  Pixels are interpolated linearly, and what turns in from outside is
    0.  One worker, and the middle one of an odd number, turns nothing.  The split is that of
    `base`.
    """

    degrees: float = field(default=45.0, metadata={"help": "turn of the first and last worker"})

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise ValueError(f"degrees must be in [0, 180], got {self.degrees}")

    def angle(self, worker: int, parts: int) -> float:
        """The turn of a worker in degrees, counterclockwise."""
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
        """Turned pictures, the labels as they are.

        Raises ValueError for inputs that are no pictures.
        """
        from scipy.ndimage import rotate

        pictures = _pictures(inputs)
        turn = self.angle(worker, parts)
        if not turn:
            return inputs, labels
        turned = rotate(pictures, turn, axes=(-2, -1), reshape=False, order=1)
        return turned.reshape(inputs.shape), labels


def _pictures(inputs: NDArray[np.floating]) -> NDArray[np.floating]:
    """Inputs with height and width as their last two dimensions."""
    if inputs.ndim > 2:
        return inputs
    numbers = math.prod(inputs.shape[1:])
    side = math.isqrt(numbers)
    if side * side != numbers or side == 1:
        raise ValueError(
            f"rotation turns pictures, and {numbers} numbers a sample make no square one: take a "
            "task on pictures, or gain"
        )
    return inputs.reshape(-1, side, side)
