"""The originals' input: flip, warp, float, colour augmentation on the host, normalised float32 images to the loader."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
EIGENVALUES = np.array([0.2141788, 0.01817699, 0.00341571], np.float32)
EIGENVECTORS = np.array(
    [
        [-0.56089297, 0.71832671, 0.41158938],
        [-0.5832747, 0.00994535, -0.81221408],
        [-0.58752847, -0.69563484, 0.41340352],
    ],
    np.float32,
)


def network_input(image: NDArray, size: tuple[int, int], chance: np.random.Generator) -> NDArray:
    """Augment a picture (h, w, 3) uint8: float32 (3, H, W), normalised."""
    if chance.random() < 0.5:
        image = image[:, ::-1, :]
    warped = cv2.warpAffine(image, _crop(image.shape[:2], size, chance), (size[1], size[0]), flags=cv2.INTER_LINEAR)
    picture = warped.astype(np.float32) / 255
    _augment(picture, chance)
    return ((picture - MEAN) / STD).transpose(2, 0, 1)


def read(file: str) -> NDArray:
    """Read a picture."""
    return cv2.imread(file)


def batch(images: list[NDArray]) -> Tensor:
    """Stack, as the loader does."""
    return torch.stack([torch.from_numpy(image) for image in images])


def _crop(shape: tuple[int, ...], size: tuple[int, int], chance: np.random.Generator) -> NDArray:
    # Three points of the source, and where they go.
    extent = max(shape) * chance.choice(np.arange(0.6, 1.4, 0.1))
    center = [chance.integers(128, shape[1] - 128), chance.integers(128, shape[0] - 128)]
    source = np.array([center, [center[0], center[1] - extent / 2], [center[0] - extent / 2, center[1] - extent / 2]])
    width, height = size[1], size[0]
    goal = np.array([[width / 2, height / 2], [width / 2, height / 2 - width / 2], [0, height / 2 - width / 2]])
    return cv2.getAffineTransform(source.astype(np.float32), goal.astype(np.float32))


def _augment(picture: NDArray, chance: np.random.Generator) -> None:
    # Brightness, contrast and saturation in any order, then lighting; in place.
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    mean = gray.mean()
    for step in chance.permutation(3):
        factor = np.float32(1 + chance.uniform(-0.4, 0.4))
        picture *= factor
        if step == 1:
            picture += (1 - factor) * mean
        elif step == 2:
            picture += (1 - factor) * gray[:, :, None]
    picture += np.dot(EIGENVECTORS, EIGENVALUES * chance.normal(scale=0.1, size=3).astype(np.float32))
