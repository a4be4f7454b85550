"""3D boxes from above: distances and directions can be read off."""

import numpy as np
import pytest

from lightning_centernet.draw import class_color, draw_above
from tests.draw.pixels import like

CAMERA = np.array([[500.0, 0, 500, 0], [0, 500, 150, 0], [0, 0, 1, 0]])  # 90 degrees
SIZE = (300, 1000)


def fields(*rows):
    """Make boxes 2 m wide and 4 m long of rows of x, z, rotation_y."""
    x, z, rotation_y = np.array(rows, dtype=float).reshape(-1, 3).T
    location = np.stack([x, np.full_like(x, 1.6), z], -1)
    dimensions = np.tile([1.5, 2.0, 4.0], (len(x), 1))
    return {"location": location, "dimensions": dimensions, "rotation_y": rotation_y, "labels": np.zeros(len(x), int)}


def extent(picture):
    """Return the extent of what is green, as the class is, also half transparent."""
    rows, columns = np.nonzero(np.ptp(picture.astype(int), axis=-1) > 50)
    return columns.min(), rows.min(), columns.max() + 1.0, rows.max() + 1.0


def metres(picture, reach):
    """Return pixels per metre, and where the camera is."""
    return 0.92 * len(picture) / reach, np.array([len(picture) / 2, 0.97 * len(picture)])


def test_a_box_is_where_it_is_and_as_large_as_it_is():
    picture = draw_above(fields((3, 12, -np.pi / 2)), CAMERA, SIZE)
    assert picture.shape == (384, 384, 3)
    scale, camera = metres(picture, 20)
    x1, y1, x2, y2 = extent(picture)
    expected = [camera[0] + 2 * scale, camera[1] - 15 * scale, camera[0] + 4 * scale, camera[1] - 10 * scale]
    # Its length goes from 10 to 14 metres; the line of its heading half a length, 1 m, further.
    assert np.abs([x1, y1, x2, y2] - np.array(expected)).max() < 2


@pytest.mark.parametrize(
    ("rotation_y", "side"), [(0, "right"), (np.pi, "left"), (-np.pi / 2, "top"), (np.pi / 2, "bottom")]
)
def test_heading_is_as_the_angle_says(rotation_y, side):
    x1, y1, x2, y2 = extent(draw_above(fields((0, 10, rotation_y)), CAMERA, SIZE))
    scale, (x, _) = metres(np.zeros((384, 1)), 20)
    y = 0.97 * 384 - 10 * scale
    reaches = {"left": x - x1, "right": x2 - x, "top": y - y1, "bottom": y2 - y}
    assert max(reaches, key=reaches.get) == side
    assert reaches[side] == pytest.approx(3 * scale, abs=2)


@pytest.mark.parametrize(("distance", "reach"), [(5, 20), (19, 30), (55, 60), (100, 110), (300, 120)])
def test_reach_follows_the_objects(distance, reach):
    picture = draw_above(fields((0, distance, -np.pi / 2), (0, 5, 0)), CAMERA, SIZE)
    _, _, x2, _ = extent(picture)
    scale, (x, _) = metres(picture, reach)
    assert x2 - x == pytest.approx(3 * scale, abs=2)


def test_objects_outside_are_counted():
    alone = draw_above(fields((0, 5, 0)), CAMERA, SIZE)
    behind, far, broken = ((0, -50, 0)), ((0, 900, 0)), ((0, np.nan, 0))
    np.testing.assert_array_equal(draw_above(fields((0, 5, 0), broken), CAMERA, SIZE), alone)
    one, two = (draw_above(fields((0, 5, 0), *others), CAMERA, SIZE) for others in ([behind], [behind, far]))
    corner = np.s_[-14:, -120:]
    assert like(one[corner], (235, 235, 235), 30).any()
    assert (one[corner] != two[corner]).any()
    assert not like(alone[corner], (235, 235, 235), 30).any()


def test_truth_is_a_white_outline_beneath():
    truth, found = fields((0, 10, 0)), fields((4, 15, 0))
    picture = draw_above(found, CAMERA, SIZE, truth)
    scale, camera = metres(picture, 20)
    x, y = camera - (0, 10 * scale)
    middle_of_side = picture[round(y - scale) - 1 : round(y - scale) + 2, round(x)]
    assert like(middle_of_side, (235, 235, 235), 90).any()
    inside = picture[round(y - scale / 2), round(x - scale)]
    assert inside.max() < 80  # not filled
    same = draw_above(truth, CAMERA, SIZE, truth)
    assert not like(same[:, 150:250], (235, 235, 235)).any()


def test_best_score_is_on_top():
    pair = fields((0, 10, 0), (0, 10, 0)) | {"labels": np.array([0, 1])}
    for scores, top in ((np.array([0.9, 0.1]), 0), (np.array([0.1, 0.9]), 1), (None, 1)):
        objects = pair if scores is None else pair | {"scores": scores}
        picture = draw_above(objects, CAMERA, SIZE)
        counts = [like(picture, class_color(label), 60).sum() for label in (0, 1)]
        assert counts[top] > 50 > counts[1 - top]


def test_field_of_view_is_the_cameras():
    narrow = CAMERA * [[2], [1], [1]] - [[0, 0, 500, 0], [0] * 4, [0] * 4]
    shares = [like(draw_above(fields(), camera, SIZE), (44, 47, 53)).mean() for camera in (CAMERA, narrow)]
    assert shares[0] > 1.4 * shares[1] > 0.2
    picture = draw_above(fields(), CAMERA, SIZE)
    scale, camera = metres(picture, 20)
    for x, seen in ((-8, True), (-12, False), (8, True), (12, False)):  # the angle is 45 degrees to either side
        column, row = np.rint(camera + np.array([x * scale * 0.9, -8.5 * scale])).astype(int)
        assert like(picture[row, column], (44, 47, 53)) == seen


@pytest.mark.filterwarnings("error")
def test_nothing_to_draw():
    nothing = fields()
    assert draw_above(nothing, CAMERA, SIZE).shape == (384, 384, 3)
    assert draw_above(nothing, CAMERA, (1000, 600), nothing).shape == (1000, 1000, 3)
    broken = fields((np.inf, 1, 0), (1e30, 1e30, 0), (0, 5, np.nan))
    assert draw_above(broken, CAMERA, SIZE, broken).shape == (384, 384, 3)
