"""What stands along a street and is nobody: buildings, houses, trees, lamp posts, signs, bins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.street.faces import (
    Faces,
    Floats,
    capsules,
    cross,
    frustum,
    inset,
    join,
    make_faces,
    place,
)
from lightning_centernet.data.street.people import cyclist_faces, pedestrian_faces
from lightning_centernet.data.street.vehicles import BUILDS, vehicle_faces
from lightning_centernet.data.street.world import Actor, Thing

_GLASS, _LIT, _DOOR = (0.20, 0.25, 0.31), (0.62, 0.55, 0.42), (0.16, 0.12, 0.10)
_METAL, _BARK = (0.28, 0.29, 0.30), (0.27, 0.20, 0.14)
_STOREY, _SHOP, _BAY = 3.2, 4.0, 3.4  # metres: the height of a storey, of a ground floor with shops; a window's width


def faces_of(thing: Thing) -> Faces:
    """Return the faces of anything that stands on the street, in the order they are painted."""
    if isinstance(thing, Actor):
        return vehicle_faces(thing) if thing.kind in BUILDS else _PEOPLE[thing.category](thing)
    return _SCENERY[thing.kind](thing)


def _block(thing: Thing, taper: float = 1.0) -> Floats:
    height, width, length = thing.dimensions
    bottom = (-length / 2, length / 2, width / 2)
    return place(frustum(bottom, (bottom[0] * taper, bottom[1] * taper, bottom[2] * taper), (0.0, -height)), thing)


def _building(thing: Thing) -> Faces:
    """A block of flats over a row of shops, under a flat roof."""
    storeys = max(1, round((thing.dimensions[0] - _SHOP) / _STOREY))
    return _fronted(thing, _block(thing), storeys, shops=True)


def _house(thing: Thing) -> Faces:
    """A house of two storeys under a hipped roof."""
    height, width, length = thing.dimensions
    eaves, half = 0.62 * height, width / 2
    bottom = (-length / 2, length / 2, half)
    walls = place(frustum(bottom, bottom, (0.0, -eaves)), thing)[:4]
    overhang, ridge = (bottom[0] - 0.1, bottom[1] + 0.1, half + 0.1), (bottom[0] + 1.5, bottom[1] - 1.5, 0.05)
    roof = place(frustum(overhang, ridge, (0.3 - eaves, -height)), thing)
    return join([_fronted(thing, walls, 2, shops=False), make_faces(roof, thing.colours[1])])


def _fronted(thing: Thing, walls: Floats, storeys: int, *, shops: bool) -> Faces:
    """Dress those walls (n, 4, 3) that the camera can see."""
    parts = [make_faces(walls, thing.colours[0])]
    palette = np.array([_GLASS, _LIT, _DOOR, thing.colours[1]])
    normals = cross(walls[:4, 1] - walls[:4, 0], walls[:4, 3] - walls[:4, 0])
    for wall in walls[:4][(normals * walls[:4, 0]).sum(1) < 0]:
        across, up = wall[1] - wall[0], wall[3] - wall[0]
        shares, roles = _front(max(1, round(float(np.abs(across).max()) / _BAY)), storeys, shops)
        panes = wall[0] + shares[..., :1] * across + shares[..., 1:] * up
        parts.append(make_faces(panes, palette[roles], roles == 1))
    return join(parts)


@cache
def _front(bays: int, storeys: int, shops: bool) -> tuple[Floats, NDArray[np.intp]]:
    """Return the panes (n, 4, 2) of a wall as shares of its width and height, and the places of their colours (n,)."""
    ground = _SHOP / (_SHOP + storeys * _STOREY) if shops else 0.08
    rise = (0.94 - ground) / storeys
    rectangles = [  # left, right, low, high, colour
        ((bay + 0.25) / bays, (bay + 0.75) / bays, low, low + 0.55 * rise, int((7 * bay + 5 * storey) % 11 < 4))
        for storey in range(storeys)
        for bay in range(bays)
        for low in (ground + rise * (storey + 0.25),)
    ]
    if shops:
        rectangles += [
            ((bay + 0.1) / bays, (bay + 0.9) / bays, 0.02 * ground, 0.68 * ground, 2 if bay % 3 == 1 else bay % 2)
            for bay in range(bays)
        ]
        rectangles += [(0.02, 0.98, 0.72 * ground, 0.88 * ground, 3), (0.0, 1.0, 0.97, 1.0, 3)]
    values = np.array(rectangles)
    return values[:, [0, 2, 1, 2, 1, 3, 0, 3]].reshape(-1, 4, 2), values[:, 4].astype(np.intp)


_TREE = np.array(  # the trunk's foot, its top, the crown's balls: x, y, z, radius, in shares of the height
    [
        (0.00, -0.02, 0.00, 0.022),
        (0.00, -0.60, 0.00, 0.022),
        (0.00, -0.58, 0.00, 0.19),
        (-0.14, -0.60, 0.10, 0.15),
        (0.15, -0.62, -0.08, 0.15),
        (0.03, -0.72, 0.12, 0.16),
        (-0.06, -0.76, -0.10, 0.15),
        (0.02, -0.84, 0.00, 0.15),
    ]
)


def _tree(thing: Thing) -> Faces:
    """A trunk with a crown of balls; `colours` are three greens, the lower balls' first."""
    points = place(_TREE[:, :3] * thing.dimensions[0], thing)
    outlines = capsules(points[[0, *range(2, 8)]], points[1:], _TREE[1:, 3] * thing.dimensions[0])
    return make_faces(outlines, np.array([_BARK, *thing.colours])[[0, 1, 1, 2, 2, 3, 3]])


def _lamp(thing: Thing) -> Faces:
    bones = np.array([(0.0, -0.03, 0.0), (0.0, -1.0, 0.0), (0.2, -1.02, 0.0), (0.22, -1.015, 0.0)])
    points = place(bones * thing.dimensions[0], thing)
    outlines = capsules(points[[0, 1, 2]], points[[1, 2, 3]], [0.07, 0.05, 0.14])
    return make_faces(outlines, [_METAL, _METAL, (0.95, 0.9, 0.7)], [0.0, 0.0, 1.0])


def _sign(thing: Thing) -> Faces:
    """A post with a round sign of two colours, which always shows its face."""
    foot, top = place(np.array([(0.0, -0.03, 0.0), (0.0, -thing.dimensions[0] + 0.3, 0.0)]), thing)
    outlines = capsules(np.stack([foot, top, top]), np.stack([top, top, top]), [0.04, 0.33, 0.24])
    return make_faces(outlines, [_METAL, *thing.colours])


def _box(thing: Thing) -> Faces:
    """A bin, a post box, a switch cabinet."""
    block = _block(thing, 0.94)
    band = inset(block[:4], (0.0, 1.0), (0.8, 0.92))
    return join([make_faces(block, thing.colours[0]), make_faces(band, thing.colours[1])])


_PEOPLE: Mapping[str, Callable[[Actor], Faces]] = {"pedestrian": pedestrian_faces, "cyclist": cyclist_faces}
_SCENERY: Mapping[str, Callable[[Thing], Faces]] = {
    "building": _building,
    "house": _house,
    "tree": _tree,
    "lamp": _lamp,
    "sign": _sign,
    "box": _box,
}
