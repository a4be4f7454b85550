"""Vehicles: cuboids with a cabin, windows, wheels and lights, each build drawn once in the unit cube and stretched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from lightning_centernet.data.street.faces import Faces, Floats, discs, frustum, inset, join, make_faces, place
from lightning_centernet.data.street.world import Thing, Vector

BODY, CARGO, GLASS, TRIM, TYRE, HUB, HEADLIGHT, TAILLIGHT, PLATE = range(9)  # the first two are the vehicle's own
_COLOURS = np.array(
    [
        (0.16, 0.20, 0.25),
        (0.07, 0.07, 0.08),
        (0.05, 0.05, 0.05),
        (0.45, 0.46, 0.48),
        (0.95, 0.93, 0.80),
        (0.75, 0.06, 0.05),
        (0.90, 0.90, 0.85),
    ]
)
_SIDES, _FRONT, _BACK = [0, 2], [1], [3]


class Build(NamedTuple):
    """A kind of vehicle: its usual height, width and length in metres, and how often one meets it."""

    dimensions: Vector
    share: float


BUILDS: Mapping[str, Build] = {
    "hatchback": Build((1.50, 1.75, 3.95), 3.0),
    "saloon": Build((1.45, 1.80, 4.60), 3.0),
    "estate": Build((1.62, 1.85, 4.65), 2.5),
    "van": Build((2.20, 2.00, 5.20), 1.6),
    "truck": Build((3.10, 2.35, 7.20), 1.0),
    "bus": Build((3.05, 2.50, 10.5), 0.8),
}


def vehicle_faces(vehicle: Thing) -> Faces:
    """Return a vehicle's faces; `colours` are its body's and, for what carries a load, its load's."""
    points, roles, glow = _template(vehicle.kind)
    height, width, length = vehicle.dimensions
    palette = np.concatenate([np.array(vehicle.colours), _COLOURS])
    return Faces(place(points * (length, height, width), vehicle), palette[roles], glow)


@cache
def _template(kind: str) -> tuple[Floats, Floats, Floats]:
    faces = _TEMPLATES[kind](BUILDS[kind].dimensions)
    return faces.points, faces.colours[:, 0].astype(np.intp), faces.glow


def _part(polygons: Floats, role: int, glow: float = 0.0) -> Faces:
    return make_faces(polygons, float(role), glow)  # a template holds roles where colours will be


def _wheels(dimensions: Vector, radius: float, places: tuple[float, ...]) -> Faces:
    height, _, length = dimensions
    parts = []
    for role, share in ((TYRE, 1.0), (HUB, 0.58)):
        reach = (share * radius / length, share * radius / height)
        for side in (-1.0, 1.0):
            centres = [(x, -radius / height, side * 0.5) for x in places]
            parts.append(_part(discs(centres, reach, side), role))
    return join(parts)


def _lights(front: Floats, back: Floats, low: float, high: float) -> Faces:
    lamp_places = ((0.04, 0.22), (0.78, 0.96))
    parts = [_part(inset(front, place, (low, high)), HEADLIGHT, 1.0) for place in lamp_places]
    parts += [_part(inset(back, place, (low, high)), TAILLIGHT, 0.8) for place in lamp_places]
    parts += [_part(inset(end, (0.38, 0.62), (0.4 * low, 0.76 * low)), PLATE) for end in (front, back)]
    parts.append(_part(inset(front, (0.26, 0.74), (low, high)), TRIM))
    return join(parts)


def _side_panes(house: Floats, start: float, end: float, height: tuple[float, float]) -> Faces:
    right, left = inset(house[[0]], (start, end), height), inset(house[[2]], (1 - end, 1 - start), height)
    return _part(np.concatenate([right, left]), GLASS)


def _windows(cabin: Floats, panes: int, height: tuple[float, float] = (0.12, 0.88)) -> Faces:
    edges = np.linspace(0.05, 0.95, panes + 1)
    parts = [
        _part(inset(cabin[_SIDES], (start + 0.012, end - 0.012), height), GLASS)
        for start, end in pairwise(edges.tolist())
    ]
    parts.append(_part(inset(cabin[_FRONT], (0.06, 0.94), height), GLASS))
    parts.append(_part(inset(cabin[_BACK], (0.1, 0.9), height), GLASS))
    return join(parts)


def _car(dimensions: Vector, cabin: tuple[float, float], roof: tuple[float, float], panes: int) -> Faces:
    waist = 0.60
    under = frustum((-0.47, 0.47, 0.44), (-0.48, 0.48, 0.46), (-0.08, -0.2))
    body = frustum((-0.5, 0.5, 0.5), (-0.48, 0.465, 0.47), (-0.17, -waist))
    house = frustum((*cabin, 0.46), (*roof, 0.37), (-waist, -1.0))
    return join(
        [
            _part(under, TRIM),
            _part(body, BODY),
            _part(inset(body[_SIDES], (0.0, 1.0), (0.0, 0.1)), TRIM),
            _lights(body[_FRONT], body[_BACK], 0.5, 0.78),
            _wheels(dimensions, 0.32, (-0.3, 0.31)),
            _part(house, BODY),
            _windows(house, panes),
        ]
    )


def _van(dimensions: Vector) -> Faces:
    body = frustum((-0.5, 0.5, 0.5), (-0.5, 0.46, 0.49), (-0.12, -0.52))
    house = frustum((-0.5, 0.40, 0.49), (-0.49, 0.24, 0.45), (-0.52, -1.0))
    return join(
        [
            _part(frustum((-0.47, 0.47, 0.45), (-0.47, 0.47, 0.45), (-0.06, -0.15)), TRIM),
            _part(body, BODY),
            _lights(body[_FRONT], body[_BACK], 0.45, 0.75),
            _wheels(dimensions, 0.34, (-0.3, 0.32)),
            _part(house, BODY),
            _part(inset(house[_FRONT], (0.06, 0.94), (0.08, 0.85)), GLASS),
            _part(inset(house[_BACK], (0.08, 0.92), (0.25, 0.8)), GLASS),
            _side_panes(house, 0.74, 0.96, (0.08, 0.72)),
        ]
    )


def _truck(dimensions: Vector) -> Faces:
    cargo = frustum((-0.5, 0.2, 0.5), (-0.5, 0.2, 0.5), (-0.3, -1.0))
    chassis = frustum((-0.49, 0.3, 0.4), (-0.49, 0.3, 0.4), (-0.13, -0.3))
    cab = frustum((0.2, 0.5, 0.48), (0.2, 0.46, 0.46), (-0.14, -0.80))
    return join(
        [
            _part(chassis, TRIM),
            _part(cargo, CARGO),
            _part(inset(cargo[_SIDES + _BACK], (0.03, 0.97), (0.06, 0.1)), TRIM),
            _part(cab[[0, 1, 2, 4]], BODY),  # its back is never seen past the cargo
            _part(inset(cab[_FRONT], (0.06, 0.94), (0.52, 0.9)), GLASS),
            _side_panes(cab, 0.25, 0.9, (0.55, 0.88)),
            _lights(cab[_FRONT], chassis[_BACK], 0.2, 0.4),
            _wheels(dimensions, 0.45, (-0.36, -0.22, 0.34)),
        ]
    )


def _bus(dimensions: Vector) -> Faces:
    body = frustum((-0.5, 0.5, 0.5), (-0.5, 0.49, 0.48), (-0.11, -1.0))
    return join(
        [
            _part(frustum((-0.48, 0.48, 0.45), (-0.48, 0.48, 0.45), (-0.06, -0.15)), TRIM),
            _part(body, BODY),
            _part(inset(body[_SIDES], (0.0, 1.0), (0.18, 0.3)), CARGO),
            _windows(body, 7, (0.45, 0.86)),
            _lights(body[_FRONT], body[_BACK], 0.2, 0.3),
            _wheels(dimensions, 0.47, (-0.27, 0.3)),
        ]
    )


_TEMPLATES: Mapping[str, Callable[[Vector], Faces]] = {
    "hatchback": partial(_car, cabin=(-0.49, 0.26), roof=(-0.40, 0.08), panes=2),
    "saloon": partial(_car, cabin=(-0.38, 0.25), roof=(-0.24, 0.07), panes=2),
    "estate": partial(_car, cabin=(-0.49, 0.27), roof=(-0.45, 0.12), panes=3),
    "van": _van,
    "truck": _truck,
    "bus": _bus,
}
