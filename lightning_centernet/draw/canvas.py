"""What all pictures share: colours, text, lines, and panels in a row."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

Picture: TypeAlias = NDArray[np.uint8]
Color: TypeAlias = tuple[int, int, int]
Floats: TypeAlias = NDArray[np.float64]

GRAY: Color = (150, 150, 150)  # regions of no class
PAPER: Color = (24, 26, 30)  # behind titles and round panels
INK: Color = (235, 235, 235)
SHADOW: Color = (0, 0, 0)
_LONGEST = 7  # heights of a row of panels
_SUBPIXELS = 4  # bits: OpenCV takes fixed-point numbers


def side_by_side(panels: Mapping[str, Picture]) -> Picture:
    """Put titled images in a row, or in several where one would be too long."""
    size = max(text_size(panel.shape[:2]) for panel in panels.values())
    rows = [_row(row, size) for row in _rows(panels)]
    canvas = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), PAPER)
    top = 0
    for row in rows:
        canvas.paste(row, (0, top))
        top += row.height
    return np.array(canvas)


def _rows(panels: Mapping[str, Picture]) -> list[dict[str, Picture]]:
    longest = _LONGEST * max(panel.shape[0] for panel in panels.values())
    rows, length = [dict[str, Picture]()], 0
    for title, panel in panels.items():
        if rows[-1] and length + panel.shape[1] > longest:
            rows, length = [*rows, {}], 0
        rows[-1][title] = panel
        length += panel.shape[1]
    return rows


def _row(panels: Mapping[str, Picture], size: int) -> Image.Image:
    height = max(panel.shape[0] for panel in panels.values())
    width = sum(panel.shape[1] for panel in panels.values())
    gap, band = size // 2, 2 * size
    canvas = Image.new("RGB", (width + gap * (len(panels) + 1), height + band + gap), PAPER)
    left = gap
    for title, panel in panels.items():
        canvas.paste(Image.fromarray(panel), (left, band))
        ImageDraw.Draw(canvas).text((left, band / 2), title, INK, font(size), anchor="lm")
        left += panel.shape[1] + gap
    return canvas


def class_color(label: int) -> Color:
    """Return a class's colour: the same in every picture, and far from those of the labels nearby."""
    if label < 0:
        return GRAY
    hue = (0.33 + label * 0.618034) % 1  # steps of the golden ratio never come close to a recent hue
    lightness = (0.55, 0.70, 0.42)[label // 8 % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return round(red * 255), round(green * 255), round(blue * 255)


def colors_of(labels: ArrayLike) -> list[Color]:
    """Return the colours of classes."""
    return [class_color(label) for label in np.asarray(labels).tolist()]


def host(values: ArrayLike) -> Floats:
    """Return numbers, or a tensor on the host, in double precision."""
    return np.asarray(values, dtype=np.float64)


def text_size(shape: tuple[int, ...]) -> int:
    """Choose the height of text, in pixels, for an image of this height and width."""
    return max(10, round(min(shape[:2]) / 32))


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Load a font that has more than ASCII's letters, which OpenCV's own have not."""
    return ImageFont.load_default(size)


def fixed_point(points: Floats) -> NDArray[np.int32]:
    """Turn continuous pixels into OpenCV's, which count from the middle of the first pixel."""
    return np.asarray(np.rint((points - 0.5) * 2**_SUBPIXELS), dtype=np.int32)


FINE: dict[str, Any] = {"lineType": cv2.LINE_AA, "shift": _SUBPIXELS}  # how OpenCV draws what is in fixed point


def draw_lines(canvas: Picture, segments: Floats, colors: Sequence[Color], width: int, rim: int = 1) -> None:
    """Draw segments (n, 2, 2) onto a canvas, all with one dark rim."""
    ends = [[tuple(point) for point in segment] for segment in fixed_point(segments).tolist()]
    for start, end in ends if rim else ():
        cv2.line(canvas, start, end, SHADOW, width + 2 * rim, **FINE)
    for (start, end), color in zip(ends, colors, strict=True):
        cv2.line(canvas, start, end, color, width, **FINE)
