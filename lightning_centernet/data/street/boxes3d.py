"""The actors' 3D boxes, and how much of each can be seen, as KITTI's labels say it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.sample import Objects
from lightning_centernet.data.street.camera import NEAR, project
from lightning_centernet.data.street.painting import Rendering
from lightning_centernet.data.street.people import pedestrian_length
from lightning_centernet.data.street.world import Actor, Vector

_OCCLUSIONS = (0.8, 0.5)  # shown shares, of what lies in the picture, that are still occlusion 0 and 1


def boxes3d(actors: Sequence[Actor], projection: NDArray[np.float64]) -> Objects:
    """Return dimensions, location, rotation_y, alpha, depth and amodal_centers, as in `types`.

    What follows from its place is NaN for an actor whose middle is behind the camera, or nearer than `NEAR`.

    Args:
        actors: in the camera's frame, metres.
        projection: (3, 4), to the picture's pixels.
    """
    dimensions = np.array([_dimensions(actor) for actor in actors], np.float64).reshape(-1, 3)
    location = np.array([actor.location for actor in actors], np.float64).reshape(-1, 3)
    location[location[:, 2] < NEAR] = np.nan
    rotation_y = np.array([actor.rotation_y for actor in actors], np.float64)
    sight = np.arctan2(location[:, 0], location[:, 2])
    middle = location - dimensions[:, :1] / 2 * (0, 1, 0)
    fields = {
        "dimensions": dimensions,
        "location": location,
        "rotation_y": rotation_y,
        "alpha": np.remainder(rotation_y - sight + np.pi, 2 * np.pi) - np.pi,
        "depth": location[:, 2],
        "amodal_centers": project(middle, projection),
    }
    return {name: values.astype(np.float32) for name, values in fields.items()}


def _dimensions(actor: Actor) -> Vector:
    height, width, length = actor.dimensions
    return (height, width, pedestrian_length(actor) if actor.category == "pedestrian" else length)


def visibility(rendering: Rendering, boxes: NDArray[np.float32]) -> Objects:
    """Return truncation, the share of an actor's box outside the picture, and occlusion: 0 no, 1 part, 2 much of it.

    Args:
        rendering: the picture.
        boxes: (n, 4) those of the rendering, cut off at the picture's edge.
    """
    inside = _areas(boxes) / np.maximum(_areas(rendering.boxes), 1e-6)
    shown = rendering.visible / np.maximum(inside, 1e-6)
    occlusion = (shown[:, None] < np.array(_OCCLUSIONS, np.float32)).sum(1)
    return {"truncation": (1 - inside).astype(np.float32), "occlusion": occlusion.astype(np.float32)}


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    areas: NDArray[np.float32] = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return areas
