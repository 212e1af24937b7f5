"""Rotated pictures against exact rotations, and against the formula of a rotated plane."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitions.rotation import Rotation
from tests.partitions.altered_samples import alter, pictures


@pytest.mark.parametrize("shape", [(4, 9), (4, 5, 5), (4, 2, 6, 6), (4, 8, 8)])
def test_a_quarter_turn_is_exact_and_counterclockwise_for_the_last_worker(
    shape: tuple[int, ...],
) -> None:
    inputs = pictures(*shape)
    square = inputs.reshape(4, 3, 3) if inputs.ndim == 2 else inputs
    for worker, quarters in ((0, -1), (1, 0), (2, 1)):
        actual = alter(Rotation(degrees=90), inputs, worker=worker, parts=3)[0]
        turned = np.rot90(square, quarters, axes=(-2, -1))
        np.testing.assert_allclose(actual.reshape(turned.shape), turned, atol=1e-12)  # float64


def test_half_a_turn_reverses_a_picture_that_is_not_square() -> None:
    inputs = pictures(3, 2, 4, 7)
    for worker in (0, 1):
        actual = alter(Rotation(degrees=180), inputs, worker=worker, parts=2)[0]
        np.testing.assert_allclose(actual, inputs[..., ::-1, ::-1], atol=1e-12)  # float64


@settings(deadline=None, max_examples=30)
@given(
    degrees=st.floats(0, 180),
    worker=st.integers(0, 6),
    parts=st.integers(1, 7),
    height=st.integers(8, 12),
    width=st.integers(8, 12),
)
def test_a_plane_becomes_the_rotated_plane(
    degrees: float, worker: int, parts: int, height: int, width: int
) -> None:
    """Linear interpolation is exact on a plane, so the rotated one has a formula."""
    worker %= parts
    row, column = np.mgrid[:height, :width]
    up, right = (height - 1) / 2 - row, column - (width - 1) / 2
    angle = np.deg2rad(degrees * np.linspace(-1, 1, parts)[worker] if parts > 1 else 0)
    cos, sin = np.cos(angle), np.sin(angle)
    # The value at a point comes from the point rotated back, clockwise.
    from_right, from_up = cos * right + sin * up, cos * up - sin * right
    plane = 3 + 0.5 * right - 0.2 * up
    (actual,) = alter(Rotation(degrees=degrees), plane[np.newaxis], worker=worker, parts=parts)[0]
    margin = 1e-6  # a point on the border may round to either side
    inside = (abs(from_right) < (width - 1) / 2 - margin) & (
        abs(from_up) < (height - 1) / 2 - margin
    )
    outside = (abs(from_right) > (width + 1) / 2) | (abs(from_up) > (height + 1) / 2)
    expected = 3 + 0.5 * from_right - 0.2 * from_up
    np.testing.assert_allclose(actual[inside], expected[inside], atol=1e-9)  # float64
    assert not actual[outside].any()


@pytest.mark.parametrize("parts", [1, 3, 7])
def test_the_worker_in_the_middle_does_not_rotate(parts: int) -> None:
    inputs = pictures(5, 49)
    actual = alter(Rotation(degrees=77), inputs, worker=parts // 2, parts=parts)[0]
    np.testing.assert_array_equal(actual, inputs)


@pytest.mark.parametrize("numbers", [1, 2, 63, 65])
@pytest.mark.parametrize("worker", [0, 1])
def test_inputs_other_than_pictures_are_refused_by_every_worker(numbers: int, worker: int) -> None:
    message = rf"{numbers} numbers a sample are not a square one: take a task on pictures, or gain"
    with pytest.raises(ValueError, match=message):
        alter(Rotation(), pictures(5, numbers), worker=worker, parts=3)
