"""The names of objects, on plates beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from lightning_centernet.draw.canvas import Color, Floats, Picture, colors_of, font, text_size

_Plate = tuple[int, int, int, int]


def write_names(
    image: Picture, boxes: Floats, labels: ArrayLike, classes: Sequence[str], scores: ArrayLike | None = None
) -> Picture:
    """Write each object's class, and its score if there is one, at its box.

    A plate takes a free place above, in, or below the box. Where there is none, the best objects' plates are on top,
    and ignored regions have none; nor have objects whose box is NaN.
    """
    kinds = np.asarray(labels).tolist()
    names = [_name(label, classes) for label in kinds]
    if scores is not None:
        names = [f"{name} {score:.2f}" for name, score in zip(names, np.asarray(scores, np.float64), strict=True)]
    canvas, colors, plates = Image.fromarray(image), colors_of(labels), dict[int, _Plate]()
    seen = [index for index in best_last(len(names), scores)[::-1] if np.isfinite(boxes[index]).all()]
    for index in sorted(seen, key=lambda index: kinds[index] < 0):
        places = list(_places(canvas, boxes[index], names[index]))
        free = [place for place in places if not any(_touch(place, plate) for plate in plates.values())]
        if free or kinds[index] >= 0:
            plates[index] = [*free, *places][0]
    for index, plate in reversed(plates.items()):
        _write(canvas, plate, names[index], colors[index])
    return np.array(canvas)


def best_last(count: int, scores: ArrayLike | None) -> list[int]:
    """Order objects so that the best are drawn on top of the others."""
    order = np.arange(count) if scores is None else np.argsort(np.asarray(scores, np.float64), kind="stable")
    numbers: list[int] = order.tolist()
    return numbers


def _name(label: int, classes: Sequence[str]) -> str:
    if label < 0:
        return "ignored"
    return classes[label] if label < len(classes) else str(label)


def _places(canvas: Image.Image, box: Floats, text: str) -> Iterator[_Plate]:
    size = text_size(canvas.size)
    width = round(ImageDraw.Draw(canvas).textlength(text, font(size))) + size // 2
    height = size + size // 3
    x1, y1, x2, y2 = np.rint(box).astype(int).tolist()
    above, inside = (x1, y1 - height), (x1, y1)
    for x, y in (above if above[1] >= 0 else inside, inside, (x2 - width, y1 - height), (x1, y2), (x2 - width, y2)):
        left = max(0, min(x, canvas.width - width))
        top = max(0, min(y, canvas.height - height))
        yield left, top, left + width - 1, top + height - 1


def _touch(one: _Plate, other: _Plate) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _write(canvas: Image.Image, plate: _Plate, text: str, color: Color) -> None:
    pen = ImageDraw.Draw(canvas)
    pen.rectangle(plate, fill=color)
    middle = ((plate[0] + plate[2] + 1) / 2, (plate[1] + plate[3] + 1) / 2)
    pen.text(middle, text, _contrasting(color), font(text_size(canvas.size)), anchor="mm")


def _contrasting(color: Color) -> Color:
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else (255, 255, 255)
