"""Affine maps, radii and Gaussians equal those of the originals."""

from __future__ import annotations

import pytest
import torch

from lightning_centernet.geometry.affine import invert, similarity, transform_points
from lightning_centernet.geometry.gaussian import draw_gaussians, gaussian_radius
from tests.golden_files import cases, load


@pytest.mark.parametrize("path", cases("affine"))
def test_similarity(path):
    _, arrays = load(path)
    for row, matrix, points, mapped in zip(
        arrays["params"].tolist(), arrays["trans"], arrays["pts_in"], arrays["pts_out"], strict=True
    ):
        x, y, scale, scale_y, rotation, width, height, shift_x, shift_y, inverse = row
        actual = similarity((x + scale * shift_x, y + scale_y * shift_y), scale, rotation, (width, height))
        actual = invert(actual) if inverse else actual
        torch.testing.assert_close(actual[:, :2], matrix[:, :2], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(actual[:, 2], matrix[:, 2], rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(transform_points(points, actual), mapped, rtol=0, atol=1e-3)


@pytest.mark.parametrize("path", cases("gaussian"))
class TestGaussian:
    @pytest.mark.parametrize("overlap", [0.7, 0.5, 0.3])
    def test_radius(self, path, overlap):
        _, arrays = load(path)
        height, width = arrays["radius_h"].double()[:, None], arrays["radius_w"].double()[None, :]
        radius, name = gaussian_radius(height, width, overlap), f"{overlap:.1f}".replace(".", "")
        torch.testing.assert_close(radius.float(), arrays[f"radius_raw_{name}"], rtol=1e-5, atol=1e-6)
        assert torch.equal(radius.long().clamp(min=0), arrays[f"radius_int_{name}"])

    def test_rounded_up_radius(self, path):
        _, arrays = load(path)
        radius = gaussian_radius(arrays["ceil_h"].ceil(), arrays["ceil_w"].ceil()).long()
        assert torch.equal(radius, arrays["ceil_radius_int"])

    def test_single_peaks(self, path):
        _, arrays = load(path)
        for name in ("single", "outside"):
            drawn = arrays[f"umich_{name}"]
            x, y, radius = arrays["umich_cases_xyr" if name == "single" else "umich_outside_xyr"].unbind(1)
            actual = torch.zeros_like(drawn).unsqueeze(1)
            cells = torch.stack([x, y], 1).unsqueeze(1)
            draw_gaussians(actual, cells, torch.zeros(len(x), 1, dtype=torch.long), radius.unsqueeze(1))
            torch.testing.assert_close(actual[:, 0], drawn, rtol=0, atol=1e-6)

    def test_peaks_of_fixed_width(self, path):
        _, arrays = load(path)
        for (x, y, sigma), drawn in zip(arrays["msra_cases_xys"].tolist(), arrays["msra_single"], strict=True):
            actual = torch.zeros(1, 1, *drawn.shape)
            cell = torch.tensor([[[int(x + 0.5), int(y + 0.5)]]])
            radius, zero = torch.tensor([[int(sigma * 3)]]), torch.zeros(1, 1, dtype=torch.long)
            draw_gaussians(actual, cell, zero, radius, sigma=sigma)
            torch.testing.assert_close(actual[0, 0], drawn, rtol=0, atol=1e-6)
