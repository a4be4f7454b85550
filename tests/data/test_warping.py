from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.nn import functional

from lightning_centernet.data import Augmentation, Sample, Transform, align_crop, letterbox, warp, warping
from lightning_centernet.geometry.affine import compose, invert, similarity, transform_boxes, transform_points

NOISE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def affine(a: float, b: float, x: float, c: float, d: float, y: float) -> torch.Tensor:
    return torch.tensor([[a, b, x], [c, d, y]], dtype=torch.float64)


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
    mirror = affine(-1, 0, 53, 0, 1, 0)
    np.testing.assert_array_equal(warp(NOISE, compose(mirror, identity), (37, 53)), NOISE[:, ::-1])
    np.testing.assert_array_equal(warp(NOISE, quarter_turn(37), (53, 37)), np.rot90(NOISE, -1))


def quarter_turn(height: int) -> torch.Tensor:
    return affine(0, -1, height, 1, 0, 0)


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
    return [compose(affine(-1, 0, 64, 0, 1, 0), matrix) for matrix in matrices] if mirrored else matrices


def assert_as_sampled(matrix: torch.Tensor, mirrored: bool = False) -> None:
    """Where neither the picture's nor the crop's edge is near, which sampling blends with what lies beyond."""
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    difference = np.abs(warp(NOISE, matrix, (48, 64)) - slow_warp(NOISE, matrix, (48, 64))).max(-1)
    points = transform_points(torch.stack([x, y], dim=-1).double(), invert(matrix)).numpy()
    begin = transform_points(torch.tensor([[64.0 * mirrored, 0]]).double(), invert(matrix)).numpy()
    inside = np.minimum(points, np.array([53, 37]) - points).min(-1)
    assert difference[(inside > 0.5) & (np.abs(points - begin) > 0.5).all(-1)].max() < 8  # as above
    assert difference[inside < -0.5].max(initial=0) == 0


@pytest.fixture
def resized(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Collect the pictures that were resized only."""
    calls: list[object] = []
    resize = warping._resized
    monkeypatch.setattr(warping, "_resized", lambda image, *axes: (calls.append(image), resize(image, *axes))[1])
    return calls


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_aligned_crop_equals_sampling_with_torch(mirrored: bool, resized: list[object]) -> None:
    for matrix in crops(mirrored):
        assert_as_sampled(align_crop(matrix, 64), mirrored)
    assert len(resized) > 50  # the others are close to a zoom of one


@pytest.mark.parametrize(
    ("matrix", "only_resized"),
    [
        (affine(1.7, 0, -3.4, 0, 0.8, 5), True),  # two zooms
        (affine(1.7, 0, -3.3, 0, 0.8, 5), False),  # begins within a pixel
        (affine(1.7, 0, -3.401, 0, 0.8, 5), False),
        (affine(1.25, 0.2, 0, 0, 1.25, 0), False),  # a shear
        (affine(1.25, 0, 0, 0.1, 1.25, 0), False),
        (affine(0.99, 0, 0, 0, 0.99, 0), False),  # OpenCV would copy a part of 37 rows
        (affine(0.6, 0, 0, 0, -0.6, 40), False),  # upside down
    ],
)
def test_maps_that_resize_and_others(matrix: torch.Tensor, only_resized: bool, resized: list[object]) -> None:
    assert_as_sampled(matrix)
    assert bool(resized) == only_resized


@pytest.mark.parametrize(
    "picture", [np.full((1, 1024, 3), 255, np.uint8), np.full((1024, 1, 3), 255, np.uint8), NOISE[:1, :1]]
)
def test_pictures_of_one_pixel_and_of_one_line(picture: np.ndarray) -> None:
    height, width = picture.shape[:2]
    for zoom in (0.3, 0.5, 0.51, 1.0, 40.0, 1e5):  # the last one shows a part of a pixel, and must not take gigabytes
        seen = warp(picture, affine(zoom, 0, 0, 0, zoom, 0), (64, 96))
        assert seen.shape == (64, 96, 3)
        assert not seen[math.ceil((height + 0.5) * zoom) + 1 :].any()
        assert not seen[:, math.ceil((width + 0.5) * zoom) + 1 :].any()
        if zoom >= 1:
            middle = seen[int(min(height * zoom, 64)) // 2, int(min(width * zoom, 96)) // 2]
            assert (middle >= 0.2 * picture[0, 0]).all()  # less where it is blended with what is beside it


@pytest.mark.parametrize("mirrored", [False, True])
def test_alignment_moves_by_half_a_pixel_to_whole_ones(mirrored: bool) -> None:
    for matrix in crops(mirrored):
        moved = align_crop(matrix, 64)
        torch.testing.assert_close(moved[:, :2], matrix[:, :2], rtol=0, atol=0)
        zoom = matrix[1, 1].item()
        assert (moved - matrix)[:, 2].abs().max() <= 0.5 * max(zoom, 1) + 1e-9
        offsets = torch.stack([64 - moved[0, 2] if mirrored else moved[0, 2], moved[1, 2]])
        pixels = torch.where(offsets < 0, offsets / zoom, offsets)  # of the picture, or of the output
        torch.testing.assert_close(pixels, pixels.round(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("matrix", [similarity((25, 19), 30, 25, (64, 48)), affine(0.6, 0, 0.3, 0, -0.6, 40.3)])
def test_what_is_not_upright_is_not_aligned(matrix: torch.Tensor) -> None:
    assert align_crop(matrix, 64) is matrix


def test_training_crops_are_resized(resized: list[object]) -> None:
    transform = Transform((96, 128), Augmentation())
    objects = {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, int), "ignore": np.zeros(0, bool)}
    for seed in range(8):
        transform(Sample(NOISE, objects, 0, ""), np.random.default_rng(seed))
    assert len(resized) == 8


@pytest.mark.parametrize("zoom", [1.0, 1.25])
@pytest.mark.parametrize("offset", [-500.0, 500.0])
def test_what_lies_outside_is_black(zoom: float, offset: float) -> None:
    assert not warp(NOISE, affine(zoom, 0, offset, 0, zoom, 3), (48, 64)).any()
