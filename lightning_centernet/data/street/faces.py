"""Flat convex polygons in space: the one primitive everything on the street is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_centernet.data.street.world import Thing

Floats = NDArray[np.float64]

CORNERS = 12  # every polygon has as many: one with fewer repeats its last
_NEXT, _LAST = [1, 2, 0], [2, 0, 1]
_ANGLES = -2 * np.pi * (np.arange(CORNERS) + 0.5) / CORNERS
_COSINE, _SINE = np.cos(_ANGLES)[:, None], np.sin(_ANGLES)[:, None]


class Faces(NamedTuple):
    """Polygons in the order they are painted; the cross product of a polygon's first two sides points outwards.

    `points` (F, CORNERS, 3); `colours` (F, 3), the share of light reflected; `glow` (F,), how much they shine.
    """

    points: Floats
    colours: Floats
    glow: Floats


def make_faces(polygons: Floats, colours: ArrayLike, glow: ArrayLike = 0.0) -> Faces:
    """Build faces from polygons (F, n, 3), n from 3 to CORNERS, with one colour (3,) or one for each (F, 3)."""
    count, corners = polygons.shape[:2]
    points = polygons if corners == CORNERS else polygons[:, np.minimum(np.arange(CORNERS), corners - 1)]
    shades = np.empty((count, 3))
    shades[:] = colours
    shine = np.empty(count)
    shine[:] = glow
    return Faces(points, shades, shine)


def join(parts: Sequence[Faces]) -> Faces:
    """Put several lists of faces one after the other."""
    return Faces(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def cross(one: Floats, other: Floats) -> Floats:
    """Return the cross products of vectors (..., 3): what `np.cross` does, a few times faster for a few vectors."""
    product: Floats = one[..., _NEXT] * other[..., _LAST] - one[..., _LAST] * other[..., _NEXT]
    return product


def frustum(bottom: tuple[float, float, float], top: tuple[float, float, float], y: tuple[float, float]) -> Floats:
    """Return the sides and top (5, 4, 3) of a block: right, front, left, back, top; each starts at its bottom.

    `bottom` and `top` are the x of the back, the x of the front and the half width; `y` the heights of the two.
    """
    corners = [
        [(back, level, -half), (front, level, -half), (front, level, half), (back, level, half)]
        for (back, front, half), level in zip((bottom, top), y, strict=True)
    ]
    low, high = np.array(corners)
    after = [1, 2, 3, 0]
    sides = np.stack([low, low[after], high[after], high], axis=1)
    return np.concatenate([sides, high[None]])


def inset(quads: Floats, across: tuple[float, float], up: tuple[float, float]) -> Floats:
    """Return the parts (..., 4, 3) of quads (..., 4, 3) between two shares of their width and of their height."""
    (left, right), (low, high) = across, up
    shares = np.array([(left, low), (right, low), (right, high), (left, high)])
    u, v = shares[:, :1], shares[:, 1:]
    weights = np.concatenate([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v], axis=1)
    return weights @ quads


def discs(centres: ArrayLike, radius: tuple[float, float], side: float) -> Floats:
    """Return discs (F, CORNERS, 3) upright along x, of two radii in x and y, that face `side` * z."""
    circle = np.stack([radius[0] * np.cos(_ANGLES), -side * radius[1] * np.sin(_ANGLES), 0 * _ANGLES], axis=1)
    return np.asarray(centres, np.float64)[:, None] + circle


def capsules(starts: Floats, ends: Floats, radii: ArrayLike) -> Floats:
    """Return the outlines (F, CORNERS, 3) that a viewer at the origin sees of round-ended rods (a ball: start = end).

    Args:
        starts: (F, 3).
        ends: (F, 3).
        radii: (F,) metres.
    """
    sight = starts + ends
    sight /= np.sqrt((sight * sight).sum(1, keepdims=True))
    axis = ends - starts + (0.0, 1e-6, 0.0)
    axis -= (axis * sight).sum(1, keepdims=True) * sight
    axis /= np.sqrt((axis * axis).sum(1, keepdims=True))
    rim = (_COSINE * axis[:, None] + _SINE * cross(sight, axis)[:, None]) * np.asarray(radii, np.float64)[:, None, None]
    points: Floats = np.where(_COSINE > 0, ends[:, None], starts[:, None]) + rim
    return points


def place(points: Floats, thing: Thing) -> Floats:
    """Take points (..., 3) from the thing's own frame (x forward, y down, z left, origin at its location) to ours."""
    cosine, sine = np.cos(thing.rotation_y), np.sin(thing.rotation_y)
    turn = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])  # for rows: points @ R^T
    placed: Floats = points @ turn + thing.location
    return placed
