"""Poses in the image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_centernet.draw.canvas import FINE, SHADOW, Color, Floats, Picture, draw_lines, fixed_point, host
from lightning_centernet.draw.clipping import in_pixels, visible_parts
from lightning_centernet.skeleton import Skeleton

_SIDES: dict[int, Color] = {1: (0, 170, 255), -1: (255, 140, 0), 0: (235, 235, 90)}  # one, the other, both or neither


def draw_skeletons(image: Picture, keypoints: ArrayLike, skeleton: Skeleton | None = None) -> Picture:
    """Draw joints, and limbs between them: one side of the body in blue, the other in orange, the middle in yellow.

    Visible joints are discs, hidden ones rings with thin limbs.

    Args:
        image: (H, W, 3) uint8 RGB.
        keypoints: (n, J, 3) x and y in pixels of `image`, and visibility 2, 1 (hidden) or 0 (there is none).
        skeleton: the limbs, and which joints are of different sides; None for joints alone.
    """
    canvas: Picture = image.copy()
    poses = host(keypoints)
    pairs, sides = _limbs(skeleton), _sides(skeleton, poses.shape[1])
    for pose in poses:
        known = (pose[:, 2] > 0) & np.isfinite(pose).all(-1)
        if known.any():
            width = _width(pose[known, :2], image)
            _draw_limbs(canvas, pose, pairs[known[pairs].all(-1)], sides, width)
            _draw_joints(canvas, pose[known], sides[known], width)
    return canvas


def _limbs(skeleton: Skeleton | None) -> NDArray[np.int64]:
    edges = skeleton.edges if skeleton else ()
    numbers = [[skeleton.names.index(name) for name in edge] for edge in edges] if skeleton else []
    return np.array(numbers, dtype=np.int64).reshape(-1, 2)


def _sides(skeleton: Skeleton | None, joints: int) -> NDArray[np.int64]:
    """Tell the joints of a mirrored pair apart: 1 and -1; 0 in the middle."""
    other = skeleton.flip if skeleton else range(joints)
    return np.asarray(np.sign(np.array(other) - np.arange(joints)), dtype=np.int64)


def _width(points: Floats, image: Picture) -> int:
    """Choose the width of limbs: thinner for small people, or nothing of them would be seen."""
    extent = float(np.ptp(points, axis=0).max())
    return int(np.clip(extent / 50, 1, max(1, min(image.shape[:2]) / 160)))


def _draw_limbs(canvas: Picture, pose: Floats, pairs: NDArray[np.int64], sides: NDArray[np.int64], width: int) -> None:
    segments, kept = visible_parts(in_pixels(pose[pairs, :2]), canvas.shape)
    hidden = (pose[pairs[kept], 2] < 2).any(-1)
    colors = [_SIDES[side] for side in np.sign(sides[pairs[kept]].sum(-1)).tolist()]
    for thin in (True, False):
        chosen = np.flatnonzero(hidden == thin)
        draw_lines(canvas, segments[chosen], [colors[index] for index in chosen], 1 if thin else width)


def _draw_joints(canvas: Picture, joints: Floats, sides: NDArray[np.int64], width: int) -> None:
    height, length = canvas.shape[:2]
    inside = ((joints[:, :2] >= 0) & (joints[:, :2] <= (length, height))).all(-1)
    radius = 1 + 0.75 * width
    for x, y, visibility, side in np.column_stack([joints, sides])[inside].tolist():
        center = tuple(fixed_point(np.array([x, y])).tolist())
        sizes = fixed_point(np.array([radius + 1, radius, max(radius - 1, 1)]) + 0.5).tolist()
        cv2.circle(canvas, center, sizes[0], SHADOW, cv2.FILLED, **FINE)
        cv2.circle(canvas, center, sizes[1], _SIDES[int(side)], cv2.FILLED, **FINE)
        if visibility < 2:
            cv2.circle(canvas, center, sizes[2], SHADOW, cv2.FILLED, **FINE)
