"""3D boxes in the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lightning_centernet.draw.canvas import Color, Floats, Picture, colors_of, draw_lines, host
from lightning_centernet.draw.clipping import visible_parts
from lightning_centernet.draw.names import write_names
from lightning_centernet.geometry.boxes3d import corners

_EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
_CROSS = ((0, 5), (1, 4))  # on the front
_SMALL = 32  # pixels: smaller boxes have no dark rims, which would fill them


def draw_boxes3d(
    image: Picture, objects: Mapping[str, ArrayLike], calibration: ArrayLike, classes: Sequence[str]
) -> Picture:
    """Draw the edges of 3D boxes in their class's colour, the nearest on top, a cross on the front; write the names.

    What lies behind the camera is cut off, and boxes with numbers that are not finite are left out.

    Args:
        image: (H, W, 3) uint8 RGB.
        objects: `location` (n, 3), `dimensions` (n, 3), `rotation_y` (n,), `labels` (n,), and `scores` (n,) if there
            are any; as in `types`.
        calibration: (3, 4), the camera's frame to pixels of `image`.
        classes: names; a label beyond them is written as a number.
    """
    picture, hulls = outline_boxes3d(image, objects, calibration)
    scores = objects.get("scores")
    return write_names(picture, hulls, objects["labels"], classes, scores)


def outline_boxes3d(image: Picture, objects: Mapping[str, ArrayLike], calibration: ArrayLike) -> tuple[Picture, Floats]:
    """Draw 3D boxes without names; return the picture, and hulls (n, 4) in it, NaN where nothing is to be seen."""
    canvas: Picture = image.copy()
    matrix, points, colors = host(calibration), box_corners(objects), colors_of(objects["labels"])
    homogeneous = points @ matrix[:, :3].T + matrix[:, 3]
    hulls = np.full((len(colors), 4), np.nan)
    for index in np.argsort(-points[..., 2].mean(-1), kind="stable"):
        ends, kept = visible_parts(homogeneous[index, [*_EDGES, *_CROSS]], image.shape)
        if len(ends):
            low, high = ends.min((0, 1)), ends.max((0, 1))
            hulls[index] = [*low, *high]
            _draw_edges(canvas, ends, kept, colors[index], extent=float((high - low).min()))
    hulls[~_reaches_into(hulls, image.shape)] = np.nan
    return canvas, hulls


def box_corners(objects: Mapping[str, ArrayLike]) -> Floats:
    """Compute the corners (n, 8, 3) of 3D boxes, as `geometry.boxes3d.corners`; NaN where a number is not finite."""
    fields = [torch.from_numpy(host(objects[name])) for name in ("location", "dimensions", "rotation_y")]
    points = corners(*fields).numpy()
    return np.where(np.isfinite(points).all((1, 2), keepdims=True), points, np.nan)


def _draw_edges(canvas: Picture, ends: Floats, kept: NDArray[np.bool_], color: Color, extent: float) -> None:
    width = max(1, min(round(min(canvas.shape[:2]) / 250), round(extent / 30)))
    edges = int(kept[: len(_EDGES)].sum())
    draw_lines(canvas, ends[edges:], [color] * (len(ends) - edges), max(1, width // 2), rim=0)
    draw_lines(canvas, ends[:edges], [color] * edges, width, rim=int(extent > _SMALL))


def _reaches_into(hulls: Floats, size: tuple[int, ...]) -> NDArray[np.bool_]:
    height, width = size[:2]
    return np.asarray((hulls[:, :2] < (width, height)).all(-1) & (hulls[:, 2:] > 0).all(-1))
