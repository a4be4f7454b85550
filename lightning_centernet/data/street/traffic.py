"""Who is on the street: proposals by role, kept where they can be seen and stand clear of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random
from typing import NamedTuple

from lightning_centernet.data.street.camera import Camera
from lightning_centernet.data.street.people import CYCLIST_SIZE, PEDESTRIAN_SIZE
from lightning_centernet.data.street.vehicles import BUILDS
from lightning_centernet.data.street.world import Actor, Colour, Road, Vector

_PAINTS: tuple[Colour, ...] = (
    (0.90, 0.90, 0.89), (0.62, 0.63, 0.65), (0.12, 0.12, 0.14), (0.35, 0.37, 0.40), (0.66, 0.10, 0.10),
    (0.10, 0.20, 0.50), (0.16, 0.36, 0.26), (0.85, 0.70, 0.15), (0.75, 0.40, 0.12), (0.45, 0.60, 0.75),
)  # fmt: skip
_CLOTHES: tuple[Colour, ...] = (
    (0.75, 0.15, 0.15), (0.15, 0.25, 0.60), (0.88, 0.86, 0.82), (0.10, 0.10, 0.12), (0.85, 0.65, 0.15),
    (0.25, 0.50, 0.30), (0.50, 0.30, 0.55), (0.85, 0.45, 0.20), (0.40, 0.55, 0.70), (0.55, 0.50, 0.45),
)  # fmt: skip
_TROUSERS: tuple[Colour, ...] = ((0.12, 0.15, 0.28), (0.10, 0.10, 0.11), (0.40, 0.36, 0.28), (0.28, 0.30, 0.34))
_SKINS: tuple[Colour, ...] = ((0.90, 0.72, 0.60), (0.75, 0.55, 0.42), (0.50, 0.34, 0.25), (0.32, 0.21, 0.16))
_HAIRS: tuple[Colour, ...] = ((0.10, 0.07, 0.05), (0.30, 0.20, 0.12), (0.65, 0.52, 0.30), (0.55, 0.54, 0.53))
_SHARES = {"vehicle": 0.42, "pedestrian": 0.36, "cyclist": 0.22}
_DEPTHS = {"vehicle": (8.0, 26.0), "pedestrian": (6.0, 15.0), "cyclist": (6.0, 15.0)}  # metres, nearest and farthest
_NUMBERS = (3, 3, 7, 12, 16, 18, 16, 13, 12)  # how often 0, 1, 2, ... actors are wanted, in percent
_ATTEMPTS = 80


class _Model(NamedTuple):
    """What an actor is, before it is anywhere."""

    category: str
    kind: str
    dimensions: Vector


class _Spot(NamedTuple):
    """A place on the road, which way one faces there (radians clockwise from the road's direction), and m/s."""

    along: float
    across: float
    turn: float
    speed: float


class _Claim(NamedTuple):
    """What an actor takes up: a rectangle of the road, and one of the picture (x1, y1, x2, y2 at a depth of 1 m)."""

    along: float
    across: float
    half_along: float
    half_across: float
    box: tuple[float, float, float, float]


def place_actors(random: Random, road: Road, camera: Camera, vehicles: float = 1.0) -> tuple[Actor, ...]:
    """Return the road users of a scene: none in some, mostly 2 to 8, not too small and not too hidden.

    `vehicles` is how many times as often as usual one of them is a vehicle.
    """
    shares = _SHARES | {"vehicle": _SHARES["vehicle"] * vehicles}
    wanted = random.choices(range(len(_NUMBERS)), _NUMBERS)[0]
    actors: list[Actor] = []
    claims: list[_Claim] = []
    for _ in range(_ATTEMPTS):
        if len(actors) == wanted:
            break
        model = _model(random, shares)
        spot = _spot(random, road, model)
        claim = _claim(road, camera, spot, model)
        if claim and not any(_collide(claim, other) for other in claims):
            claims.append(claim)
            actors.append(_actor(random, road, spot, model, len(actors) + 1))
    return tuple(actors)


def _model(random: Random, shares: Mapping[str, float]) -> _Model:
    category = random.choices(list(shares), list(shares.values()))[0]
    if category == "vehicle":
        kind = random.choices(list(BUILDS), [build.share for build in BUILDS.values()])[0]
        height, width, length = (side * random.uniform(0.94, 1.07) for side in BUILDS[kind].dimensions)
        return _Model(category, kind, (height, width, length))
    scale = random.uniform(0.88, 1.1)
    if category == "pedestrian" and random.random() < 0.12:
        scale *= random.uniform(0.68, 0.82)  # a child
    height, width, length = PEDESTRIAN_SIZE if category == "pedestrian" else CYCLIST_SIZE
    return _Model(category, category, (height * scale, width * scale, length * scale))


def _spot(random: Random, road: Road, model: _Model) -> _Spot:
    side = random.choice((-1.0, 1.0))
    ahead = 0.0 if side > 0 else math.pi  # traffic keeps to the right
    if model.category == "vehicle":
        return _driving(random, road, side, ahead, model.dimensions[1])
    if model.category == "pedestrian":
        return _walking(random, road, side)
    across = side * (road.half_width - random.uniform(0.6, 1.4))
    along = _along(random, road, across, _DEPTHS["cyclist"])
    return _Spot(along, across, ahead + random.gauss(0, 0.08), random.uniform(2.5, 6.5))


def _driving(random: Random, road: Road, side: float, ahead: float, width: float) -> _Spot:
    if road.junction is not None and random.random() < 0.3:  # out of the side road, or into it
        along, across = road.junction + side * 1.6, random.uniform(-12.0, 12.0)
        return _Spot(along, across, side * math.pi / 2, random.uniform(2.0, 8.0))
    if random.random() < 0.3:  # parked
        across = side * (road.half_width - width / 2 - 0.25)
        return _Spot(_along(random, road, across, _DEPTHS["vehicle"]), across, ahead, 0.0)
    lanes = 1 if road.half_width < 5.0 else 2
    across = side * road.half_width * (random.randrange(lanes) + 0.5) / lanes
    along = _along(random, road, across, _DEPTHS["vehicle"])
    return _Spot(along, across, ahead + random.gauss(0, 0.04), random.uniform(3.0, 14.0))


def _walking(random: Random, road: Road, side: float) -> _Spot:
    if road.crossing is not None and random.random() < 0.45:
        along, across = road.crossing + random.uniform(-1.3, 1.3), random.uniform(-1.0, 1.0) * road.half_width
        return _Spot(along, across, side * math.pi / 2 + random.gauss(0, 0.15), random.uniform(0.9, 1.7))
    where = random.random()
    if where < 0.12:  # crosses where there is no crossing
        across, turn, speed = random.uniform(-1, 1) * road.half_width, side * math.pi / 2, random.uniform(1.0, 2.0)
    else:
        across = side * (road.half_width + random.uniform(1.0, max(1.2, road.pavement - 0.3)))
        turn, speed = random.choice((0.0, math.pi)) + random.gauss(0, 0.2), random.uniform(0.8, 1.8)
        if where < 0.3:  # stands about
            turn, speed = random.uniform(-math.pi, math.pi), 0.0
    return _Spot(_along(random, road, across, _DEPTHS["pedestrian"]), across, turn, speed)


def _along(random: Random, road: Road, across: float, depths: tuple[float, float]) -> float:
    """Draw a place along the road: by its depth, near ones more often, or before the camera if it looks across."""
    cosine, sine, offset = math.cos(road.heading), math.sin(road.heading), across - road.offset
    if cosine < 0.65:
        return -offset * cosine / sine + random.uniform(-11.0, 11.0)
    near, far = depths
    depth: float = near * (far / near) ** random.random()
    return (depth + offset * sine) / cosine


def _claim(road: Road, camera: Camera, spot: _Spot, model: _Model) -> _Claim | None:
    """Return what an actor would take up there, or None where it could not be seen well."""
    x, _, z = road.point(spot.along, spot.across)
    half_along, half_across = _half_extents(model.dimensions, spot.turn)
    half_z, half_x = _half_extents(model.dimensions, spot.turn + road.heading)
    near, far = _DEPTHS[model.category]
    if not near <= z <= far or z - half_z < 3.5 or abs(x) > 0.5 * z / camera.focal:
        return None
    depth = z - half_z
    top = camera.height - model.dimensions[0]
    box = ((x - half_x) / depth, top / depth, (x + half_x) / depth, camera.height / depth)
    return _Claim(spot.along, spot.across, half_along, half_across, box)


def _half_extents(dimensions: Vector, turn: float) -> tuple[float, float]:
    """Return half of what a turned box takes up along, and across, the direction that `turn` counts from."""
    _, width, length = dimensions
    cosine, sine = abs(math.cos(turn)), abs(math.sin(turn))
    return (length * cosine + width * sine) / 2, (length * sine + width * cosine) / 2


def _collide(one: _Claim, other: _Claim) -> bool:
    """Say whether two actors stand in each other, or one hides much of the other."""
    if (
        abs(one.along - other.along) < one.half_along + other.half_along + 0.4
        and abs(one.across - other.across) < one.half_across + other.half_across + 0.25
    ):
        return True
    width = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    height = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one.box, other.box))
    return width > 0 and height > 0 and width * height > 0.45 * smaller


def _actor(random: Random, road: Road, spot: _Spot, model: _Model, track_id: int) -> Actor:
    rotation_y = road.rotation_y(spot.turn)
    velocity = (spot.speed * math.cos(rotation_y), 0.0, -spot.speed * math.sin(rotation_y))
    return Actor(
        kind=model.kind,
        dimensions=model.dimensions,
        location=road.point(spot.along, spot.across),
        rotation_y=rotation_y,
        colours=_colours(random, model.category),
        category=model.category,
        track_id=track_id,
        velocity=velocity,
        phase=random.uniform(0.0, 2 * math.pi),
        stride=5.0 if model.category == "cyclist" else 1.45,
    )


def _colours(random: Random, category: str) -> tuple[Colour, ...]:
    """Draw a vehicle's body and load, or a person's shirt, trousers, skin, hair and, of a cyclist, bicycle."""
    if category == "vehicle":
        return random.choice(_PAINTS), random.choice(_PAINTS)
    own = (random.choice(_CLOTHES), random.choice(_TROUSERS), random.choice(_SKINS), random.choice(_HAIRS))
    return (*own, random.choice(_PAINTS)) if category == "cyclist" else own
