"""2D boxes: what must be seen is there, what must not be touched is not."""

import itertools

import numpy as np
import pytest

from lightning_centernet.draw import class_color, draw_boxes
from tests.draw.pixels import where

CLASSES = ("car", "Fußgänger", "a very long name of a class that is wider than the whole picture")


def test_box_edges_lie_on_the_box():
    image = np.full((300, 400, 3), 128, np.uint8)
    picture = draw_boxes(image, [[100, 120, 250, 220]], [0], [""])
    x1, y1, x2, y2 = where(picture[120:], class_color(0))
    assert (x1, y1 + 120, x2, y2 + 120) == (100, 120, 250, 220)
    assert (picture[140:200, 110:240] == 128).all()


def test_input_is_not_modified(image):
    before = image.copy()
    draw_boxes(image, [[2, 2, 30, 30]], [0], CLASSES, [0.5])
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("box", [[-500, -9, 20, 20], [20, 20, 9999, 9999], [0, 0, 1, 1], [40, 30, 10, 5]], ids=str)
@pytest.mark.parametrize("label", [0, 1, 2])
def test_label_plate_stays_inside(image, box, label):
    picture = draw_boxes(image, [box], [label], CLASSES)
    assert picture.shape == image.shape
    x1, y1, x2, y2 = where(picture, class_color(label))
    assert y2 - y1 >= 10  # a whole plate, not its remains
    assert x2 - x1 >= 15


def test_broken_numbers_do_not_stop_a_run(image):
    boxes = [[np.nan] * 4, [-np.inf, 0, np.inf, 9], [1e30, -1e30, 1e30, 1e30]]
    assert draw_boxes(image, boxes, [0, 1, 99], CLASSES, [0.1, np.nan, 0.2]).shape == image.shape


def test_no_objects_give_the_same_picture(image):
    picture = draw_boxes(image, np.zeros((0, 4)), np.zeros(0, int), CLASSES, np.zeros(0))
    np.testing.assert_array_equal(picture, image)
    assert not np.shares_memory(picture, image)


def test_layout_of_the_array_does_not_matter(image):
    odd = np.ascontiguousarray(image.transpose(2, 1, 0)).transpose(2, 1, 0)
    box = [[3, 3, 40, 40]]
    np.testing.assert_array_equal(draw_boxes(odd, box, [0], CLASSES), draw_boxes(image, box, [0], CLASSES))


def test_best_score_is_on_top():
    image = np.zeros((200, 200, 3), np.uint8)
    box = [50, 50, 150, 150]
    picture = draw_boxes(image, [box, box], [0, 1], ["", ""], [0.9, 0.1])
    sides = picture[70:, 50:150]  # below the names
    assert where(sides, class_color(0)) is not None
    assert where(sides, class_color(1)) is None


def test_names_do_not_hide_each_other():
    image = np.zeros((200, 300, 3), np.uint8)
    box = [100, 80, 220, 150]
    both = draw_boxes(image, [box, box], [0, 1], ["first", "second"], [0.9, 0.8])
    plates = [(both == np.array(class_color(label))).all(-1).sum() for label in (0, 1)]
    alone = draw_boxes(image, [box], [1], ["first", "second"], [0.8])
    assert min(plates) > 0.5 * (alone[:80] == np.array(class_color(1))).all(-1).sum() > 100


def test_names_beyond_ascii_are_written():
    image = np.zeros((100, 300, 3), np.uint8)
    plates = [draw_boxes(image, [[10, 40, 200, 90]], [0], [name]) for name in ("Mull", "Müll", "????")]
    assert all((a != b).any() for a, b in itertools.combinations(plates, 2))
