"""Colour augmentation of the originals, folded into one affine map of RGB in [0, 1]."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

GRAY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in OpenCV
# AlexNet's lighting: the covariance of ImageNet's colours. CenterNet's rows are B, G, R; these are R, G, B.
EIGENVALUES = np.array([0.2141788, 0.01817699, 0.00341571])
EIGENVECTORS = np.array(
    [
        [-0.56089297, 0.71832671, 0.41158938],
        [-0.5832747, 0.00994535, -0.81221408],
        [-0.58752847, -0.69563484, 0.41340352],
    ]
)


def color_matrix(
    factors: NDArray[np.float64], order: NDArray[np.int64], mean_gray: float, alpha: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Chain brightness, contrast and saturation in any order, then lighting, into one map.

    Each of the three blends the picture, by its factor, with something of the picture as it was at first: black, the
    mean gray, each pixel's gray. Lighting adds `alpha` times the eigenvalues along the eigenvectors.

    Args:
        factors: (3,) of brightness, contrast and saturation; 1 changes nothing.
        order: a permutation of 0, 1, 2.
        mean_gray: of the picture at first, in [0, 1].
        alpha: (3,) 0 changes nothing.

    Returns:
        (3, 4), to apply to (R, G, B, 1). The result is not clipped, as in the originals.
    """
    blends = np.zeros((3, 3, 4))
    blends[1, :, 3] = mean_gray
    blends[2, :, :3] = GRAY
    result = np.eye(3, 4)
    for step in order:
        result = factors[step] * result + (1 - factors[step]) * blends[step]
    result[:, 3] += EIGENVECTORS @ (EIGENVALUES * alpha)
    return result


def mean_gray(image: NDArray[np.uint8]) -> float:
    """Average the gray of an RGB picture, in [0, 1]."""
    return float(np.dot(cv2.mean(image)[:3], GRAY)) / 255
