"""Joints from COCO files, and joints that move with their pictures."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from lightning_centernet.data import Augmentation, Sample, Transform, coco_data, letterbox, read_coco
from lightning_centernet.data.inspection import inspect_data
from lightning_centernet.data.keypoints import move_keypoints
from lightning_centernet.errors import UserError
from lightning_centernet.geometry.affine import compose, similarity
from lightning_centernet.skeleton import Skeleton
from tests.fakes import PICTURES, SQUARE, coco_content, pose_content, write_coco


def read(tmp_path: Path, content: Any, **options: Any) -> Any:
    file, images = write_coco(tmp_path, PICTURES, content)
    return read_coco(file, images, **options)


def test_equals_the_official_reader(tmp_path: Path) -> None:
    file, images = write_coco(tmp_path, PICTURES, pose_content())
    dataset, official = read_coco(file, images), COCO(str(file))
    assert dataset.skeleton.names == SQUARE
    assert dataset.skeleton.edges == (("left_top", "right_top"), ("right_bottom", "left_bottom"))
    assert dataset.skeleton.flip == [1, 0, 3, 2]
    assert dataset.skeleton.known_sigmas == (0.1, 0.1, 0.2, 0.2)
    assert dataset.skeleton.classes == tuple(entry["name"] for entry in official.cats.values() if "keypoints" in entry)
    assert len(dataset.skeleton.classes) == 2
    for record in dataset.records:
        entries = official.loadAnns(official.getAnnIds(record.image_id))
        joints = record.annotations["keypoints"]
        assert joints.dtype == np.float32
        assert joints.shape == (len(entries), 4, 3)
        expected = np.array([entry["keypoints"] for entry in entries], np.float32).reshape(-1, 4, 3)
        np.testing.assert_array_equal(joints[..., 2], expected[..., 2])
        np.testing.assert_array_equal(np.nan_to_num(joints), expected)
        assert np.isnan(joints[joints[..., 2] == 0][:, :2]).all()


def test_file_without_joints(tmp_path: Path) -> None:
    dataset = read(tmp_path, coco_content())
    assert dataset.skeleton is None
    assert "keypoints" not in dataset.records[0].annotations
    with pytest.raises(UserError, match="no category names its keypoints"):
        read(tmp_path, coco_content(), fields=("keypoints",))


def test_names_from_the_config(tmp_path: Path) -> None:
    content = pose_content()
    for category in content["categories"]:
        category.pop("keypoints", None)
    given = {"names": ["a", "b", "c", "d"], "flip_pairs": [["a", "b"]], "sigmas": [0.1] * 4}
    dataset = read(tmp_path, content, keypoints=given)
    assert dataset.skeleton == Skeleton(("a", "b", "c", "d"), (), (("a", "b"),), (0.1,) * 4)
    assert dataset[0].skeleton is dataset.skeleton


def test_config_goes_before_the_file(tmp_path: Path) -> None:
    skeleton = read(tmp_path, pose_content(), keypoints={"sigmas": [0.3] * 4, "flip_pairs": None}).skeleton
    assert skeleton.known_sigmas == (0.3,) * 4
    assert skeleton.flip == [1, 0, 3, 2]


@pytest.mark.parametrize("value", [None, []])
def test_objects_without_joints_are_kept(tmp_path: Path, value: Any) -> None:
    content = pose_content()
    content["annotations"][-1]["keypoints"] = value
    del content["annotations"][-2]["keypoints"]
    objects = read(tmp_path, content).records[0].annotations
    assert objects["boxes"].shape == (2, 4)
    assert (objects["keypoints"][..., 2] == 0).all()


def corrupt(value: Any) -> Any:
    content = pose_content()
    content["annotations"][1]["keypoints"] = value
    return content


@pytest.mark.parametrize("value", [[1, 2, 2] * 3, [1, 2] * 4, "joints", [1, 2, "x"] * 4, 7, [10**400] * 12])
def test_another_number_of_joints(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UserError, match=r"instances\.json: annotation 101: keypoints must be 12 numbers, .* 4 joints"):
        read(tmp_path, corrupt(value))


@pytest.mark.parametrize("joint", [[float("nan"), 2, 2], [1, float("inf"), 1], [1, 2, 3], [1, 2, -1], [1, 2, 0.5]])
def test_joint_that_is_none(tmp_path: Path, joint: list[float]) -> None:
    with pytest.raises(UserError, match=r"annotation 101: the joint 'right_top' is \[.*: must be finite x and y, and"):
        read(tmp_path, corrupt([1, 2, 2, *joint, 1, 2, 2, 1, 2, 2]))


def test_place_of_an_unlabelled_joint_does_not_matter(tmp_path: Path) -> None:
    joints = read(tmp_path, corrupt([1, 2, 2, float("nan"), -9, 0] * 2)).records[3].annotations["keypoints"][1]
    assert joints[:, 2].tolist() == [2, 0, 2, 0]
    assert np.isnan(joints[1, :2]).all()


def test_inspect_finds_all_mistakes(tmp_path: Path) -> None:
    content = corrupt([1, 2, 2])
    content["annotations"][0]["keypoints"] = [1, 2, 5] * 4
    file, images = write_coco(tmp_path, PICTURES, content)
    (report,) = inspect_data(coco_data(None, images, val_annotations=file))
    assert len(report.problems) == 1 + 4


def test_joints_outside_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read(tmp_path, corrupt([-1, 2, 2, 1, 65, 1, 64, 64, 2, 0, 0, 0]))
    (message,) = caplog.messages
    assert message.startswith("2 of 14 labelled joints lie outside")
    assert message.endswith("annotation 101")


def test_two_kinds_of_joints(tmp_path: Path) -> None:
    content = pose_content()
    content["categories"][0]["keypoints"] = ["snout"]
    with pytest.raises(UserError, match="the categories 'dog' and 'cat' have different keypoints"):
        read(tmp_path, content)


@pytest.mark.parametrize("names", [17, "nose", {"nose": 1}, [1, 2, 3, 4], [["nose"]] * 4])
def test_joints_without_names(tmp_path: Path, names: Any) -> None:
    content = pose_content()
    for category in content["categories"]:
        category["keypoints"] = names
    with pytest.raises(UserError, match="category 'dog': keypoints must be a list of the joints' names, not"):
        read(tmp_path, content)


@pytest.mark.parametrize("pairs", [[[1, 5]], [[0, 1]], [["a", "b"]], [3], 3, {"a": 1}, [[1, 2, 3]], [[1.0, 2.0]]])
def test_wrong_edges(tmp_path: Path, pairs: Any) -> None:
    content = pose_content()
    content["categories"][0]["skeleton"] = pairs
    with pytest.raises(UserError, match="category 'dog': skeleton must be pairs of numbers from 1 to 4"):
        read(tmp_path, content)


def test_splits_must_agree(tmp_path: Path) -> None:
    content = pose_content()
    for category in content["categories"]:
        category.pop("keypoints", None)
    file, images = write_coco(tmp_path / "a", PICTURES, pose_content())
    other, _ = write_coco(tmp_path / "b", PICTURES, content)
    data = coco_data(file, images, val_annotations=other, augmentation=None)
    assert data.skeleton is not None
    with pytest.raises(UserError, match=r"the val data set has the keypoints None, train has \('left_top'"):
        data.dataset("val")


def painted() -> Sample:
    """A picture black but for four spots, and joints on them."""
    image = np.zeros((60, 80, 3), np.uint8)
    spots = np.array([[10, 12], [50, 15], [52, 44], [14, 40]], np.float32)
    for value, (x, y) in zip((60, 120, 180, 240), spots.astype(int), strict=True):
        image[y - 3 : y + 3, x - 3 : x + 3] = value
    joints = np.concatenate([spots, np.array([[2], [1], [2], [2]], np.float32)], axis=1)[None]
    objects = {
        "boxes": np.array([[5, 5, 60, 50]], np.float32),
        "labels": np.zeros(1, np.int64),
        "ignore": np.zeros(1, bool),
        "keypoints": joints,
    }
    return Sample(image, objects, 1, "spots.png", Skeleton(SQUARE))


@pytest.mark.parametrize("seed", range(6))
def test_joints_stay_on_their_spots(seed: int) -> None:
    """Of a mirrored picture the left joint is where the right one was."""
    augmentation = Augmentation(crop=None, shift=0.02, scale=0.1, rotation=5, brightness=0, contrast=0, saturation=0)
    item = Transform((90, 120), augmentation)(painted(), np.random.default_rng(seed))
    mirrored = torch.linalg.det(item["transform"][:, :2]) < 0
    values = [120, 60, 240, 180] if mirrored else [60, 120, 180, 240]
    visibility = [1, 2, 2, 2] if mirrored else [2, 1, 2, 2]
    joints = item["annotations"]["keypoints"][0]
    assert joints[:, 2].tolist() == visibility
    for (x, y), value in zip(joints[:, :2].tolist(), values, strict=True):
        assert item["image"][0, int(y), int(x)] == value
    assert torch.equal(item["ground_truth"]["keypoints"], torch.from_numpy(painted().annotations["keypoints"]))


def test_mirror_twice_is_nothing() -> None:
    joints = torch.rand(3, 4, 3)
    joints[1, 2, :2] = torch.nan
    mirror = torch.tensor([[-1.0, 0.0, 53.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    skeleton = Skeleton(SQUARE)
    moved = move_keypoints(move_keypoints(joints, mirror, skeleton), mirror, skeleton)
    torch.testing.assert_close(moved, joints, equal_nan=True)


def test_mirror_without_a_skeleton() -> None:
    matrix = letterbox((60, 80), (60, 80))
    joints = torch.rand(1, 4, 3)
    torch.testing.assert_close(move_keypoints(joints, matrix, None), joints)
    turned = similarity((40, 30), 80, 170, (80, 60))
    assert move_keypoints(joints, turned, None).shape == joints.shape
    mirror = torch.tensor([[-1.0, 0.0, 80.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    with pytest.raises(UserError, match="no skeleton"):
        move_keypoints(joints, compose(mirror, matrix), None)


def test_batches(tmp_path: Path) -> None:
    file, images = write_coco(tmp_path, PICTURES, pose_content())
    data = coco_data(
        file, images, val_annotations=file, input_size=(64, 96), batch_size=4, num_workers=0, max_objects=3
    )
    (batch,) = data.val_dataloader()
    assert batch["annotations"]["keypoints"].shape == (4, 3, 4, 3)
    assert batch["ground_truth"]["keypoints"].shape == (4, 2, 4, 3)
    assert (batch["annotations"]["keypoints"][~batch["annotations"]["mask"]] == 0).all()
