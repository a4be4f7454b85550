from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from lightning_centernet.data import Augmentation, Sample, Transform, letterbox, warp
from lightning_centernet.errors import UserError
from lightning_centernet.geometry.affine import compose, invert, similarity, transform_boxes

NOISE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def sample(image: np.ndarray, boxes: list[list[float]]) -> Sample:
    count = len(boxes)
    objects = {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "labels": np.arange(count),
        "ignore": np.zeros(count, bool),
        "area": np.ones(count, np.float32),
    }
    return Sample(image, objects, 5, "some.png")


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


def test_pictures_one_after_another_and_at_once() -> None:
    """They share memory that is kept, and must not share pixels."""
    pictures = [
        np.random.default_rng(seed).integers(0, 256, (400 + seed % 2, 600, 3), dtype=np.uint8) for seed in range(12)
    ]

    def untouched(picture: np.ndarray) -> np.ndarray:
        size = picture.shape[:2]
        return warp(picture, letterbox(size, size), size)

    with ThreadPoolExecutor(4) as threads:
        for found in ([untouched(picture) for picture in pictures], [*threads.map(untouched, pictures * 5)]):
            for one, picture in zip(found, itertools.cycle(pictures), strict=False):
                np.testing.assert_array_equal(one, picture)


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


def painted(width: int, height: int, box: list[int]) -> Sample:
    image = np.zeros((height, width, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return sample(image, [box])


def hull(image: torch.Tensor) -> list[int]:
    rows, columns = (image[0] > 127).any(1).nonzero(), (image[0] > 127).any(0).nonzero()
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


@pytest.mark.parametrize("input_size", [(128, 128), (96, 192), (200, 64)])
@pytest.mark.parametrize("seed", range(6))
def test_boxes_stay_on_their_objects(input_size: tuple[int, int], seed: int) -> None:
    transform = Transform(input_size, Augmentation(crop=None, shift=0.05, scale=0.2))
    item = transform(painted(160, 120, [60, 50, 90, 75]), np.random.default_rng(seed))
    assert np.abs(np.array(hull(item["image"])) - item["annotations"]["boxes"][0].numpy()).max() <= 0.75


@pytest.mark.parametrize("width", [64, 37])
@pytest.mark.parametrize("height", [48, 200])
def test_letterbox_shows_the_whole_picture_in_the_middle(width: int, height: int) -> None:
    item = Transform((96, 128))(sample(np.full((height, width, 3), 255, np.uint8), [[0, 0, width, height]]))
    zoom = min(96 / height, 128 / width)
    left, top = (128 - zoom * width) / 2, (96 - zoom * height) / 2
    expected = torch.tensor([[left, top, 128 - left, 96 - top]])
    torch.testing.assert_close(item["annotations"]["boxes"], expected, rtol=0, atol=1e-4)
    assert np.abs(np.array(hull(item["image"])) - expected[0].numpy()).max() <= 0.5


def test_boxes_come_back_exactly() -> None:
    boxes = np.random.default_rng(0).uniform(0, 4000, (50, 2, 2)).cumsum(1).reshape(50, 4)
    for augmentation in (None, Augmentation(rotation_probability=0)):
        item = Transform((384, 640), augmentation)(sample(NOISE, boxes.tolist()), np.random.default_rng(1))
        back = transform_boxes(item["annotations"]["boxes"].double(), invert(item["transform"]))
        torch.testing.assert_close(back, torch.from_numpy(boxes), rtol=1e-6, atol=1e-3)
        torch.testing.assert_close(item["ground_truth"]["boxes"].double(), torch.from_numpy(boxes), rtol=1e-7, atol=0)
        exact = transform_boxes(transform_boxes(torch.from_numpy(boxes), item["transform"]), invert(item["transform"]))
        torch.testing.assert_close(exact, torch.from_numpy(boxes), rtol=1e-13, atol=1e-10)


def test_item_holds_what_it_says() -> None:
    item = Transform([64, 96], Augmentation())(sample(NOISE, [[1, 2, 3, 4]]), np.random.default_rng(0))
    kinds = {name: (tuple(value.shape), value.dtype) for name, value in item.items() if isinstance(value, torch.Tensor)}
    assert kinds == {
        "image": ((3, 64, 96), torch.uint8),
        "transform": ((2, 3), torch.float64),
        "color": ((3, 4), torch.float32),
        "image_id": ((), torch.int64),
        "size": ((2,), torch.int64),
        "scale": ((), torch.float32),
    }
    assert (item["size"].tolist(), item["file"], int(item["image_id"])) == ([37, 53], "some.png", 5)
    assert item["annotations"].keys() == item["ground_truth"].keys() == {"boxes", "labels", "ignore", "area"}
    assert item["annotations"]["boxes"].dtype == torch.float32


def test_without_augmentation_the_color_is_untouched() -> None:
    torch.testing.assert_close(Transform((64, 64))(sample(NOISE, []))["color"], torch.eye(3, 4))


def test_no_objects_and_no_pixels_to_speak_of() -> None:
    item = Transform((64, 64), Augmentation())(sample(NOISE[:1, :1], []), np.random.default_rng(0))
    assert item["annotations"]["boxes"].shape == (0, 4)
    assert item["image"].shape == (3, 64, 64)


def test_same_generator_same_item() -> None:
    transform = Transform((64, 64), Augmentation())
    first, second, third = (transform(sample(NOISE, [[1, 2, 3, 4]]), np.random.default_rng(n)) for n in (1, 1, 2))
    assert torch.equal(first["image"], second["image"])
    assert torch.equal(first["color"], second["color"])
    assert not torch.equal(first["transform"], third["transform"])
    assert not torch.equal(first["color"], third["color"])


def test_the_sample_is_left_as_it_was() -> None:
    original = sample(NOISE.copy(), [[1, 2, 3, 4]])
    Transform((64, 64), Augmentation())(original, np.random.default_rng(0))
    np.testing.assert_array_equal(original.image, NOISE)
    assert original.annotations["boxes"].tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("wrong", [512, (512,), (0, 64), (64.5, 64), (64, 64, 3), "64", None])
def test_input_size_that_is_none(wrong: Any) -> None:
    with pytest.raises(UserError, match="input_size="):
        Transform(wrong)
