"""Poses through the whole chain: annotations, input, targets, detections, image pixels, official evaluation."""

from __future__ import annotations

import numpy as np
import torch

from lightning_centernet import decode, encode, standard_heads
from lightning_centernet.data import Augmentation, Street, Transform
from lightning_centernet.data.collate import collate
from lightning_centernet.evaluation import ground_truth, per_image
from lightning_centernet.metrics import coco_metrics
from lightning_centernet.types import Grid
from tests.heads.test_pose import pose_outputs

SIZE, COUNT = (384, 640), 24


def scores_of(transform, **hm_hp):
    """Measure a network that has learned the targets of transformed pictures, in the original pictures."""
    street = Street(COUNT, seed=5, image_size=(180, 320))
    samples = [transform(street[index], np.random.default_rng(index)) for index in range(COUNT)]
    batch, grid = collate(samples, max_objects=16), Grid(SIZE[0] // 4, SIZE[1] // 4)
    specs = {"hm": 3, "wh": 2, "reg": 2, "hps": 34, "hm_hp": {"channels": 17, "hidden": "learned"} | hm_hp}
    heads = standard_heads(specs | {"hp_offset": {"hidden": "learned"}})
    targets = encode(batch["annotations"], heads, grid)
    found = per_image(decode(pose_outputs(seen(targets), heads, grid), heads, k=40), batch, stride=4)
    mirrored = (torch.linalg.det(batch["transform"][..., :2]) < 0).tolist()
    for image in (image for image, is_mirrored in zip(found, mirrored, strict=True) if is_mirrored):
        image["keypoints"] = image["keypoints"][:, street.skeleton.flip]
    metric = coco_metrics(street.classes, street.skeleton.known_sigmas)
    metric.update(found, ground_truth(batch))
    return {name: float(value) for name, value in metric.compute().items()}


def seen(targets):
    """The centres' maps of a network that sees nothing in ignored regions."""
    maps = torch.where(targets["hm"] == 1, 0.0, targets["hm"]).flatten(2)
    image, slot = targets["mask"].nonzero().unbind(1)
    maps[image, targets["cat"][image, slot], targets["ind"][image, slot]] = 1
    return targets | {"hm": maps.view_as(targets["hm"])}


def test_perfect_outputs_have_perfect_scores():
    scores = scores_of(Transform(SIZE))
    assert scores["map"] > 0.95
    assert scores["oks_map"] > 0.95


def test_also_of_mirrored_and_turned_pictures():
    transform = Transform(SIZE, Augmentation(crop=None, shift=0.0, scale=0.05, flip=0.5, rotation=3))
    assert scores_of(transform)["oks_map_50"] > 0.9
