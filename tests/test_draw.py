"""Pictures: what must be seen is there, what must not be touched is not."""

import itertools

import numpy as np
import pytest

from lightning_centernet.draw import GRAY, class_color, draw_boxes, draw_heatmap, side_by_side

CLASSES = ("car", "Fußgänger", "a very long name of a class that is wider than the whole picture")


@pytest.fixture(params=[(48, 64), (240, 320), (701, 1333)], ids=str)
def image(request):
    return np.random.default_rng(0).integers(0, 256, (*request.param, 3), dtype=np.uint8)


def where(picture, color):
    """Return the extent x1, y1, x2, y2 of all pixels of one colour, or None."""
    rows, columns = np.nonzero((picture == np.array(color)).all(-1))
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None


def test_box_edges_lie_on_the_box():
    image = np.full((300, 400, 3), 128, np.uint8)
    picture = draw_boxes(image, [[100, 120, 250, 220]], [0], [""])
    x1, y1, x2, y2 = where(picture[120:], class_color(0))
    assert (x1, y1 + 120, x2, y2 + 120) == (100, 120, 250, 220)
    assert (picture[140:200, 110:240] == 128).all()


def test_input_is_not_modified(image):
    before = image.copy()
    draw_boxes(image, [[2, 2, 30, 30]], [0], CLASSES, [0.5])
    draw_heatmap(image, np.ones((2, 4, 5)))
    side_by_side({"one": image, "two": image})
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


@pytest.mark.filterwarnings("error")
def test_broken_heat(image):
    heat = np.array([[[np.nan, 1.0], [0.0, 0.5]]])
    whole = np.array([[[0.0, 1.0], [0.0, 0.5]]])
    np.testing.assert_array_equal(draw_heatmap(image, heat), draw_heatmap(image, whole))


def test_no_objects_give_the_same_picture(image):
    picture = draw_boxes(image, np.zeros((0, 4)), np.zeros(0, int), CLASSES, np.zeros(0))
    np.testing.assert_array_equal(picture, image)
    assert not np.shares_memory(picture, image)


def test_layout_of_the_array_does_not_matter(image):
    odd = np.ascontiguousarray(image.transpose(2, 1, 0)).transpose(2, 1, 0)
    for draw in (lambda x: draw_boxes(x, [[3, 3, 40, 40]], [0], CLASSES), lambda x: draw_heatmap(x, np.eye(4)[None])):
        np.testing.assert_array_equal(draw(odd), draw(image))


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


def test_colors_are_stable_and_apart():
    colors = np.array([class_color(label) for label in range(200)], dtype=float)
    assert class_color(-1) == GRAY
    assert len({tuple(color) for color in colors}) == 200
    for start in range(190):  # neighbours in the list of classes are never alike
        near = colors[start : start + 8]
        distance = np.linalg.norm(near[:, None] - near[None], axis=-1) + 1e3 * np.eye(len(near))
        assert distance.min() > 25


def test_heat_glows_where_it_is():
    image = np.full((80, 160, 3), 200, np.uint8)
    heat = np.zeros((3, 20, 40))
    heat[1, 5, 30] = 1
    picture = draw_heatmap(image, heat).astype(int)
    saturation = picture.max(-1) - picture.min(-1)
    rows, columns = np.nonzero(saturation == saturation.max())
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == (22, 122)  # the middle of cell (5, 30), four pixels a cell
    assert (saturation[:10] == 0).all()
    assert 0 < picture[0, 0, 0] < 200  # dimmed, not black


def test_panels_keep_their_pixels(image):
    other = image[: len(image) // 2]
    picture = side_by_side({"left": image, "right": other})
    height, width = image.shape[:2]
    size = (picture.shape[1] - 2 * width) // 3
    band = picture.shape[0] - height - size
    np.testing.assert_array_equal(picture[band : band + height, size : size + width], image)
    np.testing.assert_array_equal(picture[band : band + len(other), 2 * size + width : 2 * (size + width)], other)
    assert len(np.unique(picture[:band].reshape(-1, 3), axis=0)) > 1  # the titles
