from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_centernet.data import Augmentation, letterbox
from lightning_centernet.errors import UserError
from lightning_centernet.geometry.affine import invert, transform_points

SIZE, INPUT = (480, 640), (256, 320)
STILL = Augmentation(crop=None, shift=0, scale=0, flip=0)


def draw(augmentation: Augmentation, count: int = 2000, size: tuple[int, int] = SIZE) -> Tensor:
    generator = np.random.default_rng(0)
    return torch.stack([augmentation.matrix(size, INPUT, generator) for _ in range(count)])


def centers(matrices: Tensor) -> Tensor:
    """The point of the picture that lands in the middle of the input."""
    return transform_points(torch.tensor([[INPUT[1] / 2, INPUT[0] / 2]], dtype=torch.float64), invert(matrices))[:, 0]


def zooms(matrices: Tensor) -> Tensor:
    return torch.linalg.det(matrices[:, :, :2]).abs().sqrt()


@pytest.mark.parametrize("size", [SIZE, (640, 480), (100, 900), (1, 1)])
def test_without_strengths_it_is_the_letterbox(size: tuple[int, int]) -> None:
    matrix = STILL.matrix(size, INPUT, np.random.default_rng(0))
    torch.testing.assert_close(matrix, letterbox(size, INPUT), rtol=0, atol=1e-9)


def test_crop_draws_extents_and_centers_as_centernet_does() -> None:
    matrices = draw(Augmentation(flip=0))
    extents = letterbox(SIZE, INPUT)[0, 0] / zooms(matrices)
    found, counts = (extents * 10).round(decimals=6).unique(return_counts=True)
    assert found.tolist() == [6, 7, 8, 9, 10, 11, 12, 13]
    assert counts.min() > 2000 / 8 * 0.8
    low, high = centers(matrices).aminmax(dim=0)
    torch.testing.assert_close(low, torch.tensor([128.0, 128.0], dtype=torch.float64), rtol=0, atol=3)
    torch.testing.assert_close(high, torch.tensor([512.0, 352.0], dtype=torch.float64), rtol=0, atol=3)


@pytest.mark.parametrize(("side", "border"), [(257, 128), (256, 64), (129, 64), (64, 16), (1, 0)])
def test_border_is_halved_until_it_fits(side: int, border: int) -> None:
    matrices = draw(Augmentation(flip=0), 400, (480, side))
    low, high = centers(matrices)[:, 0].aminmax()
    assert border <= low
    assert high <= side - border
    assert low - border < 0.05 * side


def test_shift_and_scale_are_cut_off() -> None:
    matrices = draw(replace(STILL, shift=0.1, scale=0.4))
    shifts = (centers(matrices) - torch.tensor([320.0, 240.0])) / 640
    extents = letterbox(SIZE, INPUT)[0, 0] / zooms(matrices)
    assert shifts.abs().max().item() == pytest.approx(0.2)
    assert (extents.min().item(), extents.max().item()) == (pytest.approx(0.6), pytest.approx(1.4))
    assert shifts.std(dim=0).tolist() == pytest.approx([0.1, 0.1], rel=0.1)  # cutting off at 2 deviations takes 5 %


def test_upright_shift_of_its_own() -> None:
    moved = centers(draw(replace(STILL, shift=0.1, vertical_shift=0.03))) - torch.tensor([320.0, 240.0])
    torch.testing.assert_close(moved.abs().amax(0).float(), 640 * torch.tensor([0.2, 0.06]), rtol=1e-3, atol=0)
    one_for_both = draw(replace(STILL, shift=0.1))
    torch.testing.assert_close(draw(replace(STILL, shift=0.1, vertical_shift=0.1)), one_for_both, rtol=0, atol=0)


@pytest.mark.parametrize("augmentation", [replace(STILL, shift=0.1, scale=0.2), Augmentation(flip=0)])
def test_some_pictures_are_seen_whole(augmentation: Augmentation) -> None:
    whole = (draw(replace(augmentation, crop_probability=0.3)) - letterbox(SIZE, INPUT)).abs().amax((1, 2)) < 1e-9
    assert 0.65 < whole.double().mean() < 0.75
    assert (draw(augmentation) - letterbox(SIZE, INPUT)).abs().amax((1, 2)).min() > 1e-6


def test_rotation_is_cut_off_and_keeps_the_center() -> None:
    matrices = draw(replace(STILL, rotation=10, rotation_probability=0.5))
    angles = torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]).rad2deg()
    assert angles.abs().max().item() == pytest.approx(20)
    assert (angles.abs() < 1e-9).double().mean().item() == pytest.approx(0.5, abs=0.05)
    torch.testing.assert_close(centers(matrices), torch.tensor([[320.0, 240.0]]).double().expand(2000, 2))
    torch.testing.assert_close(zooms(matrices), letterbox(SIZE, INPUT)[0, 0].expand(2000))


def test_flip_mirrors_the_input() -> None:
    still, flipped = STILL.matrix(SIZE, INPUT, np.random.default_rng(0)), draw(replace(STILL, flip=1), 1)[0]
    points = torch.rand(50, 2, dtype=torch.float64) * 400
    mirrored = transform_points(points, still) * torch.tensor([-1, 1]) + torch.tensor([INPUT[1], 0])
    torch.testing.assert_close(transform_points(points, flipped), mirrored)
    signs = torch.linalg.det(draw(replace(STILL, flip=0.5))[:, :, :2]).sign()
    assert signs.mean().abs() < 0.1


def test_color_stays_within_its_strengths() -> None:
    generator = np.random.default_rng(0)
    only = Augmentation(brightness=0.3, contrast=0, saturation=0, lighting=0)
    factors = np.array([only.color(0.5, generator)[0, 0] for _ in range(500)])
    assert (factors.min(), factors.max()) == (pytest.approx(0.7, abs=0.01), pytest.approx(1.3, abs=0.01))
    none = Augmentation(brightness=0, contrast=0, saturation=0, lighting=0).color(0.5, generator)
    np.testing.assert_array_equal(none, np.eye(3, 4))


@pytest.mark.parametrize(
    "wrong",
    [
        *({"flip": 1.5}, {"shift": -0.1}, {"scale": 2.0}, {"vertical_shift": "a"}, {"lighting": [0.1]}, {"flip": None}),
        *({"crop": []}, {"crop": [0.0, 1.0]}, {"crop": ["a", 1.0]}, {"crop": 0.5}, {"crop": "wide"}),
    ],
)
def test_impossible_strengths(wrong: dict) -> None:
    with pytest.raises(UserError, match=f"augmentation {next(iter(wrong))}="):
        Augmentation(**wrong)
