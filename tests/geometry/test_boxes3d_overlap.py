"""Shared areas and volumes against polygons cut corner by corner, against thrown points, and in cases known by hand."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_centernet.geometry.boxes3d import corners
from lightning_centernet.geometry.boxes3d_overlap import (
    birdseye,
    box_intersection,
    box_iou,
    rectangle_intersection,
    rectangle_iou,
)
from tests.geometry.polygons import area, clip, rectangle

CLOSE = {"rtol": 1e-9, "atol": 1e-9}
SQUARE = (0.0, 0.0, 2.0, 2.0, 0.0)


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def random_rectangles(number, seed=0):
    """Cars round the same spot far from the origin; a third of the angles are multiples of 45 degrees."""
    random = torch.Generator().manual_seed(seed)
    values = torch.rand(number, 5, generator=random, dtype=torch.float64)
    rectangles = rows(38.0, 68.0, 0.5, 0.5, -7.0) + values * rows(4.0, 4.0, 4.0, 2.0, 14.0)
    rectangles[::3, 4] = (rectangles[::3, 4] / (math.pi / 4)).round() * (math.pi / 4)
    return rectangles


def random_boxes(number, seed=0):
    random = torch.Generator().manual_seed(seed + 1)
    x, z, length, width, rotation = random_rectangles(number, seed).unbind(1)
    bottom, height = (1 + torch.rand(2, number, generator=random, dtype=torch.float64)).unbind()
    return torch.stack([x, bottom, z, height, width, length, rotation], dim=1)


def by_polygons(first, second):
    return area(clip(rectangle(*first.tolist()), rectangle(*second.tolist())))


class TestAgainstPolygons:
    def test_all_pairs(self):
        first, second = random_rectangles(40), random_rectangles(30, seed=1)
        slow = rows(*[[by_polygons(a, b) for b in second] for a in first])
        torch.testing.assert_close(rectangle_intersection(first[:, None], second), slow, **CLOSE)
        assert (slow > 0).float().mean() > 0.5

    def test_edges_on_top_of_each_other(self):
        """All of a grid's cells and blocks, turned: every second pair shares edges, corners or lines."""
        straight = rows(*product((0, 0.5, 1), (0, 1), (1, 2), (1, 3), (0,)))
        for turn in (0.0, 0.3, math.pi / 2, 2.0, -math.pi):
            turned = rotated(straight, turn)
            slow = rectangle_overlap_of_upright(straight)
            torch.testing.assert_close(rectangle_intersection(turned[:, None], turned), slow, rtol=0, atol=1e-12)

    def test_nearly_parallel(self):
        for tilt in (1e-4, 1e-8, 1e-12, 1e-15, 1e-17, 1e-300):
            for moved in (0.0, tilt, 1.0):
                pair = rows(SQUARE, (moved, 0.0, 2.0, 2.0, tilt))
                expected = by_polygons(*pair) if tilt > 1e-12 else 2 * (2 - moved)
                assert rectangle_intersection(*pair).item() == pytest.approx(expected, abs=1e-11)

    def test_corners_agree_with_the_box(self):
        """The footprint is that of the corners that are drawn and projected."""
        boxes = random_boxes(5)
        bottoms = corners(boxes[:, :3], boxes[:, 3:6], boxes[:, 6])[:, :4, [0, 2]]
        for bottom, flat in zip(bottoms, birdseye(boxes), strict=True):
            expected = sorted(rectangle(*flat.tolist()))
            torch.testing.assert_close(rows(*sorted(map(tuple, bottom.tolist()))), rows(*expected), **CLOSE)


def rotated(rectangles, angle):
    """Turn the world about the origin; rotation_y turns x towards -z."""
    x, z = rectangles[:, 0], rectangles[:, 1]
    cos, sin = math.cos(angle), math.sin(angle)
    places = [cos * x + sin * z, cos * z - sin * x]
    return torch.cat([torch.stack(places, 1), rectangles[:, 2:4], rectangles[:, 4:] + angle], 1)


def rectangle_overlap_of_upright(rectangles):
    low, high = rectangles[:, :2] - rectangles[:, 2:4] / 2, rectangles[:, :2] + rectangles[:, 2:4] / 2
    return (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp(min=0).prod(-1)


def test_volumes_against_thrown_points():
    first, second = random_boxes(6), random_boxes(6, seed=7)
    points = torch.rand(200_000, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    low, high = rows(34.0, -2.0, 64.0), rows(46.0, 3.0, 76.0)
    points = low + points * (high - low)
    shared = torch.stack([inside(points, a) & inside(points, b) for a, b in zip(first, second, strict=True)])
    expected = shared.double().mean(1) * (high - low).prod()
    torch.testing.assert_close(box_intersection(first, second), expected, rtol=0.05, atol=0.05)
    assert expected.max() > 1


def inside(points, box):
    x, y, z = (points - box[:3]).unbind(1)
    cos, sin = box[6].cos(), box[6].sin()
    along, across = cos * x - sin * z, sin * x + cos * z
    return (along.abs() < box[5] / 2) & (across.abs() < box[4] / 2) & (y < 0) & (y > -box[3])


class TestInvariance:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10**6), st.floats(-7, 7), st.floats(-100, 100), st.floats(-100, 100))
    def test_a_moved_world(self, seed, angle, right, ahead):
        pair = random_rectangles(2, seed)
        moved = rotated(pair, angle) + rows(right, ahead, 0.0, 0.0, 0.0)
        torch.testing.assert_close(rectangle_iou(*moved), rectangle_iou(*pair), rtol=0, atol=1e-10)

    def test_swapped(self):
        first, second = random_boxes(50), random_boxes(50, seed=3)
        torch.testing.assert_close(box_iou(first, second), box_iou(second, first), **CLOSE)

    def test_half_turns_and_swapped_sides_are_the_same_rectangle(self):
        first, second = random_rectangles(50), random_rectangles(50, seed=3)
        expected = rectangle_iou(first, second)
        half, quarter = first.clone(), first[:, [0, 1, 3, 2, 4]]
        half[:, 4] += math.pi
        quarter[:, 4] += math.pi / 2
        for same in (half, quarter):
            torch.testing.assert_close(rectangle_iou(same, second), expected, **CLOSE)

    def test_scaled(self):
        first, second = random_boxes(50), random_boxes(50, seed=3)
        scale = rows(*[7.0] * 6, 1.0)
        torch.testing.assert_close(box_iou(first * scale, second * scale), box_iou(first, second), **CLOSE)


class TestByHand:
    def test_octagon(self):
        """A square and the same turned by 45 degrees share a regular octagon."""
        turned = rows((0.0, 0.0, 2.0, 2.0, math.pi / 4))
        assert rectangle_intersection(rows(SQUARE), turned).item() == pytest.approx(8 * (math.sqrt(2) - 1))

    def test_itself(self):
        boxes = random_boxes(20)
        torch.testing.assert_close(box_iou(boxes, boxes), torch.ones(20, dtype=torch.float64), **CLOSE)

    def test_one_inside_the_other(self):
        inner = rows((0.2, -0.1, 0.5, 1.0, 0.7))
        assert rectangle_intersection(rows(SQUARE), inner).item() == pytest.approx(0.5)
        assert rectangle_intersection(inner, rows(SQUARE)).item() == pytest.approx(0.5)

    def test_touching_shares_nothing(self):
        others = rows((2.0, 0.0, 2.0, 2.0, 0.0), (2.0, 2.0, 2.0, 2.0, 0.0), (1 + math.sqrt(2), 0, 2, 2, math.pi / 4))
        assert rectangle_intersection(rows(SQUARE), others).abs().max() < 1e-12

    def test_y_points_down_from_the_bottom(self):
        """A box of height 2 on the ground at y = 1 spans -1 to 1; one of height 1 at y = 0 spans -1 to 0."""
        ground, above = rows((0, 1, 0, 2, 1, 1, 0)), rows((0, 0, 0, 1, 1, 1, 0))
        assert box_intersection(ground, above).item() == pytest.approx(1)
        assert box_iou(ground, above).item() == pytest.approx(0.5)
        assert box_iou(ground, rows((0, -1, 0, 1, 1, 1, 0))).item() == 0


@pytest.mark.parametrize("spoilt", [0.0, -1.0, math.nan, math.inf])
def test_degenerate_boxes_share_nothing(spoilt):
    good = random_boxes(1)
    for column in range(7):  # 0 and -1 are fine for a place or an angle
        bad = good.clone()
        bad[:, column] = spoilt
        if column in (3, 4, 5) or not math.isfinite(spoilt):
            assert box_iou(good, bad).tolist() == box_iou(bad, good).tolist() == [0]


def test_shapes():
    boxes = random_boxes(6)
    assert box_iou(boxes[:, None], boxes[:4]).shape == (6, 4)
    assert box_iou(boxes[:0, None], boxes).shape == (0, 6)
    assert rectangle_iou(birdseye(boxes[0]), birdseye(boxes[1])).shape == ()
    assert box_iou(boxes.float(), boxes.float()).dtype == torch.float64


def test_many_pairs_equal_few(monkeypatch):
    first, second = random_boxes(30), random_boxes(30, seed=1)
    whole = box_iou(first[:, None], second)
    monkeypatch.setattr("lightning_centernet.geometry.boxes3d_overlap._AT_ONCE", 7)
    torch.testing.assert_close(box_iou(first[:, None], second), whole, rtol=0, atol=0)
