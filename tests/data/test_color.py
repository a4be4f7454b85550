from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from lightning_centernet.data.color import EIGENVALUES, EIGENVECTORS, color_matrix, mean_gray

IMAGE = np.random.default_rng(0).integers(0, 256, (7, 9, 3)).astype(np.uint8)


def slow(image: np.ndarray, factors: np.ndarray, order: tuple[int, ...], alpha: np.ndarray) -> np.ndarray:
    """CenterNet's augmentation as its text has it: one change after the other, of a picture in float."""
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    gray = 0.299 * red + 0.587 * green + 0.114 * blue
    average = gray.mean()
    for step in order:
        if step == 0:
            image = image * factors[0]
        elif step == 1:
            image = image * factors[1] + average * (1 - factors[1])
        else:
            image = image * factors[2] + gray[..., None] * (1 - factors[2])
    return image + EIGENVECTORS @ (EIGENVALUES * alpha)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_one_matrix_is_all_steps(order: tuple[int, ...]) -> None:
    generator = np.random.default_rng(sum(order))
    factors, alpha = generator.uniform(0.6, 1.4, 3), generator.normal(scale=0.1, size=3)
    matrix = color_matrix(factors, np.array(order), mean_gray(IMAGE), alpha)
    pixels = IMAGE / 255
    np.testing.assert_allclose(pixels @ matrix[:, :3].T + matrix[:, 3], slow(pixels, factors, order, alpha), atol=1e-12)


def test_no_strength_changes_nothing() -> None:
    matrix = color_matrix(np.ones(3), np.arange(3), 0.7, np.zeros(3))
    np.testing.assert_array_equal(matrix, np.eye(3, 4))


def test_no_saturation_is_gray() -> None:
    matrix = color_matrix(np.array([1, 1, 0]), np.arange(3), 0.7, np.zeros(3))
    gray = matrix[:, :3] @ [1.0, 0.0, 0.0]
    np.testing.assert_allclose(gray, 0.299)  # of red, in every channel


def test_eigenvectors_are_orthonormal_and_in_rgb() -> None:
    np.testing.assert_allclose(EIGENVECTORS.T @ EIGENVECTORS, np.eye(3), atol=1e-6)
    # AlexNet's own, of a slightly different sample of ImageNet, are printed in R, G, B (fb.resnet.torch, imagenet.lua).
    printed = [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    np.testing.assert_allclose(EIGENVECTORS, printed, atol=0.02)
