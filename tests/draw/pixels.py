"""Find colours in pictures."""

import numpy as np


def where(picture, color, tolerance=0):
    """Return the extent x1, y1, x2, y2 of all pixels of one colour, or None."""
    rows, columns = np.nonzero(like(picture, color, tolerance))
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None


def like(picture, color, tolerance=0):
    """Tell which pixels have a colour, or nearly."""
    return (np.abs(picture.astype(int) - np.array(color)) <= tolerance).all(-1)


def shows(picture, point, color, reach=2, tolerance=60):
    """Tell if a colour is at a continuous position, within `reach` pixels."""
    x, y = np.floor(point).astype(int)
    near = picture[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    return bool(like(near, color, tolerance).any())
