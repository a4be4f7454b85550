"""What a street world holds, and how it moves.

Everything lies in the camera's frame: x right, y down, z forward, metres; the camera is at the origin, level, and
stands still. A thing's location is the centre of its bottom, its dimensions are height, width, length, and its
rotation_y turns its forward axis from x (0) towards the camera (pi / 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

from lightning_centernet.data.street.camera import Camera

Vector: TypeAlias = tuple[float, float, float]
Colour: TypeAlias = tuple[float, float, float]  # linear mix of RGB in [0, 1]

CLASSES = ("vehicle", "pedestrian", "cyclist")


@dataclass(frozen=True)
class Thing:
    """Something that stands on the ground and is not annotated: a building, a tree, a lamp post."""

    kind: str
    dimensions: Vector
    location: Vector
    rotation_y: float
    colours: tuple[Colour, ...]


@dataclass(frozen=True)
class Actor(Thing):
    """A road user: `kind` is its build (`saloon`, `bus`, `pedestrian`, ...), `category` one of `CLASSES`.

    `velocity` is in m/s; `stride` the metres that one cycle of its gait or pedals takes it, `phase` where in that
    cycle it is, in radians.
    """

    category: str
    track_id: int
    velocity: Vector = (0.0, 0.0, 0.0)
    phase: float = 0.0
    stride: float = 1.5

    @property
    def speed(self) -> float:
        """Metres per second."""
        return math.hypot(*self.velocity)

    def at(self, time: float) -> Actor:
        """Return the actor `time` seconds later, having kept its velocity."""
        x, y, z = (p + v * time for p, v in zip(self.location, self.velocity, strict=True))
        phase = self.phase + 2 * math.pi * self.speed * time / self.stride
        return replace(self, location=(x, y, z), phase=phase)


@dataclass(frozen=True)
class Weather:
    """The light and the air. Colours are what a white surface shows, before haze.

    `sun` points towards the sun (its y is negative); `haze` is the share of light lost per metre; `clouds` the
    covered share of the sky; `lamps` how strongly lamps and lit windows shine.
    """

    sun: Vector
    sunlight: Colour
    skylight: Colour
    zenith: Colour
    horizon: Colour
    haze: float
    clouds: float
    lamps: float


@dataclass(frozen=True)
class Road:
    """A straight road past the camera, in its own coordinates: `along` it, and `across`, right of its middle.

    `heading` turns the camera's forward axis to the road's, clockwise seen from above; `offset` is the camera's own
    place across, `ground` how far it lies below the camera; `crossing` and `junction` are where along it a zebra
    crossing and a side road lie.
    """

    heading: float
    offset: float
    ground: float
    half_width: float
    pavement: float
    crossing: float | None
    junction: float | None
    asphalt: Colour
    paving: Colour
    verge: Colour

    def point(self, along: float, across: float) -> Vector:
        """Return a point of the ground in the camera's frame."""
        cosine, sine, across = math.cos(self.heading), math.sin(self.heading), across - self.offset
        return across * cosine + along * sine, self.ground, along * cosine - across * sine

    def rotation_y(self, turn: float) -> float:
        """Return the rotation_y of a thing that faces `turn` radians clockwise from the road's direction."""
        angle = self.heading + turn - math.pi / 2
        return math.remainder(angle, 2 * math.pi)


@dataclass(frozen=True)
class World:
    """One scene, all that can be known of it; `texture` seeds what is only paint: clouds, grain, noise."""

    camera: Camera
    road: Road
    weather: Weather
    actors: tuple[Actor, ...]
    scenery: tuple[Thing, ...]
    texture: int

    def at(self, time: float) -> World:
        """Return the world `time` seconds later: everybody keeps their velocity."""
        return replace(self, actors=tuple(actor.at(time) for actor in self.actors))
