from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_centernet.data import Augmentation, Sample, Transform
from lightning_centernet.data.collate import collate


def items(counts: list[int], **fields: np.ndarray) -> list[dict]:
    transform = Transform((32, 48), Augmentation())
    generator = np.random.default_rng(0)
    samples = []
    for number, count in enumerate(counts):
        boxes = generator.uniform(0, 20, (count, 2, 2)).cumsum(1).reshape(count, 4).astype(np.float32)
        objects = {"boxes": boxes, "labels": generator.integers(0, 3, count), "ignore": np.ones(count, bool)}
        objects |= {name: np.resize(value, (count, *value.shape[1:])) for name, value in fields.items()}
        image = generator.integers(0, 256, (30 + number, 40, 3), dtype=np.uint8)
        samples.append(transform(Sample(image, objects, 10 + number, f"{number}.png"), generator))
    return samples


def test_batch_of_n_is_n_of_one() -> None:
    three = items([2, 0, 5], depth=np.arange(5, dtype=np.float32), pair=np.ones((5, 2), np.float32))
    batch = collate(three, max_objects=8)
    for number, item in enumerate(three):
        one = collate([item], max_objects=8)
        for name in ("image", "transform", "color", "image_id", "size"):
            assert torch.equal(batch[name][number], one[name][0])
            assert torch.equal(one[name][0], item[name])
        assert batch["file"][number] == one["file"][0] == f"{number}.png"
        for name, column in one["annotations"].items():
            assert torch.equal(batch["annotations"][name][number], column[0])


def test_objects_keep_their_order_and_their_place() -> None:
    three = items([2, 0, 5], pair=np.arange(10, dtype=np.float32).reshape(5, 2))
    batch = collate(three, max_objects=6)
    for key, slots in (("annotations", 6), ("ground_truth", 5)):
        objects = batch[key]
        assert objects["mask"].tolist() == [[n < count for n in range(slots)] for count in (2, 0, 5)]
        assert objects["pair"].shape == (3, slots, 2)
        for number, item in enumerate(three):
            for name, column in item[key].items():
                assert torch.equal(objects[name][number][objects["mask"][number]], column)
                assert not objects[name][number][~objects["mask"][number]].any()


def test_objects_beyond_the_slots_are_kept_for_the_metrics_alone() -> None:
    (item,) = items([5])
    batch = collate([item], max_objects=3)
    assert torch.equal(batch["annotations"]["boxes"][0], item["annotations"]["boxes"][:3])
    assert torch.equal(batch["ground_truth"]["boxes"][0], item["ground_truth"]["boxes"])


def test_no_objects_anywhere() -> None:
    batch = collate(items([0, 0]), max_objects=4)
    assert batch["annotations"]["boxes"].shape == (2, 4, 4)
    assert batch["ground_truth"]["boxes"].shape == (2, 0, 4)
    assert not batch["annotations"]["mask"].any()


@pytest.mark.parametrize(
    ("name", "dtype"), [("boxes", torch.float32), ("labels", torch.int64), ("ignore", torch.bool), ("mask", torch.bool)]
)
def test_types(name: str, dtype: torch.dtype) -> None:
    batch = collate(items([2, 1]), max_objects=4)
    assert batch["annotations"][name].dtype == batch["ground_truth"][name].dtype == dtype
    assert (batch["image"].dtype, batch["image"].shape) == (torch.uint8, (2, 3, 32, 48))
