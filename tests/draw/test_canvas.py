"""Colours, and panels in a row."""

import numpy as np

from lightning_centernet.draw import GRAY, class_color, side_by_side
from tests.draw.pixels import where


def test_colors_are_stable_and_apart():
    colors = np.array([class_color(label) for label in range(200)], dtype=float)
    assert class_color(-1) == GRAY
    assert len({tuple(color) for color in colors}) == 200
    for start in range(190):  # neighbours in the list of classes are never alike
        near = colors[start : start + 8]
        distance = np.linalg.norm(near[:, None] - near[None], axis=-1) + 1e3 * np.eye(len(near))
        assert distance.min() > 25


def test_panels_keep_their_pixels(image):
    other = image[: len(image) // 2]
    picture = side_by_side({"left": image, "right": other})
    height, width = image.shape[:2]
    size = (picture.shape[1] - 2 * width) // 3
    band = picture.shape[0] - height - size
    np.testing.assert_array_equal(picture[band : band + height, size : size + width], image)
    np.testing.assert_array_equal(picture[band : band + len(other), 2 * size + width : 2 * (size + width)], other)
    assert len(np.unique(picture[:band].reshape(-1, 3), axis=0)) > 1  # the titles


def test_long_rows_are_broken():
    panels = {str(number): np.full((100, 300, 3), number, np.uint8) for number in range(50, 53)}
    picture = side_by_side(panels)
    first, second, third = (where(picture, (number,) * 3) for number in range(50, 53))
    assert first[1] == second[1] < third[1]
    assert first[0] == third[0] < second[0]
    for x1, y1, x2, y2 in (first, second, third):
        assert (x2 - x1, y2 - y1) == (300, 100)
