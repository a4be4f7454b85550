"""Joints by name: mirrors, tolerances, mistakes."""

from __future__ import annotations

import pytest

from lightning_centernet.errors import UserError
from lightning_centernet.losses.keypoints import COCO_SIGMAS
from lightning_centernet.skeleton import COCO_JOINTS, Skeleton, make_skeleton

SWAPPED = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


def test_of_coco():
    skeleton = Skeleton(COCO_JOINTS)
    assert skeleton.flip == SWAPPED
    assert skeleton.known_sigmas == COCO_SIGMAS


@pytest.mark.parametrize(
    ("names", "flip"),
    [
        (["left_eye", "right_eye"], [1, 0]),
        (["RightHand", "chin", "LeftHand"], [2, 1, 0]),
        (["wing.right", "wing.left", "beak"], [1, 0, 2]),
        (["LEFT", "RIGHT"], [1, 0]),
        (["left_fin", "tail"], [0, 1]),
    ],
)
def test_sides_by_name(names, flip):
    assert make_skeleton({"names": names}).flip == flip


def test_given_pairs_and_tolerances():
    skeleton = make_skeleton({"names": ["a", "b", "c"], "flip_pairs": [["c", "a"]], "sigmas": [0.1, 0.2, 0.3]})
    assert skeleton.flip == [2, 1, 0]
    assert skeleton.known_sigmas == (0.1, 0.2, 0.3)
    assert make_skeleton({"names": ["left_a", "right_a"], "flip_pairs": []}).flip == [0, 1]


def test_part_of_coco_in_another_order():
    assert Skeleton(("left_knee", "nose")).known_sigmas == (0.087, 0.026)


def test_plain_values_and_back():
    values = {"names": ["left_a", "right_a", "b"], "edges": [["b", "left_a"]], "sigmas": [1, 2, 3]}
    skeleton = make_skeleton(values)
    assert make_skeleton(skeleton.plain()) == skeleton
    assert make_skeleton(skeleton.plain() | {"classes": ["person"]}).plain()["classes"] == ["person"]
    assert make_skeleton({"names": ["x"]}).plain()["sigmas"] is None


def test_unknown_tolerances():
    with pytest.raises(UserError, match=r"joints hoof, nose are not known: set data.keypoints.sigmas"):
        assert Skeleton(("hoof", "nose")).known_sigmas


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "must give names"),
        ({"names": []}, "must give names"),
        ({"names": ["a"], "bones": []}, "must give names"),
        ({"names": ["a", "b", "a"]}, "each its own, not a"),
        ({"names": ["a", "b"], "flip_pairs": [["a", "c"]]}, r"flip_pairs: must be pairs of a, b"),
        ({"names": ["a", "b"], "edges": [["a", "x"]]}, r"edges: must be pairs of a, b"),
        ({"names": ["a", "b"], "edges": [["a"]]}, "does not describe joints"),
        ({"names": ["a", "b", "c"], "flip_pairs": [["a", "b"], ["b", "c"]]}, "more than one pair"),
        ({"names": ["a", "b"], "sigmas": [0.1]}, "must be 2 positive numbers"),
        ({"names": ["a", "b"], "sigmas": [0.1, 0]}, "must be 2 positive numbers"),
        ({"names": ["a", "b"], "sigmas": [0.1, float("nan")]}, "must be 2 positive numbers"),
        ({"names": ["a"], "sigmas": ["wide"]}, "does not describe joints"),
    ],
)
def test_mistakes(values, message):
    with pytest.raises(UserError, match=message):
        make_skeleton(values)
