"""Paint a street world as its camera sees it: sky, ground, then everything that stands, far to near."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.street.backdrop import paint_backdrop
from lightning_centernet.data.street.camera import clip_near, project
from lightning_centernet.data.street.faces import Faces, Floats, join
from lightning_centernet.data.street.light import finish, normals_of, shade
from lightning_centernet.data.street.order import paint_order
from lightning_centernet.data.street.scenery import faces_of
from lightning_centernet.data.street.world import Thing, World

Image = NDArray[np.uint8]

_OVERSAMPLING = 2  # what stands is painted at twice the size, then averaged: smooth edges, exact silhouettes
_SHIFT = 4  # cv2's fixed-point coordinates: sixteenths of a pixel
_HUGE = ("building", "house")  # their shadows would cover whole streets


class Rendering(NamedTuple):
    """A picture and where the world's actors are in it.

    `image` (H, W, 3) RGB; `boxes` (n, 4) xyxy, all that an actor covers, hidden and outside parts included, in
    continuous pixels (zeros when it is behind the camera); `visible` (n,), the share of it that can be seen; `owners`,
    at twice the picture's size, the actor's place in the world + 1 where it is seen.
    """

    image: Image
    boxes: NDArray[np.float32]
    visible: NDArray[np.float32]
    owners: NDArray[np.uint8]

    def owner(self, pixels: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Tell whom each of the pixels (..., 2), which lie in the picture, shows."""
        column, row = np.moveaxis((pixels * _OVERSAMPLING).astype(np.intp), -1, 0)
        owners: NDArray[np.uint8] = self.owners[row, column]
        return owners


class _Layer(NamedTuple):
    """What one thing paints: polygons (f, CORNERS, 2) in pixels and their colours (f, 3), in order."""

    owner: int  # an actor's place in the world + 1, or 0
    polygons: Floats
    colours: Floats


def render(world: World, size: tuple[int, int]) -> Rendering:
    """Paint the world as a picture of `size` (height, width)."""
    everything: tuple[Thing, ...] = (*world.actors, *world.scenery)
    order = paint_order(everything)
    things = [everything[index] for index in order]
    parts = [faces_of(thing) for thing in things]
    shadows = [part.points.reshape(-1, 3) for part, thing in zip(parts, things, strict=True) if thing.kind not in _HUGE]
    canvas = _enlarge(paint_backdrop(world, shadows, size))
    owners = [index + 1 if index < len(world.actors) else 0 for index in order]
    boxes, visible = _paint(canvas, _layers(world, owners, parts, size), len(world.actors))
    return Rendering(finish(_shrink(canvas), world.texture), boxes, visible, canvas[..., 3])


def _layers(world: World, owners: list[int], parts: list[Faces], size: tuple[int, int]) -> Iterator[_Layer]:
    if not parts:
        return
    faces = join(parts)
    normals = normals_of(faces)
    facing = (normals * faces.points[:, 0]).sum(1) < 0
    points, kept = clip_near(faces.points)
    kept &= facing
    pixels, colours = np.zeros((*points.shape[:2], 2)), shade(faces, normals, world.weather)
    pixels[kept] = project(points[kept], world.camera.projection(size))
    start = 0
    for owner, part in zip(owners, parts, strict=True):
        chosen = np.flatnonzero(kept[start : start + len(part.points)]) + start
        start += len(part.points)
        if chosen.size:
            yield _Layer(owner, pixels[chosen], colours[chosen])


def _paint(canvas: Image, layers: Iterable[_Layer], actors: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Paint the layers and return the actors' boxes and visible shares."""
    boxes, visible = np.zeros((actors, 4), np.float32), np.zeros(actors, np.float32)
    silhouettes: dict[int, int] = {}
    for owner, polygons, colours in layers:
        fixed = np.round((polygons * _OVERSAMPLING - 0.5) * (1 << _SHIFT)).astype(np.int32)
        for polygon, (red, green, blue) in zip(fixed, colours.tolist(), strict=True):
            cv2.fillConvexPoly(canvas, polygon, (red, green, blue, owner), cv2.LINE_8, _SHIFT)
        if owner:
            boxes[owner - 1] = (*polygons.min((0, 1)), *polygons.max((0, 1)))
            silhouettes[owner] = _count(canvas, boxes[owner - 1], owner)
    for owner, silhouette in silhouettes.items():
        box = boxes[owner - 1]
        shown = _count(canvas, box, owner) / max(silhouette, 1)
        visible[owner - 1] = shown * _inside(box, canvas.shape[1] / _OVERSAMPLING, canvas.shape[0] / _OVERSAMPLING)
    return boxes, visible


def _count(canvas: Image, box: NDArray[np.float32], owner: int) -> int:
    left, top = np.maximum(np.floor(box[:2] * _OVERSAMPLING), 0).astype(int)
    right, bottom = np.maximum(np.ceil(box[2:] * _OVERSAMPLING) + 1, 0).astype(int)
    return int(np.count_nonzero(canvas[top:bottom, left:right, 3] == owner))


def _inside(box: NDArray[np.float32], width: float, height: float) -> float:
    """Return the share of a box that lies in the picture."""
    left, top, right, bottom = (float(edge) for edge in box)
    inner = max(min(right, width) - max(left, 0.0), 0.0) * max(min(bottom, height) - max(top, 0.0), 0.0)
    return inner / max((right - left) * (bottom - top), 1e-6)


def _enlarge(image: Image) -> Image:
    """Return the canvas: the picture enlarged, and a fourth channel for whose each pixel is (255: nobody's yet)."""
    size = (image.shape[1] * _OVERSAMPLING, image.shape[0] * _OVERSAMPLING)
    canvas = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2BGRA), size, interpolation=cv2.INTER_NEAREST)
    return canvas.astype(np.uint8, copy=False)


def _shrink(canvas: Image) -> Image:
    size = (canvas.shape[1] // _OVERSAMPLING, canvas.shape[0] // _OVERSAMPLING)
    averaged = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(averaged, cv2.COLOR_BGRA2BGR).astype(np.uint8, copy=False)  # drops the fourth channel
