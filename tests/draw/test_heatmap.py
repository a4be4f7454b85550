"""Heat maps over pictures."""

import numpy as np
import pytest

from lightning_centernet.draw import draw_heatmap


@pytest.mark.filterwarnings("error")
def test_broken_heat(image):
    heat = np.array([[[np.nan, 1.0], [0.0, 0.5]]])
    whole = np.array([[[0.0, 1.0], [0.0, 0.5]]])
    np.testing.assert_array_equal(draw_heatmap(image, heat), draw_heatmap(image, whole))


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


def test_picture_stays_as_it_is_in_any_layout(image):
    before = image.copy()
    odd = np.ascontiguousarray(image.transpose(2, 1, 0)).transpose(2, 1, 0)
    np.testing.assert_array_equal(draw_heatmap(odd, np.eye(4)[None]), draw_heatmap(image, np.eye(4)[None]))
    np.testing.assert_array_equal(image, before)
