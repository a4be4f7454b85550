"""A picture, and all that is known of the objects in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_centernet.draw.above import draw_above
from lightning_centernet.draw.boxes import outline_boxes
from lightning_centernet.draw.boxes3d import box_corners, outline_boxes3d
from lightning_centernet.draw.canvas import Floats, Picture, host
from lightning_centernet.draw.heatmap import draw_heatmap
from lightning_centernet.draw.names import write_names
from lightning_centernet.draw.skeletons import draw_skeletons
from lightning_centernet.skeleton import Skeleton

_READABLE = 384  # pixels: a picture whose shorter side is well below this is enlarged, to leave room for the names
_BOX3D = {"location", "dimensions", "rotation_y"}

Objects = Mapping[str, ArrayLike]


@dataclass(frozen=True)
class Scene:
    """Draw what objects, annotated or detected, have of the fields in `types`; small pictures are enlarged.

    Attributes:
        image: (H, W, 3) uint8 RGB, in whose pixels the objects are.
        classes: names by label.
        skeleton: what `keypoints` are.
        calibration: (3, 4), the camera's frame to pixels of `image`; without it there are no 3D boxes.
    """

    image: Picture
    classes: Sequence[str] = ()
    skeleton: Skeleton | None = None
    calibration: ArrayLike | None = None

    def draw(self, objects: Objects) -> Picture:
        """Draw 3D boxes, or 2D boxes where there are none; and joints. Objects need `boxes` and `labels`."""
        columns = {name: np.asarray(values) for name, values in objects.items()}
        scores, canvas = columns.get("scores"), self._enlarged
        if "keypoints" in columns:
            joints = _joints(columns)[self._have_joints(columns["labels"])]
            canvas = draw_skeletons(canvas, joints * (self.zoom, self.zoom, 1), self.skeleton)
        solid = self._are_solid(columns)
        flat, boxed = ({name: values[rows] for name, values in columns.items()} for rows in (~solid, solid))
        hulls = np.empty((len(solid), 4))
        boxes = host(flat["boxes"]) * self.zoom
        canvas, hulls[~solid] = outline_boxes(canvas, boxes, flat["labels"], flat.get("scores"))
        if solid.any():
            canvas, hulls[solid] = outline_boxes3d(canvas, boxed, self._camera)
        return write_names(canvas, hulls, columns["labels"], self.classes, scores)

    def draw_above(self, objects: Objects, truth: Objects | None = None) -> Picture:
        """Draw 3D boxes as seen from above, as `draw_above`."""
        return draw_above(objects, self._camera, self._enlarged.shape[:2], truth)

    def draw_heatmap(self, heatmap: ArrayLike) -> Picture:
        """Lay a heat map over the picture, as `draw_heatmap`."""
        return draw_heatmap(self._enlarged, heatmap)

    def has_depth(self, objects: Objects) -> bool:
        """Tell if the objects are such as have 3D boxes, and there is a camera for them."""
        return self.calibration is not None and objects.keys() >= _BOX3D

    @property
    def zoom(self) -> int:
        """How much larger than `image` the drawings are."""
        height, width, _ = self.image.shape
        return max(1, round(_READABLE / min(int(height), int(width))))

    @cached_property
    def _enlarged(self) -> Picture:
        picture = cv2.resize(self.image, None, fx=self.zoom, fy=self.zoom, interpolation=cv2.INTER_CUBIC)
        return np.asarray(picture, dtype=np.uint8)

    @property
    def _camera(self) -> Floats:
        """Return the calibration for the drawings' pixels."""
        matrix = np.eye(3, 4) if self.calibration is None else host(self.calibration)
        return matrix * ((self.zoom,), (self.zoom,), (1,))

    def _have_joints(self, labels: NDArray[np.generic]) -> list[int]:
        """Number the objects whose class has joints, or is not known."""
        joined = self.skeleton.classes if self.skeleton else None
        names = [self.classes[label] if 0 <= label < len(self.classes) else None for label in labels.tolist()]
        return [index for index, name in enumerate(names) if joined is None or name is None or name in joined]

    def _are_solid(self, objects: Mapping[str, NDArray[np.generic]]) -> NDArray[np.bool_]:
        if not self.has_depth(objects):
            return np.zeros(len(objects["labels"]), np.bool_)
        return np.asarray(np.isfinite(box_corners(objects)).all((1, 2)))


def _joints(objects: Mapping[str, NDArray[np.generic]]) -> Floats:
    """Take the joints of annotations as they are; of detections, those that no peak confirms are as if hidden.

    Where there are no `keypoint_scores` either, as of a head of one's own, all are as if seen.
    """
    joints = host(objects["keypoints"])
    if "keypoint_scores" not in objects:
        return np.pad(joints, ((0, 0), (0, 0), (0, 3 - joints.shape[-1])), constant_values=2.0)
    unconfirmed = objects["keypoint_scores"] == objects["scores"][:, None]  # without a peak it is the object's
    return np.concatenate([joints, np.where(unconfirmed, 1.0, 2.0)[..., None]], axis=-1)
