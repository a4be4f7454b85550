"""From a sample to the network's input: one affine warp of the uint8 picture, its objects along with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_centernet.data.augmentation import Augmentation, whole_extent
from lightning_centernet.data.boxes3d import move_boxes3d
from lightning_centernet.data.color import mean_gray
from lightning_centernet.data.keypoints import move_keypoints
from lightning_centernet.data.sample import Sample
from lightning_centernet.data.warping import align_crop, warp
from lightning_centernet.geometry.affine import determinant, similarity, transform_boxes
from lightning_centernet.geometry.camera import transform_calibration
from lightning_centernet.geometry.size import as_input_size


class Transform:
    """Warp samples to one input size.

    Without augmentation a picture is letterboxed: its aspect is kept, it touches two opposite sides of the input, and
    lies in the middle; the rest is black, as in the originals.

    Args:
        input_size: height and width of the network's input.
        augmentation: random changes; None for validation.
        view_sizes: further input sizes to letterbox each picture to, for test-time augmentation.

    Raises:
        UserError: `input_size` is not two positive integers.
    """

    def __init__(
        self,
        input_size: Sequence[int],
        augmentation: Augmentation | None = None,
        view_sizes: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.input_size = as_input_size(input_size)
        self.augmentation = augmentation
        self.view_sizes = view_sizes

    def __call__(self, sample: Sample, generator: np.random.Generator | None = None) -> dict[str, Any]:
        """Make the network's input of a sample; `generator` is the source of all chance in the augmentation.

        Returns:
            image (3, H, W) uint8; transform (2, 3) float64, original pixels to input pixels; color (3, 4) float32, to
            apply to RGB in [0, 1] (and 1), left to the device; annotations in input pixels; ground_truth, the same in
            original pixels; image_id; size (2,), the original height and width; file; scale (), the extent of the crop
            relative to the whole picture; and calibration (3, 4) float32, of the input's pixels, if the sample has one;
            views, a list of (3, H', W') uint8, and view_transforms (V, 2, 3) float64, if there are `view_sizes`.
        """
        size = sample.image.shape[:2]
        generator = generator or np.random.default_rng()
        matrix = self._matrix(size, generator)
        image = warp(sample.image, matrix, self.input_size)
        color = np.eye(3, 4) if self.augmentation is None else self.augmentation.color(mean_gray(image), generator)
        ground_truth = {name: torch.from_numpy(column) for name, column in sample.annotations.items()}
        moved = {"boxes": transform_boxes(ground_truth["boxes"], matrix)} | move_boxes3d(ground_truth, matrix)
        if "keypoints" in ground_truth:
            moved["keypoints"] = move_keypoints(ground_truth["keypoints"], matrix, sample.skeleton)
        fields = {
            "image": torch.from_numpy(image).permute(2, 0, 1),
            "transform": matrix,
            "scale": self._scale(size, matrix),
            "color": torch.from_numpy(color.astype(np.float32)),
            "annotations": ground_truth | moved,
            "ground_truth": ground_truth,
            "image_id": torch.tensor(sample.image_id),
            "size": torch.tensor(size),
            "file": sample.file,
        }
        return fields | self._calibration(sample, matrix) | self._views(sample.image)

    def _matrix(self, size: tuple[int, int], generator: np.random.Generator) -> Tensor:
        if self.augmentation is None:
            return letterbox(size, self.input_size)
        return align_crop(self.augmentation.matrix(size, self.input_size, generator), self.input_size[1])

    def _scale(self, size: tuple[int, int], matrix: Tensor) -> Tensor:
        zoom = abs(determinant(matrix)) ** 0.5
        return torch.tensor(self.input_size[1] / whole_extent(size, self.input_size) / zoom, dtype=torch.float32)

    def _views(self, image: NDArray[np.uint8]) -> dict[str, Any]:
        if not self.view_sizes:
            return {}
        matrices = [letterbox((image.shape[0], image.shape[1]), size) for size in self.view_sizes]
        views = [warp(image, matrix, size) for matrix, size in zip(matrices, self.view_sizes, strict=True)]
        return {
            "views": [torch.from_numpy(view).permute(2, 0, 1) for view in views],
            "view_transforms": torch.stack(matrices),
        }

    @staticmethod
    def _calibration(sample: Sample, matrix: Tensor) -> dict[str, Tensor]:
        if sample.calibration is None:
            return {}
        return {"calibration": transform_calibration(torch.from_numpy(sample.calibration).double(), matrix).float()}


def letterbox(size: tuple[int, int], input_size: tuple[int, int]) -> Tensor:
    """Fit a picture of `size` into the middle of the input, both (height, width). Returns (2, 3) float64."""
    center = (size[1] / 2, size[0] / 2)
    return similarity(center, whole_extent(size, input_size), 0.0, (input_size[1], input_size[0]))
