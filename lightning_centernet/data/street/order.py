"""Who is painted before whom: far to near, judged by what each thing covers of the ground."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.street.world import Thing

_CORNERS = np.array([(0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)])  # shares of length and width


def paint_order(things: Sequence[Thing]) -> list[int]:
    """Return the things' indices so that none is painted over by what lies behind it.

    Distance alone fails for a long bus and somebody beside it. Where a side of one footprint separates two, the one
    on the camera's side of it is painted later; what no side settles goes by distance.
    """
    if not things:
        return []
    distance = [-math.hypot(thing.location[0], thing.location[2]) for thing in things]
    bits = np.packbits(_must_follow(_footprints(things)), axis=1, bitorder="little")
    follows = [int.from_bytes(row.tobytes(), "little") for row in bits]  # bit j of i: i is painted after j
    waiting, unpainted, order = sorted(range(len(things)), key=distance.__getitem__), (1 << len(things)) - 1, []
    while waiting:  # the farthest that waits for nobody; in a circle, the farthest
        pick = next((index for index in waiting if not follows[index] & unpainted), waiting[0])
        waiting.remove(pick)
        unpainted &= ~(1 << pick)
        order.append(pick)
    return order


def _footprints(things: Sequence[Thing]) -> NDArray[np.float64]:
    """Return the corners (n, 4, 2), x and z, of the things' bottoms."""
    sizes = np.array([(thing.dimensions[2], thing.dimensions[1]) for thing in things])
    places = np.array([(thing.location[0], thing.location[2]) for thing in things])
    angles = np.array([thing.rotation_y for thing in things])
    cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
    forward, left = (sizes[:, None] * _CORNERS).transpose(2, 0, 1)
    corners = np.stack([forward * cosine + left * sine, left * cosine - forward * sine], axis=2)
    footprints: NDArray[np.float64] = corners + places[:, None]
    return footprints


def _must_follow(corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (n, n): whether the first must be painted after the second."""
    sides = np.roll(corners, -1, axis=1) - corners
    outward = np.stack([-sides[..., 1], sides[..., 0]], axis=2)
    centre = corners.mean(1, keepdims=True)
    outward *= np.sign((outward * (corners - centre)).sum(2, keepdims=True))
    level = (outward * corners).sum(2)
    beyond = (np.einsum("ask,bck->asbc", outward, corners) >= level[:, :, None, None] - 1e-6).all(3)
    camera_beyond = (level < 0)[:, :, None]
    nearer = (beyond & camera_beyond).any(1)  # [a, b]: b stands on the camera's side of a
    farther = (beyond & ~camera_beyond).any(1)  # [a, b]: b stands behind a
    follows, precedes = nearer.T | farther, nearer | farther.T
    must: NDArray[np.bool_] = follows & ~precedes
    return must
