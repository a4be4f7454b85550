"""What lies behind everything that stands: sky with clouds, the ground with road and markings, shadows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.street.camera import NEAR, clip_near, project
from lightning_centernet.data.street.faces import Floats
from lightning_centernet.data.street.light import ground_light, haze
from lightning_centernet.data.street.world import Colour, Road, World

Image = NDArray[np.uint8]
Strip = tuple[float, float, float, float]  # from and to along the road, from and to across it

_SHIFT = 4
_FAR = 400.0  # metres
_PAINT: Colour = (0.82, 0.82, 0.80)


def paint_backdrop(world: World, casters: Sequence[Floats], size: tuple[int, int]) -> Image:
    """Paint sky and ground (H, W, 3), with the shadows of what stands: the points (n, 3) of each."""
    height, width = size
    horizon = min(max(round(world.camera.horizon * height), 1), height - 1)
    image = _paint_ground(world, size)
    image[:horizon] = _sky(world, (horizon, width))
    ground = image[horizon:]
    veil = haze(_row_distances(world, size), world.weather)[horizon:, None, None].astype(np.float32)
    light = _light(world, _shadows(world, casters, size)[horizon:])
    light *= 1 - veil
    light *= ground
    light += veil * (255 * np.array(world.weather.horizon, np.float32))
    ground[:] = light
    return image


def _sky(world: World, size: tuple[int, int]) -> Image:
    weather, height, width = world.weather, -(-size[0] // 2), -(-size[1] // 2)  # half the resolution: nothing is sharp
    rise = np.linspace(1, 0, height, dtype=np.float32)[:, None] ** 0.8
    gradient = np.array(weather.zenith, np.float32) * rise + np.array(weather.horizon, np.float32) * (1 - rise)
    generator = np.random.default_rng(world.texture)
    clouds: NDArray[np.float32] = np.zeros((height, width), np.float32)
    for rows, share in ((4, 0.6), (9, 0.28), (20, 0.12)):
        grain = generator.random((rows, 2 * rows), np.float32)
        clouds += share * cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    cover: NDArray[np.float32] = np.clip((clouds - (0.75 - 0.5 * weather.clouds)) * 4, 0, 1) * np.sqrt(rise)
    bright = np.minimum(1, 0.45 * np.array(weather.skylight) + 0.6 * np.array(weather.horizon)).astype(np.float32)
    row = gradient[:, None]
    sky: Image = (255 * (row + cover[..., None] * (bright - row))).astype(np.uint8)
    return cv2.resize(sky, size[::-1], interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _paint_ground(world: World, size: tuple[int, int]) -> Image:
    lit, _ = ground_light(world.weather)
    image = np.empty((*size, 3), np.uint8)
    image[:] = (255 * np.minimum(np.array(world.road.verge) * lit, 1)).astype(np.uint8)
    strips, colours = zip(*_strips(world.road), strict=True)
    polygons, kept = clip_near(_on_ground(world, strips))
    pixels = _fixed(project(polygons[kept], world.camera.projection(size)))
    shades = 255 * np.minimum(np.array(colours)[kept] * lit, 1)
    for polygon, colour in zip(pixels, shades.tolist(), strict=True):
        cv2.fillConvexPoly(image, polygon, colour, cv2.LINE_AA, _SHIFT)
    return image


def _row_distances(world: World, size: tuple[int, int]) -> Floats:
    height, width = size
    below = np.maximum(np.arange(height) + 0.5 - world.camera.horizon * height, 0.25)
    distances: Floats = world.camera.height * world.camera.focal * width / below
    return distances


def _shadows(world: World, casters: Sequence[Floats], size: tuple[int, int]) -> Image:
    """Return how deep (H, W) the ground lies in the shadows of what stands on it: from 0 to 255."""
    mask = np.zeros(size, np.uint8)
    points = np.concatenate([np.zeros((0, 3)), *casters])
    sun = np.array(world.weather.sun)
    points = points + sun * ((points[:, 1:2] - world.camera.height) / -sun[1])
    points[:, 2] = np.maximum(points[:, 2], NEAR)
    pixels = _fixed(project(points, world.camera.projection(size)))
    for outline in np.split(pixels, np.cumsum([len(caster) for caster in casters])[:-1]):
        if len(outline):
            cv2.fillConvexPoly(mask, cv2.convexHull(outline), 255, cv2.LINE_8, _SHIFT)
    soft = 2 * round(size[0] / 150) + 1
    return cv2.blur(mask, (soft, soft)).astype(np.uint8, copy=False)


def _light(world: World, shadows: Image) -> NDArray[np.float32]:
    """Return the share (H, W, 3) of the light that reaches the ground."""
    lit, shaded = ground_light(world.weather)
    levels = np.linspace(1, shaded / lit, 256, dtype=np.float32)[None]  # by the shadow's depth
    return cv2.LUT(cv2.cvtColor(shadows, cv2.COLOR_GRAY2BGR), levels).astype(np.float32, copy=False)


def _on_ground(world: World, strips: Sequence[Strip]) -> Floats:
    """Return the corners (n, 4, 3) of strips of the road, in the camera's frame."""
    bounds = np.array(strips)
    along, across = bounds[:, [0, 1, 1, 0]], bounds[:, [2, 2, 3, 3]] - world.road.offset
    cosine, sine = np.cos(world.road.heading), np.sin(world.road.heading)
    x, z = across * cosine + along * sine, along * cosine - across * sine
    return np.stack([x, np.full_like(x, world.camera.height), z], axis=2)


def _fixed(pixels: Floats) -> NDArray[np.int32]:
    return np.round((pixels - 0.5) * (1 << _SHIFT)).astype(np.int32)  # cv2 counts from a pixel's centre


def _strips(road: Road) -> Iterator[tuple[Strip, Colour]]:
    """Yield what is painted on the ground, in order: strips and their colours."""
    half, edge = road.half_width, road.half_width + road.pavement
    kerb = (0.66, 0.65, 0.62)
    yield (-_FAR, _FAR, -edge, edge), road.paving
    yield (-_FAR, _FAR, -half - 0.18, half + 0.18), kerb
    yield (-_FAR, _FAR, -half, half), road.asphalt
    if road.junction is not None:
        yield (road.junction - 3.6, road.junction + 3.6, -_FAR, _FAR), road.asphalt
    for strip in _markings(road):
        yield strip, _PAINT


def _markings(road: Road) -> Iterator[Strip]:
    half, lanes = road.half_width, 1 if road.half_width < 5.0 else 2
    lines = [half * lane / lanes for lane in range(1 - lanes, lanes)]
    for start in range(-40, 80, 8):
        yield from ((start, start + 4.0, line - 0.07, line + 0.07) for line in lines)
    if lanes == 2:
        yield from ((-_FAR, _FAR, side * (half - 0.35), side * (half - 0.22)) for side in (-1, 1))
    if road.crossing is not None:
        bars = int(half / 0.5)
        for bar in range(-bars, bars, 2):
            yield road.crossing - 1.6, road.crossing + 1.6, bar * 0.5 + 0.25, bar * 0.5 + 0.75
