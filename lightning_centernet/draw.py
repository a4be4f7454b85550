"""Pictures of boxes and heat maps. Every function returns a new image, (H, W, 3) uint8 RGB."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

Picture: TypeAlias = NDArray[np.uint8]
Color: TypeAlias = tuple[int, int, int]

GRAY: Color = (150, 150, 150)  # regions of no class
PAPER: Color = (24, 26, 30)  # behind titles and round panels
INK: Color = (235, 235, 235)
SHADOW: Color = (0, 0, 0)
MARGIN = 64  # pixels; sides further outside the image than this are as invisible


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
    limit = np.array(image.shape[1::-1] * 2) + MARGIN
    corners = np.nan_to_num(np.asarray(boxes, dtype=np.float64)).reshape(-1, 4).clip(-MARGIN, limit)
    names = [_name(label, classes) for label in np.asarray(labels).tolist()]
    colors = [class_color(label) for label in np.asarray(labels).tolist()]
    order = np.arange(len(corners))
    if scores is not None:
        values = np.asarray(scores, dtype=np.float64)
        names = [f"{name} {value:.2f}" for name, value in zip(names, values, strict=True)]
        order = np.argsort(values, kind="stable")
    canvas = Image.fromarray(image)
    for index in order:
        _outline(canvas, corners[index], colors[index])
    for index in order:
        _label(canvas, corners[index], names[index], colors[index])
    return np.array(canvas)


def draw_heatmap(image: Picture, heatmap: ArrayLike) -> Picture:
    """Lay a heat map over the dimmed, gray image; each class glows in its own colour.

    Args:
        image: (H, W, 3) uint8 RGB.
        heatmap: (C, h, w) in [0, 1] over the same view, of any size.
    """
    heat = np.nan_to_num(np.asarray(heatmap, dtype=np.float32))
    palette = np.array([class_color(label) for label in range(len(heat))], dtype=np.float32)
    height, width = image.shape[:2]
    glow = cv2.resize(palette[heat.argmax(0)] * heat.max(0)[..., None], (width, height), interpolation=cv2.INTER_LINEAR)
    veil = cv2.resize(heat.max(0), (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] * np.float32(0.45)
    blend: NDArray[np.float32] = gray * (1 - veil) + glow
    return blend.clip(0, 255).astype(np.uint8)


def side_by_side(panels: Mapping[str, Picture]) -> Picture:
    """Put titled images in a row."""
    height = max(panel.shape[0] for panel in panels.values())
    width = sum(panel.shape[1] for panel in panels.values())
    size = max(_text_size(panel.shape[:2]) for panel in panels.values())
    gap, band = size // 2, 2 * size
    canvas = Image.new("RGB", (width + gap * (len(panels) + 1), height + band + gap), PAPER)
    left = gap
    for title, panel in panels.items():
        canvas.paste(Image.fromarray(panel), (left, band))
        ImageDraw.Draw(canvas).text((left, band / 2), title, INK, _font(size), anchor="lm")
        left += panel.shape[1] + gap
    return np.array(canvas)


def class_color(label: int) -> Color:
    """Return a class's colour: the same in every picture, and far from those of the labels nearby."""
    if label < 0:
        return GRAY
    hue = (0.33 + label * 0.618034) % 1  # steps of the golden ratio never come close to a recent hue
    lightness = (0.55, 0.70, 0.42)[label // 8 % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return round(red * 255), round(green * 255), round(blue * 255)


def _name(label: int, classes: Sequence[str]) -> str:
    if label < 0:
        return "ignored"
    return classes[label] if label < len(classes) else str(label)


def _text_size(shape: tuple[int, ...]) -> int:
    """Choose the height of text, in pixels, for an image of this height and width."""
    return max(10, round(min(shape[:2]) / 32))


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)  # OpenCV's own letters are ASCII only


def _outline(canvas: Image.Image, box: NDArray[np.float64], color: Color) -> None:
    line = max(1, round(min(canvas.size) / 200))
    x1, y1, x2, y2 = np.rint(box).tolist()
    x2, y2 = max(x1, x2 - 1), max(y1, y2 - 1)
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=SHADOW, width=line + 2)
    pen.rectangle((x1, y1, x2, y2), outline=color, width=line)


def _label(canvas: Image.Image, box: NDArray[np.float64], text: str, color: Color) -> None:
    """Write on a plate above the box, or inside it at the image's upper edge."""
    size = _text_size(canvas.size)
    pen, font = ImageDraw.Draw(canvas), _font(size)
    width, height = round(pen.textlength(text, font)) + size // 2, size + size // 3
    above = round(box[1]) - height
    x = max(0, min(round(box[0]), canvas.width - width))
    y = max(0, min(above if above >= 0 else round(box[1]), canvas.height - height))
    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
    pen.text((x + width / 2, y + height / 2), text, _contrasting(color), font, anchor="mm")


def _contrasting(color: Color) -> Color:
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else (255, 255, 255)
