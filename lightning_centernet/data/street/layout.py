"""Build a street world from a seed: first the place and its weather, then who is on it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from lightning_centernet.data.street.camera import Camera
from lightning_centernet.data.street.traffic import place_actors
from lightning_centernet.data.street.world import Colour, Road, Thing, Vector, Weather, World

_WALLS: tuple[Colour, ...] = (
    (0.62, 0.34, 0.26), (0.78, 0.68, 0.52), (0.70, 0.70, 0.68),
    (0.52, 0.48, 0.44), (0.80, 0.76, 0.70), (0.44, 0.50, 0.56),
)  # fmt: skip
_TRIMS: tuple[Colour, ...] = ((0.30, 0.16, 0.14), (0.22, 0.30, 0.26), (0.30, 0.30, 0.34), (0.60, 0.55, 0.48))


class _Sky(NamedTuple):
    """A kind of weather, as `Weather` has it; `heights` bound the sun's, in degrees; `share` is how often it comes."""

    sunlight: Colour
    skylight: Colour
    zenith: Colour
    horizon: Colour
    heights: tuple[float, float]
    clouds: float
    lamps: float
    share: float


_CLEAR = _Sky((0.85, 0.82, 0.74), (0.42, 0.46, 0.54), (0.25, 0.48, 0.82), (0.74, 0.84, 0.93), (35, 65), 0.35, 0.0, 0.42)
_GOLDEN = _Sky((0.95, 0.68, 0.4), (0.42, 0.40, 0.48), (0.36, 0.46, 0.70), (0.98, 0.80, 0.60), (20, 32), 0.45, 0.2, 0.20)
_GREY = _Sky((0.12, 0.12, 0.12), (0.74, 0.76, 0.78), (0.62, 0.66, 0.71), (0.82, 0.84, 0.86), (40, 70), 0.9, 0.1, 0.26)
_DUSK = _Sky((0.10, 0.09, 0.12), (0.52, 0.53, 0.64), (0.22, 0.27, 0.45), (0.66, 0.54, 0.56), (30, 50), 0.4, 1.0, 0.12)
_SKIES = (_CLEAR, _GOLDEN, _GREY, _DUSK)


def build_world(seed: int, zoom: float = 1.0, vehicles: float = 1.0) -> World:
    """Build the world of a seed: the same arguments give the same world.

    A camera of larger `zoom` has a longer lens, and hangs lower by as much: the ground looks as ever, and who stands on
    it is larger by that factor. `vehicles` is how many times as often as usual one meets them, rather than people.
    """
    random = Random(seed)
    camera = Camera(zoom * random.uniform(0.75, 1.1), random.uniform(0.36, 0.5), random.uniform(1.4, 2.4) / zoom)
    road = _road(random, camera.height)
    actors = place_actors(random, road, camera, vehicles)
    scenery = tuple(_in_view(_scenery(random, road), camera))
    return World(camera, road, _weather(random), actors, scenery, random.getrandbits(32))


def jitter(random: Random, colour: Colour, amount: float = 0.05) -> Colour:
    """Return a colour near another."""
    shift = random.uniform(-amount, amount)
    red, green, blue = (min(1.0, max(0.02, c + shift + random.uniform(-amount, amount) / 2)) for c in colour)
    return red, green, blue


def _weather(random: Random) -> Weather:
    sky = random.choices(_SKIES, [sky.share for sky in _SKIES])[0]
    height, azimuth = math.radians(random.uniform(*sky.heights)), random.uniform(-math.pi, math.pi)
    sun = (math.cos(height) * math.sin(azimuth), -math.sin(height), math.cos(height) * math.cos(azimuth))
    exposure = random.uniform(0.85, 1.12)
    red, green, blue = (exposure * c for c in jitter(random, sky.sunlight, 0.06))
    return Weather(
        sun=sun,
        sunlight=(red, green, blue),
        skylight=jitter(random, sky.skylight),
        zenith=jitter(random, sky.zenith),
        horizon=jitter(random, sky.horizon),
        haze=10 ** random.uniform(-3.1, -2.0),
        clouds=min(1.0, max(0.0, sky.clouds + random.uniform(-0.3, 0.3))),
        lamps=sky.lamps,
    )


def _road(random: Random, ground: float) -> Road:
    half_width = random.choice((3.4, 3.8, 5.2, 6.8))
    pavement = random.uniform(2.4, 4.5)
    if random.random() < 0.3:  # from the roadside, across the street
        heading = random.choice((-1, 1)) * random.uniform(0.9, 1.57)
        offset = math.copysign(half_width + pavement + random.uniform(0.0, 4.0), heading)
    else:  # along the street, from a lane or a pavement
        heading = random.uniform(-0.38, 0.38)
        offset = random.uniform(-half_width - pavement, half_width + pavement)
    ahead = random.uniform(9.0, 24.0) if abs(heading) < 0.9 else random.uniform(-8.0, 8.0) + _abeam(heading, offset)
    crossing = ahead if random.random() < 0.4 else None
    junction = ahead + 7.0 if random.random() < 0.35 else None
    green = jitter(random, random.choice(((0.30, 0.38, 0.20), (0.38, 0.40, 0.24), (0.50, 0.49, 0.46))))
    asphalt = random.uniform(0.24, 0.40)
    paving = jitter(random, (0.56, 0.54, 0.51), 0.08)
    tint = (asphalt, asphalt, asphalt + random.uniform(-0.01, 0.03))
    return Road(heading, offset, ground, half_width, pavement, crossing, junction, tint, paving, green)


def _abeam(heading: float, offset: float) -> float:
    return offset / math.tan(heading)


def _in_view(things: Iterator[Thing], camera: Camera) -> Iterator[Thing]:
    for thing in things:
        x, _, z = thing.location
        reach = math.hypot(*thing.dimensions[1:]) / 2
        if z > (4.5 if reach < 3 else -reach) and abs(x) < 0.55 * max(z, 0.0) / camera.focal + reach + 1.5:
            yield thing


def _scenery(random: Random, road: Road) -> Iterator[Thing]:
    for side in (-1.0, 1.0):
        if abs(road.heading) < 0.9:
            start, end = -12.0, 80.0
        elif side * road.heading < 0:
            start, end = (_abeam(road.heading, road.offset) + reach for reach in (-32.0, 32.0))
        else:
            continue  # behind the camera
        kind = random.choices(("building", "house", "park"), (0.5, 0.25, 0.25))[0]
        yield from _row(random, road, side, kind, (start, end))
        yield from _kerbside(random, road, side, (start, min(end, start + 70.0)))


def _row(random: Random, road: Road, side: float, kind: str, span: tuple[float, float]) -> Iterator[Thing]:
    along, back = span[0], road.half_width + road.pavement + random.uniform(0.2, 4.0)
    trim = random.choice(_TRIMS)
    while along < span[1]:
        length = {"building": random.uniform(9, 20), "house": random.uniform(8, 12), "park": 7.0}[kind]
        middle = along + length / 2
        along += length + (random.uniform(3, 7) if kind == "house" else 0.05)
        if road.junction is not None and abs(middle - road.junction) < length / 2 + 5.0:
            continue
        if kind == "park":
            yield _tree(random, road, middle + random.uniform(-2, 2), side * (back + random.uniform(1, 12)), 1.3)
        else:
            deep, tall = (11.0, random.uniform(7, 21)) if kind == "building" else (8.0, random.uniform(6.5, 8.5))
            colours = (jitter(random, random.choice(_WALLS), 0.06), jitter(random, trim, 0.04))
            place = road.point(middle, side * (back + deep / 2))
            yield Thing(kind, (tall, deep, length), place, road.rotation_y(0.0), colours)


def _kerbside(random: Random, road: Road, side: float, span: tuple[float, float]) -> Iterator[Thing]:
    planted, along = random.random() < 0.5, span[0] + random.uniform(0, 8)
    while along < span[1]:
        if planted and random.random() < 0.6:
            yield _tree(random, road, along, side * (road.half_width + 0.7), 1.0)
        else:
            yield _furniture(random, road, along, side)
        along += random.uniform(6, 16)


def _tree(random: Random, road: Road, along: float, across: float, scale: float) -> Thing:
    red, green, blue = jitter(random, (0.18, 0.32, 0.12), 0.07)
    greens = tuple((red * light, green * light, blue * light) for light in (0.75, 1.0, 1.2))
    height = random.uniform(4.0, 7.0) * scale
    return Thing("tree", (height, 0.5, 0.5), road.point(along, across), random.uniform(-3, 3), greens)


def _furniture(random: Random, road: Road, along: float, side: float) -> Thing:
    sizes: dict[str, Vector] = {"lamp": (6.5, 0.2, 0.2), "sign": (2.5, 0.2, 0.2), "box": (1.1, 0.6, 0.8)}
    kind = random.choice(("lamp", "lamp", "sign", "box"))
    colour = random.choice(((0.75, 0.1, 0.1), (0.1, 0.25, 0.6), (0.2, 0.35, 0.25), (0.85, 0.7, 0.1)))
    turn = -side * math.pi / 2 if kind == "lamp" else 0.0
    place = road.point(along, side * (road.half_width + 0.6))
    return Thing(kind, sizes[kind], place, road.rotation_y(turn), (colour, (0.9, 0.9, 0.88)))
