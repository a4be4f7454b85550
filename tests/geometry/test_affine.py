from __future__ import annotations

import pytest
import torch

from lightning_centernet.geometry.affine import compose, invert, transform_boxes, transform_points

BOXES = torch.tensor([[0.0, 0.0, 4.0, 2.0], [-3.0, 5.0, 7.0, 5.5], [2.0, 2.0, 2.0, 2.0]], dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
def test_boxes_go_round_their_mapped_corners(seed: int) -> None:
    """Any map: rotations, mirrors, shears; one for all boxes, and one for each picture."""
    matrices = torch.randn(3, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    for matrix in matrices:
        for box, mapped in zip(BOXES, transform_boxes(BOXES, matrix), strict=True):
            corners = transform_points(torch.cartesian_prod(box[[0, 2]], box[[1, 3]]), matrix)
            torch.testing.assert_close(mapped, torch.cat([corners.amin(0), corners.amax(0)]))
    batch = transform_boxes(BOXES.expand(3, 3, 4), matrices)
    torch.testing.assert_close(batch, torch.stack([transform_boxes(BOXES, matrix) for matrix in matrices]))


def test_boxes_keep_their_type_and_number() -> None:
    matrix = torch.eye(2, 3, dtype=torch.float64)
    assert transform_boxes(BOXES.float(), matrix).dtype == torch.float32
    assert transform_boxes(BOXES[:0], matrix).shape == (0, 4)


def test_inverse_and_chain() -> None:
    first, second = torch.randn(2, 4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = torch.randn(4, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    both = transform_points(transform_points(points, first), second)
    torch.testing.assert_close(transform_points(points, compose(second, first)), both)
    torch.testing.assert_close(transform_points(both, invert(compose(second, first))), points)
