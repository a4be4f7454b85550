"""The street as a data set of pictures, boxes and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.module import DetectionData
from lightning_centernet.data.sample import Objects, Sample
from lightning_centernet.data.street.boxes3d import boxes3d, visibility
from lightning_centernet.data.street.camera import NEAR, project
from lightning_centernet.data.street.layout import build_world
from lightning_centernet.data.street.painting import Rendering, render
from lightning_centernet.data.street.people import JOINTS, LIMBS, keypoints
from lightning_centernet.data.street.world import CLASSES, Actor, World
from lightning_centernet.errors import UserError
from lightning_centernet.skeleton import Skeleton

_LEAST_HEIGHT = 10.0  # pixels: a smaller object is not asked for
_LEAST_VISIBLE = 0.5  # nor one of which less can be seen
_SKELETON = Skeleton(JOINTS, LIMBS, classes=("pedestrian", "cyclist"))
_KEPT = 2000  # samples in memory: from the second epoch on, drawing takes no time from the training


class Street:
    """Scenes of an endless street: sample i of a seed is always the same, and no two seeds share a scene.

    Args:
        size: number of scenes.
        seed: not negative.
        image_size: height and width of the pictures.
        zoom: how many times larger road users are than in the camera's ordinary view.
        vehicles: how many times as often as usual a road user is a vehicle; 0: there are people only.

    Raises:
        UserError: if a size or the zoom is not positive, or the seed or `vehicles` negative.
    """

    classes: tuple[str, ...] = CLASSES
    category_ids: tuple[int, ...] = (1, 2, 3)
    skeleton: Skeleton = _SKELETON

    def __init__(
        self,
        size: int,
        *,
        seed: int = 0,
        image_size: Sequence[int] = (256, 448),
        zoom: float = 1.0,
        vehicles: float = 1.0,
    ) -> None:
        if size < 1 or seed < 0 or len(image_size) != 2 or min(image_size) < 8:
            raise UserError(
                f"street with size={size}, seed={seed}, image_size={tuple(image_size)}: size must be at least 1, seed "
                "at least 0, image_size a height and a width of at least 8 pixels"
            )
        if not (0 < zoom < math.inf and 0 <= vehicles < math.inf):
            raise UserError(f"street with zoom={zoom}, vehicles={vehicles}: zoom must be positive, vehicles at least 0")
        self.size = size
        self.seed = seed
        self.view = (zoom, vehicles)
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self._kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        return self.size

    def world(self, index: int) -> World:
        """Return the world of sample `index`, for all that its picture does not show."""
        if not 0 <= index < self.size:
            raise IndexError(f"sample {index} of a street of {self.size}")
        # By 32 bits only, Python's generator would start alike for index s + 1 of the seeds 0 and s.
        return build_world(self.seed << 64 | index, *self.view)

    def __getitem__(self, index: int) -> Sample:
        if index in self._kept:
            return self._kept[index]
        world = self.world(index)
        rendering = render(world, self.image_size)
        file = f"street_{self.seed}_{index:06d}.png"
        camera = world.camera.projection(self.image_size).astype(np.float32)
        sample = Sample(rendering.image, annotate(world, rendering), index, file, self.skeleton, camera)
        if len(self._kept) < _KEPT:
            self._kept[index] = sample
        return sample


def annotate(world: World, rendering: Rendering) -> Objects:
    """Return the annotations of a rendered world: boxes cut off at the picture's edge, as in COCO.

    What hides an object does not shrink its box. Objects that are tiny, mostly hidden or mostly outside are ignored,
    and those entirely outside left out. All have their 3D boxes. Pedestrians and cyclists have joints: visible, or
    hidden by something else, or none where they lie outside.
    """
    height, width = rendering.image.shape[:2]
    boxes = np.clip(rendering.boxes, 0, np.array([width, height, width, height], np.float32))
    sides = boxes[:, 2:] - boxes[:, :2]
    inside = (sides > 0).all(1)
    labels = np.array([CLASSES.index(actor.category) for actor in world.actors], np.int64)
    ignore = (rendering.visible < _LEAST_VISIBLE) | (sides[:, 1] < _LEAST_HEIGHT)
    joints = [_joints(actor, number, world, rendering) for number, actor in enumerate(world.actors)]
    objects = {"boxes": boxes, "labels": labels, "ignore": ignore, "area": sides.prod(1)}
    objects["keypoints"] = np.array(joints, np.float32).reshape(-1, len(JOINTS), 3)
    objects |= boxes3d(world.actors, world.camera.projection((height, width))) | visibility(rendering, boxes)
    return {name: values[inside] for name, values in objects.items()}


def _joints(actor: Actor, number: int, world: World, rendering: Rendering) -> NDArray[np.float64]:
    """Return x, y and visibility (17, 3) of an actor's joints."""
    joints = np.full((len(JOINTS), 3), (np.nan, np.nan, 0))
    if actor.category == "vehicle":
        return joints
    points, size = keypoints(actor), rendering.image.shape[:2]
    front = points[:, 2] > NEAR
    pixels = project(np.where(front[:, None], points, 1.0), world.camera.projection(size))
    inside = front & ((pixels >= 0) & (pixels < size[::-1])).all(1)
    joints[inside, :2] = pixels[inside]
    joints[inside, 2] = np.where(rendering.owner(pixels[inside]) == number + 1, 2, 1)
    return joints


def street_data(
    train_size: int = 1000,
    val_size: int = 100,
    test_size: int = 100,
    *,
    image_size: Sequence[int] | None = None,
    input_size: Sequence[int] = (128, 224),
    zoom: float = 1.0,
    vehicles: float = 1.0,
    seed: int = 0,
    **common: Any,
) -> DetectionData:
    """Build the street's data module: three splits that share no scene.

    Args:
        train_size: scenes to train on.
        val_size: scenes to validate on.
        test_size: scenes to test on.
        image_size: height and width of the pictures; by default the network's own, `input_size`.
        input_size: height and width of the network's input.
        zoom: how many times larger road users are than in the camera's ordinary view.
        vehicles: how many times as often as usual a road user is a vehicle.
        seed: of the scenes, the shuffling and the augmentation.
        **common: the other arguments of `DetectionData`.
    """
    image_size = input_size if image_size is None else image_size
    draw = partial(Street, image_size=image_size, zoom=zoom, vehicles=vehicles)
    train, val, test = (
        partial(draw, size, seed=3 * seed + split) for split, size in enumerate((train_size, val_size, test_size))
    )
    return DetectionData(train, val, test, input_size=input_size, seed=seed, **common)
