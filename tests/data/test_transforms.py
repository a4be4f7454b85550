from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lightning_centernet.data import Augmentation, Sample, Transform
from lightning_centernet.errors import UserError
from lightning_centernet.geometry.affine import invert, transform_boxes

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
