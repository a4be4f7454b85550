"""3D boxes, angles and cameras fit together in every crop and mirror of a picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_centernet.data import Augmentation, Sample, Transform, read_kitti
from lightning_centernet.data.boxes3d import projected_overlaps
from lightning_centernet.data.collate import collate
from lightning_centernet.geometry.affine import transform_points
from lightning_centernet.geometry.camera import alpha_from_rotation, focal_length, project, project_boxes, wrap_angle
from tests.fakes_kitti import P2, write_kitti

PLAIN = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "lighting": 0.0}
AUGMENTATIONS = {
    "none": None,
    "crop": Augmentation(crop=[0.5], flip=0.0, **PLAIN),
    "mirror": Augmentation(crop=[1.3], flip=1.0, **PLAIN),
    "rotation": Augmentation(crop=None, flip=1.0, rotation=20.0, **PLAIN),
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return read_kitti(write_kitti(tmp_path_factory.mktemp("kitti") / "kitti"), "val")[0]


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_camera_sees_what_the_annotations_say(sample: Sample, name: str) -> None:
    item = Transform((64, 192), AUGMENTATIONS[name])(sample, np.random.default_rng(3))
    objects, before, camera = item["annotations"], item["ground_truth"], item["calibration"]
    middle = objects["location"] - objects["dimensions"][:, :1] / 2 * torch.tensor([0, 1, 0])
    known = objects["location"].isfinite().all(-1)
    assert known.tolist() == [True] * 4 + [False]
    seen = project(middle, camera)
    torch.testing.assert_close(seen[known], objects["amodal_centers"][known], rtol=0, atol=2e-2)
    moved = transform_points(before["amodal_centers"], item["transform"])
    torch.testing.assert_close(objects["amodal_centers"], moved, equal_nan=True)
    alpha = alpha_from_rotation(objects["rotation_y"], seen, camera)
    difference = wrap_angle(alpha - objects["alpha"])[known]
    torch.testing.assert_close(difference, torch.zeros(4), rtol=0, atol=1e-3)
    if name != "rotation":  # turned, a box's hull is another one
        corners = project_boxes(objects["location"], objects["dimensions"], objects["rotation_y"], camera)[known]
        hulls = torch.cat([corners.amin(1), corners.amax(1)], -1)
        torch.testing.assert_close(hulls, objects["boxes"][known], rtol=0, atol=0.05)
    np.testing.assert_array_equal(before["location"], sample.annotations["location"])
    torch.testing.assert_close(objects["depth"], before["depth"], equal_nan=True)


@pytest.mark.parametrize(("name", "scale"), [("none", 1.0), ("crop", 0.5), ("mirror", 1.3)])
def test_scale_is_the_crops_extent(sample: Sample, name: str, scale: float) -> None:
    item = Transform((64, 192), AUGMENTATIONS[name])(sample, np.random.default_rng(0))
    whole = 192 / 160  # the picture touches the left and the right side
    assert item["scale"].item() == pytest.approx(scale, abs=1e-6)
    assert focal_length(item["calibration"]).item() == pytest.approx(P2[0, 0] * whole / scale, rel=1e-5)


def test_a_box_beside_the_picture_overlaps_nothing(sample: Sample) -> None:
    """Its projection, cut off at the border, has no area; nor has its 2D box."""
    objects = {name: column.copy() for name, column in sample.annotations.items()}
    objects["location"][0] = (-60.0, 1.6, 14.0)
    objects["boxes"][0] = (0.0, 20.0, 0.0, 30.0)
    overlaps = projected_overlaps(Sample(sample.image, objects, 1, "a.png", calibration=sample.calibration))
    assert overlaps[0] == 0
    assert overlaps[1] > 0.9
    assert overlaps[-1].isnan()


def test_batches_hold_cameras_where_the_data_have_them(sample: Sample) -> None:
    transform = Transform((64, 192))
    batch = collate([transform(sample), transform(sample)], max_objects=7)
    assert (batch["calibration"].shape, batch["scale"].tolist()) == ((2, 3, 4), [1, 1])
    assert batch["annotations"]["dimensions"].shape == (2, 7, 3)
    plain = Sample(sample.image, {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)}, 1, "a.png")
    assert "calibration" not in collate([transform(plain)], max_objects=2)
