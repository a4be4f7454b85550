"""Annotations in space come back from encoding, decoding and lifting, also of other crops and cameras."""

from __future__ import annotations

import pytest
import torch

from lightning_centernet import decode, encode, standard_heads
from lightning_centernet.data import kitti_data
from lightning_centernet.evaluation import ground_truth, per_image
from lightning_centernet.geometry.affine import compose, similarity, transform_boxes, transform_points
from lightning_centernet.geometry.camera import (
    alpha_from_rotation,
    mirror_angle,
    project,
    project_boxes,
    transform_calibration,
    wrap_angle,
)
from lightning_centernet.lifting import lift
from lightning_centernet.preparation import prepare
from lightning_centernet.types import Grid
from tests.fakes_kitti import write_kitti
from tests.heads.test_box3d import DDD, GRID, learned
from tests.tiny import quiet_trainer, tiny_model
from tests.waiting import Recorder

CAMERA = torch.tensor([[210.0, 0, 150, 12], [0, 210, 40, -0.4], [0, 0, 1, 0]])
LOCATION = torch.tensor([[-6.0, 1.6, 18.0], [0.5, 1.8, 12.0], [9.0, 1.5, 30.0]])
DIMENSIONS = torch.tensor([[1.5, 1.7, 4.1], [1.8, 0.6, 0.9], [1.6, 1.8, 3.9]])
ROTATION = torch.tensor([3.0, -0.2, 1.4])


def crop(flip, extent=300.0):
    matrix = similarity((150.0, 45.0), extent, 0.0, (GRID.width * GRID.stride, GRID.height * GRID.stride))
    if flip:
        matrix = compose(torch.tensor([[-1.0, 0, GRID.width * GRID.stride], [0, 1, 0]], dtype=torch.float64), matrix)
    return matrix


def batch_of(crops):
    """Three objects on the road, seen in several crops of one picture."""
    middles = LOCATION - DIMENSIONS[:, :1] / 2 * torch.tensor([0, 1, 0])
    corners = project_boxes(LOCATION, DIMENSIONS, ROTATION, CAMERA)
    boxes = torch.cat([corners.amin(1), corners.amax(1)], -1)
    alpha = alpha_from_rotation(ROTATION, project(middles, CAMERA), CAMERA)
    flips = [bool(matrix[0, 0] < 0) for matrix in crops]
    annotations = {
        "boxes": torch.stack([transform_boxes(boxes, matrix) for matrix in crops]),
        "labels": torch.arange(3).expand(len(crops), -1),
        "depth": LOCATION[:, 2].expand(len(crops), -1),
        "dimensions": DIMENSIONS.expand(len(crops), -1, -1),
        "alpha": torch.stack([mirror_angle(alpha) if flip else alpha for flip in flips]),
        "amodal_centers": torch.stack([transform_points(project(middles, CAMERA), matrix) for matrix in crops]),
    }
    calibration = torch.stack([transform_calibration(CAMERA, matrix) for matrix in crops])
    return {
        "image": torch.zeros(len(crops), 1),
        "transform": torch.stack(crops),
        "calibration": calibration,
    }, annotations


def assert_in_place(found, k=3):
    order = found["labels"][:k].argsort()
    torch.testing.assert_close(found["location"][order], LOCATION, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found["depth"][order], LOCATION[:, 2], rtol=1e-3, atol=1e-3)
    turn = wrap_angle(found["rotation_y"][order] - ROTATION)
    torch.testing.assert_close(turn, torch.zeros(3), rtol=0, atol=1e-3)


@pytest.mark.parametrize("focal", [None, 700.0])
def test_round_trip(focal):
    """With a common focal length the crops' scales do not matter."""
    heads = standard_heads(DDD | {"dep": {"focal": focal}})
    crops = [crop(False), crop(True)] + ([] if focal is None else [crop(True, 380.0), crop(False, 250.0)])
    batch, annotations = batch_of(crops)
    targets = encode(annotations | {"calibration": batch["calibration"]}, heads, GRID)
    detections = decode(learned(targets, heads), heads, k=3)
    for found in per_image(detections, batch, GRID.stride):
        assert_in_place(found)
        assert "focal" not in found


def test_without_a_camera_there_are_no_places():
    batch, annotations = batch_of([crop(False)])
    heads = standard_heads(DDD)
    detections = decode(learned(encode(annotations, heads, GRID), heads), heads, k=3)
    (found,) = per_image(detections, {name: batch[name] for name in ("image", "transform")}, GRID.stride)
    assert {"depth", "dimensions", "alpha"} <= found.keys()
    assert not {"location", "rotation_y"} & found.keys()


def test_the_middle_is_that_of_the_amodal_centre_the_box_or_the_cell():
    detections = {"depth": torch.tensor([[10.0]]), "dimensions": torch.zeros(1, 1, 3)}
    for name, values in (("centers", [10.0, 0.0]), ("boxes", [10.0, 0.0, 30.0, 0.0]), ("amodal_centers", [30.0, 0.0])):
        detections[name] = torch.tensor([[values]])
        expected = {"centers": 10.0, "boxes": 20.0, "amodal_centers": 30.0}[name]
        location = lift(detections, torch.eye(3, 4)[None])["location"]
        torch.testing.assert_close(location, torch.tensor([[[10 * expected, 0.0, 10.0]]]))


def test_parts_of_the_heads():
    """Only what there are heads for is lifted."""
    peaks = {"scores": torch.ones(1, 2), "centers": torch.zeros(1, 2, 2)}
    camera = torch.eye(3, 4)[None]
    assert lift(peaks, camera).keys() == peaks.keys()
    assert lift(peaks | {"alpha": torch.zeros(1, 2)}, camera).keys() == {*peaks, "alpha", "rotation_y"}
    assert lift(peaks | {"depth": torch.ones(1, 2)}, camera).keys() == {*peaks, "depth"}
    scaled = {"depth": torch.ones(1, 2), "depth_scale": torch.ones(1, 2), "focal": torch.full((1, 2), 0.5)}
    assert lift(peaks | scaled, camera)["depth_scale"].tolist() == [[2.0, 2.0]]


def test_on_a_device_nothing_waits():
    batch, annotations = batch_of([crop(False), crop(True)])
    heads = standard_heads(DDD)
    detections = decode(learned(encode(annotations, heads, GRID), heads), heads, k=3)
    with Recorder() as recorder:
        lift(detections, batch["calibration"], batch["transform"])
    assert not recorder.callers, recorder.callers[0][1]


def test_real_frames(shared):
    """What a perfect network says of KITTI's pictures is what their labels say."""
    data = kitti_data(
        shared / "data/kitti_object",
        train_split=None,
        val_split="all",
        input_size=(96, 320),
        batch_size=3,
        num_workers=0,
    )
    (batch,) = data.val_dataloader()
    heads = standard_heads(DDD)
    prepared = prepare(batch, heads, 2, (0.5,) * 3, (0.2,) * 3)
    grid = Grid(48, 160, 2)
    detections = decode(learned(prepared, heads, grid), heads, k=2000)  # every cell of an ignored region is a peak
    for found, meant in zip(per_image(detections, batch, grid.stride), ground_truth(batch), strict=True):
        sure = found["scores"] > 0.99
        for slot in (~meant["ignore"]).nonzero().flatten():
            distance = (found["location"] - meant["location"][slot]).norm(dim=1)
            best = distance.masked_fill(~sure, torch.inf).argmin()
            assert distance[best] < 0.05  # the files have two decimals
            assert found["labels"][best] == meant["labels"][slot]
            assert wrap_angle(found["rotation_y"][best] - meant["rotation_y"][slot]).abs() < 0.02
            torch.testing.assert_close(found["boxes"][best], meant["boxes"][slot], rtol=0, atol=0.1)


def test_a_model_predicts_3d_boxes(tmp_path):
    """Trained for a step and asked, with and without cameras."""
    root = write_kitti(tmp_path / "kitti")
    data = kitti_data(root, input_size=(64, 192), batch_size=2, num_workers=0, test_split="all")
    model = tiny_model(DDD, classes=("Pedestrian", "Car", "Cyclist"), input_size=(64, 192))
    trainer = quiet_trainer(max_steps=1, limit_val_batches=1, default_root_dir=tmp_path)
    trainer.fit(model, data)
    for name in ("dep", "dim", "rot", "amodel_offset"):
        assert model.loss_stats[name] > 0
    (pictures,) = trainer.predict(model, data.test_dataloader())
    assert [picture["location"].shape for picture in pictures] == [(20, 3)] * 2
    assert all(picture["rotation_y"].abs().max() <= 3.1416 for picture in pictures)
    (batch,) = data.test_dataloader()
    model.eval()
    alone = model.predict_step({"image": batch["image"].float()}, 0)
    assert "location" not in alone[0]
    assert "depth" in alone[0]
