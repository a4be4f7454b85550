"""Whole scenes: every object is drawn by what is known of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_centernet.draw import GRAY, Scene, class_color, draw_boxes, draw_skeletons
from tests.draw.pixels import like, shows
from tests.draw.test_boxes3d import CAMERA, SIZE, fields, pixels
from tests.draw.test_skeletons import PERSON, SKELETON
from tests.fakes_kitti import CAR, PEDESTRIAN

CLEAR = np.full((400, 960, 3), 90, np.uint8)
BOXES = np.array([[20.0, 300, 80, 380], [400.0, 300, 460, 380]])


def both():
    return fields(CAR, PEDESTRIAN) | {"boxes": BOXES}


def test_boxes_alone():
    objects = {"boxes": BOXES, "labels": np.array([0, 1]), "scores": np.array([0.4, 0.9])}
    expected = draw_boxes(CLEAR, BOXES, [0, 1], ["a", "b"], [0.4, 0.9])
    np.testing.assert_array_equal(Scene(CLEAR, ["a", "b"]).draw(objects), expected)
    tensors = {name: torch.from_numpy(values) for name, values in objects.items()}
    np.testing.assert_array_equal(Scene(CLEAR, ["a", "b"]).draw(tensors), expected)


def test_objects_without_a_3d_box_have_a_2d_box():
    objects = both()
    objects["dimensions"][1] = np.nan
    picture = Scene(CLEAR, ("", ""), calibration=CAMERA).draw(objects)
    assert not shows(picture, (50, 300), class_color(0))  # the car's 2D box
    assert shows(picture, pixels(CAR.corners)[0], class_color(0))
    assert shows(picture, (430, 300), class_color(1))
    assert not shows(picture, pixels(PEDESTRIAN.corners)[0], class_color(1))


def test_without_a_camera_there_are_2d_boxes():
    scene = Scene(CLEAR, ("", ""))
    assert not scene.has_depth(both())
    assert not Scene(CLEAR, calibration=CAMERA).has_depth({"boxes": BOXES})
    assert Scene(CLEAR, calibration=CAMERA).has_depth(both())
    np.testing.assert_array_equal(scene.draw(both()), draw_boxes(CLEAR, BOXES, [0, 1], ["", ""]))


def test_small_pictures_are_enlarged_with_all_that_is_in_them():
    small = np.full((100, 240, 3), 90, np.uint8)
    quarter = CAMERA * [[0.25], [0.25], [1]]
    person = np.stack([PERSON, PERSON * (0, 0, 0)]) / (4, 4, 1)
    objects = both() | {"boxes": BOXES / 4, "keypoints": person}
    scene = Scene(small, ("", ""), SKELETON, quarter)
    assert scene.zoom == 4
    large = Scene(CLEAR, ("", ""), SKELETON, CAMERA)
    whole = both() | {"keypoints": person * (4, 4, 1)}
    np.testing.assert_array_equal(scene.draw(objects), large.draw(whole))
    np.testing.assert_array_equal(scene.draw_above(objects), large.draw_above(whole))
    assert scene.draw_heatmap(np.zeros((1, 5, 5))).shape == CLEAR.shape


def test_detected_joints_without_a_peak_are_as_if_hidden():
    objects = {
        "boxes": BOXES[:1],
        "labels": np.array([0]),
        "scores": np.array([0.75], np.float32),
        "keypoints": PERSON[None, :, :2],
        "keypoint_scores": np.array([[0.75, 0.4, 0.75, 0.75, 0.4]], np.float32),  # two peaks may be alike
    }
    expected = PERSON.copy()
    expected[[0, 2, 3], 2] = 1
    poses = draw_skeletons(CLEAR, expected[None], SKELETON)
    np.testing.assert_array_equal(Scene(CLEAR, [""], SKELETON).draw(objects)[:280], poses[:280])


def test_joints_without_scores_are_as_if_seen():
    objects = {"boxes": BOXES[:1], "labels": np.array([0]), "keypoints": PERSON[None, :, :2]}
    seen = objects | {"keypoints": np.concatenate([PERSON[None, :, :2], np.full((1, 5, 1), 2.0)], -1)}
    scene = Scene(CLEAR, ["a"], SKELETON)
    np.testing.assert_array_equal(scene.draw(objects), scene.draw(seen))


def test_ignored_objects_keep_their_joints():
    objects = {"boxes": BOXES[:1], "labels": np.array([-1]), "keypoints": PERSON[None]}
    picture = Scene(CLEAR, ["a", "b"], replace(SKELETON, classes=("b",))).draw(objects)
    np.testing.assert_array_equal(picture[:280], draw_skeletons(CLEAR, PERSON[None], SKELETON)[:280])


def test_only_some_classes_have_joints():
    objects = {
        "boxes": BOXES,
        "labels": np.array([0, 1]),
        "keypoints": np.stack([PERSON, PERSON + np.array([300, 0, 0])]),
    }
    drawn = {
        classes: Scene(CLEAR, ("car", "person"), replace(SKELETON, classes=classes)).draw(objects)[:280]
        for classes in (None, (), ("person",), ("car", "person"))
    }
    np.testing.assert_array_equal(drawn[()], CLEAR[:280])
    np.testing.assert_array_equal(drawn[None], drawn["car", "person"])
    np.testing.assert_array_equal(drawn[("person",)], draw_skeletons(CLEAR, objects["keypoints"][1:], SKELETON)[:280])


def test_names_of_ignored_regions_give_way():
    """The first is the last to find a place for its plate, which would begin at row 84; the car takes its own."""
    boxes = np.array([[97.0, 97, 127, 117], *[[100.0, 100, 130, 120]] * 6])
    labels = np.array([-1, 0, -1, -1, -1, -1, -1])
    picture = Scene(CLEAR, ("car",)).draw({"boxes": boxes, "labels": labels})
    plain = Scene(CLEAR, ("car",)).draw({"boxes": boxes[1:2], "labels": labels[1:2]})
    plate = like(plain, class_color(0))[:96]
    assert plate.sum() > 100
    assert like(picture, class_color(0))[:96][plate].all()
    assert like(picture[98:], GRAY).sum() > 300
    assert not like(picture[:86], GRAY).any()


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (48, 64), SIZE])
def test_any_size(shape):
    image = np.zeros((*shape, 3), np.uint8)
    picture = Scene(image, ("car", "person"), SKELETON, CAMERA).draw(both() | {"keypoints": np.stack([PERSON] * 2)})
    assert min(picture.shape[:2]) >= 288
    assert picture.shape[0] * shape[1] == picture.shape[1] * shape[0]


def test_empty_scene(image):
    nothing = {name: values[:0] for name, values in both().items()} | {"keypoints": np.zeros((0, 5, 3))}
    scene = Scene(image, (), SKELETON, CAMERA)
    picture = scene.draw(nothing)
    assert picture.shape == scene.draw_heatmap(np.zeros((1, 2, 2))).shape
    assert not np.shares_memory(picture, image)
    if scene.zoom == 1:
        np.testing.assert_array_equal(picture, image)
