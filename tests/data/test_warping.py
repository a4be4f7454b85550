from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.nn import functional

from lightning_centernet.data import Augmentation, Sample, Transform, aligned, letterbox, warp
from lightning_centernet.geometry.affine import compose, invert, similarity, transform_boxes, transform_points

NOISE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def slow_warp(image: np.ndarray, matrix: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """Sample the picture at the middle of each output pixel, with torch."""
    height, width = image.shape[:2]
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1).double() @ invert(matrix).mT
    grid = points / torch.tensor([width, height]) * 2 - 1
    pixels = torch.from_numpy(image).permute(2, 0, 1).double()[None]
    return functional.grid_sample(pixels, grid[None], align_corners=False)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("rotation", [0.0, 25.0])
@pytest.mark.parametrize("scale", [30.0, 53.0, 80.0])
def test_warp_equals_sampling_with_torch(rotation: float, scale: float) -> None:
    matrix = similarity((25.3, 19.1), scale, rotation, (64, 48))
    expected = slow_warp(NOISE, matrix, (48, 64))
    difference = np.abs(warp(NOISE, matrix, (48, 64)) - expected)
    assert difference.max() < 8  # OpenCV interpolates at 32nds of a pixel: at most 255 / 32 in noise
    assert difference.mean() < 1


def test_identity_and_flip_move_no_pixel() -> None:
    identity = letterbox((37, 53), (37, 53))
    np.testing.assert_array_equal(warp(NOISE, identity, (37, 53)), NOISE)
    mirror = torch.tensor([[-1.0, 0.0, 53.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    np.testing.assert_array_equal(warp(NOISE, compose(mirror, identity), (37, 53)), NOISE[:, ::-1])
    np.testing.assert_array_equal(warp(NOISE, quarter_turn(37), (53, 37)), np.rot90(NOISE, -1))


def quarter_turn(height: int) -> torch.Tensor:
    return torch.tensor([[0.0, -1.0, height], [1.0, 0.0, 0.0]], dtype=torch.float64)


def test_pictures_one_after_another_and_at_once() -> None:
    """They share memory that is kept, and must not share pixels."""
    pictures = [
        np.random.default_rng(seed).integers(0, 256, (400 + seed % 2, 600, 3), dtype=np.uint8) for seed in range(12)
    ]

    def turned(picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        return warp(picture, quarter_turn(height), (width, height))

    with ThreadPoolExecutor(4) as threads:
        for found in ([turned(picture) for picture in pictures], [*threads.map(turned, pictures * 5)]):
            for one, picture in zip(found, itertools.cycle(pictures), strict=False):
                np.testing.assert_array_equal(one, np.rot90(picture, -1))


@pytest.mark.parametrize("factor", [2, 5])
def test_a_large_picture_is_averaged(factor: int) -> None:
    fine = np.random.default_rng(1).integers(0, 256, (40 * factor, 60 * factor, 3), dtype=np.uint8)
    average = fine.reshape(40, factor, 60, factor, 3).mean(axis=(1, 3))
    small = warp(fine, letterbox(fine.shape[:2], (40, 60)), (40, 60))
    np.testing.assert_allclose(small, average, atol=1)


@pytest.mark.parametrize("size", [(1003, 777), (500, 2999)])
def test_shrinking_moves_no_edge(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    image[size[0] // 3 :, size[1] // 5 :] = 255
    matrix = letterbox(size, (128, 160))
    box = torch.tensor([[size[1] // 5, size[0] // 3, size[1], size[0]]], dtype=torch.float64)
    x1, y1, x2, y2 = transform_boxes(box, matrix)[0].tolist()
    mass = warp(image, matrix, (128, 160)).sum(dtype=np.float64) / 3 / 255
    assert mass == pytest.approx((x2 - x1) * (y2 - y1), rel=0.01)
    columns = warp(image, matrix, (128, 160))[int(y1 + y2) // 2, :, 0] / 255
    assert int(x2) - columns[: int(x2)].sum() == pytest.approx(x1, abs=0.1)


def crops(mirrored: bool) -> list[torch.Tensor]:
    """Upright crops that begin anywhere, inside and outside of the picture, larger and smaller."""
    chance = np.random.default_rng(5)
    centers, extents = chance.uniform(0, (53, 37), (60, 2)).tolist(), chance.uniform(20, 110, 60).tolist()
    matrices = [similarity((x, y), extent, 0.0, (64, 48)) for (x, y), extent in zip(centers, extents, strict=True)]
    mirror = torch.tensor([[-1.0, 0.0, 64.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    return [compose(mirror, matrix) for matrix in matrices] if mirrored else matrices


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_aligned_crop_equals_sampling_with_torch(mirrored: bool) -> None:
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    for matrix in crops(mirrored):
        moved = aligned(matrix, 64)
        difference = np.abs(warp(NOISE, moved, (48, 64)) - slow_warp(NOISE, moved, (48, 64))).max(-1)
        points = transform_points(torch.stack([x, y], dim=-1).double(), invert(moved)).numpy()
        begin = transform_points(torch.tensor([[64.0 * mirrored, 0]]).double(), invert(moved)).numpy()
        inside = np.minimum(points, np.array([53, 37]) - points).min(-1)
        assert difference[(inside > 0.5) & (np.abs(points - begin) > 0.5).all(-1)].max() < 8  # as above
        assert difference[inside < -0.5].max(initial=0) == 0


@pytest.mark.parametrize("mirrored", [False, True])
def test_alignment_moves_by_half_a_pixel_at_most(mirrored: bool) -> None:
    for matrix in crops(mirrored):
        moved = aligned(matrix, 64)
        torch.testing.assert_close(moved[:, :2], matrix[:, :2], rtol=0, atol=0)
        assert (moved - matrix)[:, 2].abs().max() <= 0.5 * max(matrix[1, 1].item(), 1)
        torch.testing.assert_close(aligned(moved, 64), moved, rtol=0, atol=1e-9)
    turned = similarity((25, 19), 30, 25, (64, 48))
    assert aligned(turned, 64) is turned


def test_training_crops_are_aligned() -> None:
    transform = Transform((96, 128), Augmentation())
    objects = {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, int), "ignore": np.zeros(0, bool)}
    for seed in range(8):
        matrix = transform(Sample(NOISE, objects, 0, ""), np.random.default_rng(seed))["transform"]
        torch.testing.assert_close(aligned(matrix, 128), matrix, rtol=0, atol=1e-9)


@pytest.mark.parametrize("offset", [-500.0, 500.0])
def test_what_lies_outside_is_black(offset: float) -> None:
    matrix = torch.tensor([[1.25, 0, offset], [0, 1.25, 3]], dtype=torch.float64)
    assert not warp(NOISE, matrix, (48, 64)).any()
