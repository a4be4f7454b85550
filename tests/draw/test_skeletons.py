"""Poses in the image."""

import numpy as np
import pytest

from lightning_centernet.draw import draw_skeletons
from lightning_centernet.skeleton import Skeleton
from tests.draw.pixels import shows

LEFT, RIGHT, MIDDLE = (0, 170, 255), (255, 140, 0), (235, 235, 90)
SKELETON = Skeleton(
    ("left_hand", "right_hand", "head", "left_foot", "right_foot"),
    (("left_hand", "head"), ("right_hand", "head"), ("left_foot", "right_foot")),
)
PERSON = np.array([[100.0, 200, 2], [300, 200, 2], [200, 80, 2], [120, 360, 2], [280, 360, 2]])
CLEAR = np.full((480, 640, 3), 90, np.uint8)


def test_sides_have_their_colors():
    picture = draw_skeletons(CLEAR, PERSON[None], SKELETON)
    for joint, color in enumerate((LEFT, RIGHT, MIDDLE, LEFT, RIGHT)):
        assert shows(picture, PERSON[joint, :2], color, reach=0)
    for (a, b), color in zip(((0, 2), (1, 2), (3, 4)), (LEFT, RIGHT, MIDDLE), strict=True):
        assert shows(picture, PERSON[[a, b], :2].mean(0), color, reach=0)
    assert (picture[:65] == 90).all()
    assert (picture[:, 315:] == 90).all()


def test_mirrored_person_swaps_the_colors():
    mirrored = (PERSON * (-1, 1, 1) + (400, 0, 0))[SKELETON.flip]
    picture = draw_skeletons(CLEAR, mirrored[None], SKELETON)
    for joint, color in enumerate((LEFT, RIGHT, MIDDLE, LEFT, RIGHT)):
        assert shows(picture, mirrored[joint, :2], color, reach=0)


def test_hidden_joints_are_rings_with_thin_limbs():
    """Those of visibility 0 are not there, whatever their coordinates, nor are their limbs."""
    hidden = PERSON.copy()
    hidden[0, 2], hidden[1, 2] = 1, 0
    picture, usual = (draw_skeletons(CLEAR, pose[None], SKELETON) for pose in (hidden, PERSON))
    assert not shows(picture, hidden[0, :2], LEFT, reach=0)
    assert shows(picture, hidden[0, :2], LEFT, reach=5)
    assert (picture[90:190, 110:190] != 90).any(-1).sum() < (usual[90:190, 110:190] != 90).any(-1).sum()
    assert (picture[120:240, 250:320] == 90).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, -1e6, -500.0, 5000.0])
def test_joints_far_away(value):
    """Limbs to joints outside run to the image's edge; joints with broken numbers are left out."""
    odd = PERSON.copy()
    odd[0, :2] = value
    picture = draw_skeletons(CLEAR, odd[None], SKELETON)
    for joint in (1, 2, 3, 4):
        assert shows(picture, odd[joint, :2], (RIGHT, MIDDLE, LEFT, RIGHT)[joint - 1], reach=0)
    if abs(value) < 1e9:
        direction = (value - PERSON[2, :2]) / np.abs(value - PERSON[2, :2]).max()
        assert shows(picture, PERSON[2, :2] + 20 * direction, LEFT, reach=1)


def test_joints_without_a_skeleton():
    picture = draw_skeletons(CLEAR, PERSON[None])
    assert all(shows(picture, point, MIDDLE, reach=0) for point in PERSON[:, :2])
    assert (picture[220:340] == 90).all()


def test_small_people_are_drawn_thin():
    small = PERSON * (0.05, 0.05, 1)
    painted = (draw_skeletons(CLEAR, small[None], SKELETON) != 90).any(-1).sum()
    assert 0 < painted < 300


def test_nothing_to_draw(image):
    before = image.copy()
    for keypoints in (np.zeros((0, 5, 3)), np.zeros((2, 5, 3)), np.full((1, 5, 3), np.nan)):
        picture = draw_skeletons(image, keypoints, SKELETON)
        np.testing.assert_array_equal(picture, image)
        assert not np.shares_memory(picture, image)
    draw_skeletons(image, PERSON[None], SKELETON)
    np.testing.assert_array_equal(image, before)
