"""3D boxes from above."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from lightning_centernet.draw.boxes3d import box_corners
from lightning_centernet.draw.canvas import (
    FINE,
    INK,
    PAPER,
    Color,
    Floats,
    Picture,
    colors_of,
    fixed_point,
    font,
    host,
    text_size,
)
from lightning_centernet.draw.names import best_last
from lightning_centernet.geometry.camera import unproject

_LEAST, _MOST = 20.0, 120.0  # metres that are shown
_LEAST_SIDE = 384  # pixels
_ROAD: Color = (44, 47, 53)  # what the camera sees
_GRID: Color = (70, 74, 82)
_NUMBERS: Color = (150, 155, 165)
_OPACITY = 0.45  # of what fills a box


def draw_above(
    objects: Mapping[str, ArrayLike],
    calibration: ArrayLike,
    image_size: tuple[int, int],
    truth: Mapping[str, ArrayLike] | None = None,
) -> Picture:
    """Draw the footprints of 3D boxes as seen from above: the camera is at the bottom, and looks up.

    Boxes are filled with their class's colour, a line shows where they head; true ones are white outlines. The field
    of view is lighter, lines are at even distances in metres. It reaches as far as the objects, from 20 to 120 metres;
    those outside are counted in a corner.

    Args:
        objects: `location` (n, 3), `dimensions` (n, 3), `rotation_y` (n,), `labels` (n,), as in `types`, and `scores`
            (n,) if there are any: the best are on top. Rows with numbers that are not finite are left out.
        calibration: (3, 4), the camera's frame to pixels of the image.
        image_size: height and width of that image; this one is a square of the same height, if that is not too small.
        truth: annotated objects, to compare.
    """
    found, true = _footprints(objects), _footprints(truth or {})
    reach = _reach(np.concatenate([found.outlines, true.outlines]))
    ground = _Ground(reach, side=max(image_size[0], _LEAST_SIDE))
    canvas = _paper(ground, host(calibration), image_size)
    for outline in true.outlines:
        _outline(canvas, ground, outline, INK)
    for outline, color in zip(found.outlines, found.colors, strict=True):
        _fill(canvas, ground, outline, color)
        _outline(canvas, ground, outline, color)
    outside = int((~ground.holds(found.outlines)).sum())
    return _write_numbers(canvas, ground, outside)


@dataclass(frozen=True)
class _Footprints:
    outlines: Floats  # (n, 4, 2) x and z of front left, front right, back right, back left
    colors: list[Color]


@dataclass(frozen=True)
class _Ground:
    """A square of the ground: as far as `reach` metres, on `side` pixels."""

    reach: float
    side: int

    @property
    def scale(self) -> float:
        """Pixels in a metre; there is a margin at the top, for a number, and below the camera."""
        return 0.92 * self.side / self.reach

    @property
    def step(self) -> float:
        """Metres between lines."""
        return next(step for step in (5.0, 10.0, 20.0) if self.reach / step <= 6)

    @property
    def line(self) -> int:
        """Width of lines in pixels."""
        return max(1, round(self.side / 400))

    def pixels(self, points: Floats) -> Floats:
        """Place points (..., 2) of x and z."""
        camera = np.array([self.side / 2, 0.97 * self.side])
        limit = 8.0 * self.side
        return np.asarray((camera + points * (self.scale, -self.scale)).clip(-limit, limit))

    def holds(self, outlines: Floats) -> NDArray[np.bool_]:
        """Tell which outlines (n, 4, 2) are in the picture, at least in part."""
        pixels = self.pixels(outlines)
        return np.asarray(((pixels.max(1) > 0) & (pixels.min(1) < self.side)).all(-1))


def _footprints(objects: Mapping[str, ArrayLike]) -> _Footprints:
    if not objects:
        return _Footprints(np.zeros((0, 4, 2)), [])
    outlines = box_corners(objects)[:, :4, [0, 2]]
    rows = [row for row in best_last(len(outlines), objects.get("scores")) if np.isfinite(outlines[row]).all()]
    return _Footprints(outlines[rows], colors_of(np.asarray(objects["labels"])[rows]))


def _reach(outlines: Floats) -> float:
    x, z = outlines[..., 0], outlines[..., 1]
    farthest = np.maximum(z, 2 * np.abs(x)).max(initial=_LEAST)
    return float(min(np.ceil(farthest / 10) * 10, _MOST))


def _paper(ground: _Ground, calibration: Floats, image_size: tuple[int, int]) -> Picture:
    """Draw the grid and the field of view."""
    height, width = image_size
    canvas: Picture = np.full((ground.side, ground.side, 3), PAPER, np.uint8)
    sides = torch.tensor([[0.0, height / 2], [0.0, height / 2], [width, height / 2]], dtype=torch.float64)
    depth = torch.tensor([0, 3 * ground.reach, 3 * ground.reach], dtype=torch.float64)  # 0: the camera itself
    wedge = unproject(sides, depth, torch.from_numpy(calibration)).numpy()[:, [0, 2]]
    cv2.fillConvexPoly(canvas, fixed_point(ground.pixels(wedge)), _ROAD, **FINE)
    lines = np.arange(0, 1.05 * ground.reach, ground.step)
    for row in np.rint(ground.pixels(np.stack([lines, lines], -1))[:, 1]).astype(int).tolist():
        cv2.line(canvas, (0, row), (ground.side, row), _GRID, ground.line)
    for column in np.rint(ground.pixels(np.stack([[*lines, *-lines]] * 2, -1))[:, 0]).astype(int).tolist():
        cv2.line(canvas, (column, 0), (column, ground.side), _GRID, ground.line)
    cv2.polylines(canvas, [fixed_point(ground.pixels(wedge))], True, _NUMBERS, ground.line, **FINE)
    return canvas


def _fill(canvas: Picture, ground: _Ground, outline: Floats, color: Color) -> None:
    layer = canvas.copy()
    cv2.fillConvexPoly(layer, fixed_point(ground.pixels(outline)), color, **FINE)
    cv2.addWeighted(layer, _OPACITY, canvas, 1 - _OPACITY, 0, dst=canvas)


def _outline(canvas: Picture, ground: _Ground, outline: Floats, color: Color) -> None:
    middle, front = outline.mean(0), outline[:2].mean(0)
    heading = np.stack([middle, front + 0.5 * (front - middle)])
    for points, closed in ((outline, True), (heading, False)):
        cv2.polylines(canvas, [fixed_point(ground.pixels(points))], closed, color, ground.line, **FINE)


def _write_numbers(canvas: Picture, ground: _Ground, outside: int) -> Picture:
    image = Image.fromarray(canvas)
    pen, letters = ImageDraw.Draw(image), font(text_size(canvas.shape))
    for distance in np.arange(ground.step, ground.reach + 1, ground.step):
        row = ground.pixels(np.array([0, distance]))[1]
        pen.text((3, row - 1), f"{distance:.0f} m", _NUMBERS, letters, anchor="lb")
    if outside:
        pen.text((ground.side - 3, ground.side - 3), f"{outside} outside", INK, letters, anchor="rb")
    return np.array(image)
