"""3D boxes through the whole chain: annotations, input, targets, detections, the world, KITTI's evaluation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_centernet import decode, encode, standard_heads
from lightning_centernet.data import Augmentation, Street, Transform
from lightning_centernet.data.collate import collate
from lightning_centernet.evaluation import ground_truth, per_image
from lightning_centernet.geometry.camera import focal_length
from lightning_centernet.metrics import KittiMetrics
from lightning_centernet.types import Grid
from tests.heads.test_box3d import DDD, learned
from tests.test_pose_chain import seen

SIZE, COUNT = (256, 448), 80
KEY = "vehicle/{}_moderate_iou0.{}"


def scores_of(transform, error=0.0, **depth):
    """Measure a network that has learned the targets of transformed pictures, in the original pictures.

    `error` is that of its depths, normally distributed, relative, in the mean.
    """
    street = Street(COUNT, seed=5, image_size=(192, 320))
    samples = [transform(street[index], np.random.default_rng(index)) for index in range(COUNT)]
    batch, grid = collate(samples, max_objects=16), Grid(SIZE[0] // 4, SIZE[1] // 4)
    heads = standard_heads(DDD | {"dep": depth})
    cameras = {name: batch[name] for name in ("calibration", "scale")}
    targets = seen(encode(batch["annotations"] | cameras, heads, grid))
    noise = torch.randn(targets["dep"].shape, generator=torch.Generator().manual_seed(0)) * math.sqrt(math.pi / 2)
    targets["dep"] = targets["dep"] * (1 + error * noise)
    found = per_image(decode(learned(targets, heads, grid), heads, k=40), batch, stride=4)
    metric = KittiMetrics(street.classes, rules={"vehicle": "Car"}, heights=(20, 13, 13))
    metric.update(found, ground_truth(batch))
    return metric.compute(), batch


@pytest.mark.parametrize("focal", [None, 300.0])
def test_perfect_outputs_have_perfect_scores(focal):
    scores, batch = scores_of(Transform(SIZE), focal=focal)
    focal_lengths = focal_length(batch["calibration"])
    assert focal_lengths.max() > 1.3 * focal_lengths.min()  # every picture has a camera of its own
    for measured in ("bev_ap40", "3d_ap40"):
        assert scores[KEY.format(measured, 5)] > 95
    assert scores[KEY.format("aos_ap40", 7)] > 95
    assert scores["pedestrian/3d_ap40_moderate_iou0.5"] > 95
    assert scores[KEY.format("depth_error_metres", 5)] < 0.02


def test_also_of_mirrored_crops():
    """Depths of a crop are those of its own camera: with `focal`, scale and flip cancel out."""
    scores, _ = scores_of(Transform(SIZE, Augmentation(crop=None, shift=0.0, scale=0.1, flip=0.5)), focal=300.0)
    assert scores[KEY.format("bev_ap40", 5)] > 90
    assert scores[KEY.format("depth_error_relative", 5)] < 0.01


def test_depths_decide():
    """What is left of perfect outputs whose depths are wrong by 5 %: most cars are found in the image only."""
    scores, _ = scores_of(Transform(SIZE), error=0.05)
    assert scores[KEY.format("bbox_ap40", 7)] > 95
    assert scores[KEY.format("depth_error_relative", 5)] == pytest.approx(0.05, abs=0.01)
    assert 25 < scores[KEY.format("bev_ap40", 5)] < 60
