"""2D boxes in the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from lightning_centernet.draw.canvas import SHADOW, Color, Floats, Picture, colors_of, host
from lightning_centernet.draw.clipping import MARGIN
from lightning_centernet.draw.names import best_last, write_names


def draw_boxes(
    image: Picture, boxes: ArrayLike, labels: ArrayLike, classes: Sequence[str], scores: ArrayLike | None = None
) -> Picture:
    """Outline objects in their class's colour and write the class's name, and the score if there is one.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (n, 4) xyxy in pixels of `image`; parts outside it are cut off.
        labels: (n,) indices into `classes`; -1, a region where nothing counts, is drawn in gray.
        classes: names; a label beyond them is written as a number.
        scores: (n,) in [0, 1]; the best are drawn last, on top.
    """
    picture, corners = outline_boxes(image, boxes, labels, scores)
    return write_names(picture, corners, labels, classes, scores)


def outline_boxes(
    image: Picture, boxes: ArrayLike, labels: ArrayLike, scores: ArrayLike | None = None
) -> tuple[Picture, Floats]:
    """Draw 2D boxes without names; return the picture, and the boxes (n, 4) without what is far outside it."""
    limit = np.array(image.shape[1::-1] * 2) + MARGIN
    corners = np.nan_to_num(host(boxes)).reshape(-1, 4).clip(-MARGIN, limit)
    canvas, colors = Image.fromarray(image), colors_of(labels)
    for index in best_last(len(corners), scores):
        _outline(canvas, corners[index], colors[index])
    return np.array(canvas), corners


def _outline(canvas: Image.Image, box: Floats, color: Color) -> None:
    line = max(1, round(min(canvas.size) / 200))
    x1, y1, x2, y2 = np.rint(box).tolist()
    x2, y2 = max(x1, x2 - 1), max(y1, y2 - 1)
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=SHADOW, width=line + 2)
    pen.rectangle((x1, y1, x2, y2), outline=color, width=line)
