"""3D boxes in the image: their corners are where an independent projection puts them."""

import numpy as np
import pytest

from lightning_centernet.draw import class_color, draw_boxes3d
from tests.draw.pixels import like, shows, where
from tests.fakes_kitti import CAR, PEDESTRIAN, FakeBox

CAMERA = np.array([[540.0, 0, 480, 39], [0, 540, 144, -1.2], [0, 0, 1, 0.003]])
SIZE = (288, 960)
CLASSES = ("car", "person")
CLEAR = np.full((*SIZE, 3), 90, np.uint8)


def fields(*boxes, **others):
    columns = {
        name: np.array([getattr(box, name) for box in boxes]) for name in ("location", "dimensions", "rotation_y")
    }
    return columns | {"labels": np.arange(len(boxes)) % 2} | others


def pixels(points):
    seen = points @ CAMERA[:, :3].T + CAMERA[:, 3]
    return seen[:, :2] / seen[:, 2:]


@pytest.mark.parametrize("box", [CAR, PEDESTRIAN, FakeBox("Car", (3, 1.7, 30.0), (1.5, 1.6, 4.0), -2.5)], ids=str)
def test_all_edges_are_drawn(box):
    picture = draw_boxes3d(CLEAR, fields(box), CAMERA, ["", ""])
    corners = box.corners
    ends = [
        (a, b) for a in corners for b in corners if np.isclose(np.linalg.norm(a - b), box.dimensions, atol=1e-6).any()
    ]
    assert len(ends) == 24  # both ways
    for share in (0, 0.3, 0.6):
        for point in pixels(np.array([a + share * (b - a) for a, b in ends])):
            assert shows(picture, point, class_color(0))
    x1, y1, x2, y2 = where(picture[12:], class_color(0), 60)
    low, high = pixels(corners).min(0), pixels(corners).max(0)
    assert np.abs(np.array([x1, y1 + 12, x2, y2 + 12]) - [*low, *high]).max() <= 24  # nothing far outside, but the name


def test_front_is_crossed():
    """A car seen from behind and one seen from ahead differ; the cross's middle is on the front."""
    for rotation_y, sign in ((-np.pi / 2, 1), (np.pi / 2, -1)):
        car = FakeBox("Car", (0.0, 1.6, 12.0), (1.5, 1.8, 4.0), rotation_y)
        picture = draw_boxes3d(CLEAR, fields(car), CAMERA, ["", ""])
        height, length = car.dimensions[0], car.dimensions[2]
        quarter = np.array([[0.45, 1.6 - height / 4, 12 + sign * length / 2]])  # on a diagonal of the front
        other = quarter - [[0, 0, sign * length]]
        assert shows(picture, pixels(quarter)[0], class_color(0), reach=1)
        assert not shows(picture, pixels(other)[0], class_color(0), reach=1)


def test_nearest_is_on_top():
    near, far = (
        FakeBox("Car", (0.0, 1.6, 10.0), (1.5, 1.8, 4.0), 0.0),
        FakeBox("Car", (0.0, 1.6, 10.0), (1.5, 1.8, 4.0), 0.0),
    )
    far = far._replace(location=(0.0, 1.6, 10.0001))
    for boxes, top in (((near, far), 0), ((far, near), 1)):
        picture = draw_boxes3d(CLEAR, fields(*boxes), CAMERA, ["", ""])
        x, y = pixels(np.array([[2.0, 1.6, 9.1]]))[0]
        assert shows(picture, (x, y), class_color(top), reach=1)
        assert not shows(picture, (x, y), class_color(1 - top), reach=1, tolerance=20)


def test_what_is_behind_the_camera_is_cut_off():
    """Of a lorry beside the camera that reaches behind it the edges go out of the picture, and do not come back."""
    lorry = FakeBox("Car", (3.0, 1.6, 2.0), (2.5, 2.0, 10.0), -np.pi / 2)
    picture = draw_boxes3d(CLEAR, fields(lorry), CAMERA, ["", ""])
    assert shows(picture, pixels(np.array([[2.0, 1.6, 6.9]]))[0], class_color(0))
    assert not like(picture[:, : SIZE[1] // 2], class_color(0)).any()


@pytest.mark.parametrize(
    "location",
    [(0, 1.6, -20), (0, 1.6, 0), (200, 1.6, 5), (np.nan, 1, 9), (np.inf, 1, 9), (0, 1e30, 1e30)],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_boxes_that_cannot_be_seen_change_nothing(location):
    box = FakeBox("Car", location, (1.5, 1.8, 0.2), 0.3)
    picture = draw_boxes3d(CLEAR, fields(box, scores=np.array([0.9])), CAMERA, CLASSES)
    if location != (0, 1.6, 0):  # inside it
        np.testing.assert_array_equal(picture, CLEAR)
    car = draw_boxes3d(CLEAR, fields(CAR), CAMERA, CLASSES)
    np.testing.assert_array_equal(draw_boxes3d(CLEAR, fields(CAR, box), CAMERA, CLASSES)[:, :1], car[:, :1])


def test_nothing_to_draw(image):
    before = image.copy()
    nothing = {
        "location": np.zeros((0, 3)),
        "dimensions": np.zeros((0, 3)),
        "rotation_y": [],
        "labels": [],
        "scores": [],
    }
    picture = draw_boxes3d(image, nothing, CAMERA, CLASSES)
    np.testing.assert_array_equal(picture, image)
    assert not np.shares_memory(picture, image)
    draw_boxes3d(image, fields(CAR, PEDESTRIAN), CAMERA, CLASSES)
    np.testing.assert_array_equal(image, before)
