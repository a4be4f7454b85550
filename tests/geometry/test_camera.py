"""The camera equals the originals', and a warped image's camera sees the same points where the warp puts them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_centernet.geometry.affine import compose, invert, similarity, transform_points
from lightning_centernet.geometry.boxes3d import corners
from lightning_centernet.geometry.camera import (
    alpha_from_rotation,
    focal_length,
    mirror_angle,
    project,
    project_boxes,
    rotation_from_alpha,
    transform_calibration,
    unproject,
    wrap_angle,
)
from tests.golden_files import COMMITTED, load

EXACT = {"rtol": 1e-5, "atol": 1e-5}
KITTI = torch.tensor(
    [[721.5377, 0, 609.5593, 44.85728], [0, 721.5377, 172.854, 0.2163791], [0, 0, 1, 0.002745884]], dtype=torch.float64
)
MIRROR = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def golden():
    _, arrays = load(COMMITTED / "ddd_utils.npz")
    return arrays | {"calibration": arrays["calib"][arrays["calib_index"]]}


def scene(seed, objects=5):
    """Objects in front of a camera: locations, dimensions, rotations."""
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor([-8.0, 0.5, 6.0, 1.0, 0.5, 0.5, -3.1]), torch.tensor([8.0, 2.5, 60.0, 3.0, 2.5, 9.0, 3.1])
    values = low + (high - low) * torch.rand(objects, 7, generator=generator, dtype=torch.float64)
    return values[:, :3], values[:, 3:6], values[:, 6]


class TestOriginals:
    def test_angles(self, golden):
        pixels = torch.stack([golden["x"], torch.full_like(golden["x"], 200.0)], -1).unsqueeze(1)
        for source, target, convert in (
            ("alpha", "alpha2rot_y", rotation_from_alpha),
            ("rot_y", "rot_y2alpha", alpha_from_rotation),
        ):
            angle = convert(golden[source].unsqueeze(1), pixels, golden["calibration"]).squeeze(1)
            torch.testing.assert_close(angle, golden[target], **EXACT)

    def test_corners(self, golden):
        boxes = (golden["location"], golden["dim_hwl"], golden["rot_y"])
        torch.testing.assert_close(corners(*boxes), golden["box3d_corners"], **EXACT)
        pixels = project_boxes(*(each.unsqueeze(1) for each in boxes), golden["calibration"])
        torch.testing.assert_close(pixels.squeeze(1), golden["box3d_projected"], rtol=1e-5, atol=5e-3)

    def test_heading(self, golden):
        points = corners(golden["location"], golden["dim_hwl"], golden["rot_y"])
        front = points[:, :2].mean(1)  # half a length before the middle
        start, end = golden["orientation_3d"].unbind(1)
        torch.testing.assert_close(2 * front - golden["location"], end, **EXACT)
        torch.testing.assert_close(golden["location"], start, **EXACT)

    def test_unproject(self, golden):
        points = unproject(golden["pt2d"].unsqueeze(1), golden["depth"].unsqueeze(1), golden["calibration"])
        torch.testing.assert_close(points.squeeze(1), golden["unproject"], **EXACT)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_unproject_undoes_project(seed):
    points, _, _ = scene(seed)
    generator = torch.Generator().manual_seed(seed)
    calibration = KITTI + 0.05 * torch.randn(2, 3, 4, generator=generator)  # any camera, also askew
    depth = points @ calibration[:, 2:, :3].mT.expand(2, 3, 1) + calibration[:, 2:, 3:]
    pixels = project(points, calibration)
    torch.testing.assert_close(unproject(pixels, depth.squeeze(-1), calibration), points.expand(2, -1, -1))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), flip=st.booleans(), rotation=st.floats(-30, 30))
def test_camera_of_a_warped_image(seed, flip, rotation):
    location, dimensions, rotation_y = scene(seed)
    matrix = similarity((600.0, 170.0), 900.0, rotation, (640, 192))
    if flip:
        matrix = compose(torch.tensor([[-1.0, 0, 640], [0, 1, 0]], dtype=torch.float64), matrix)
    warped = transform_calibration(KITTI, matrix)
    middle = location - dimensions[:, :1] / 2 * torch.tensor([0, 1, 0])
    expected = transform_points(project(middle, KITTI), matrix)
    moved = middle * MIRROR if flip else middle
    torch.testing.assert_close(project(moved, warped), expected)
    torch.testing.assert_close(transform_calibration(warped, invert(matrix)), KITTI)
    torch.testing.assert_close(focal_length(warped), focal_length(KITTI) * 640 / 900)
    if not rotation:
        assert warped[0, 0] > 0
    # The angle to the line of sight is the same in every image of the object, but for the mirror.
    turned = mirror_angle(rotation_y) if flip else rotation_y
    alpha = alpha_from_rotation(rotation_y, project(middle, KITTI), KITTI)
    seen = alpha_from_rotation(turned, expected, warped)
    torch.testing.assert_close(wrap_angle(seen - (mirror_angle(alpha) if flip else alpha)).abs().max().item(), 0.0)
    torch.testing.assert_close(rotation_from_alpha(seen, expected, warped), wrap_angle(turned))


def test_a_mirrored_box_has_the_mirrored_corners():
    location, dimensions, rotation_y = scene(3)
    points = corners(location, dimensions, rotation_y) * MIRROR
    mirrored = corners(location * MIRROR, dimensions, mirror_angle(rotation_y))
    # Left and right change places.
    torch.testing.assert_close(mirrored[:, [1, 0, 3, 2, 5, 4, 7, 6]], points)


def test_angles_stay_in_range():
    angle = torch.tensor([-4.0, -math.pi, -1.0, 0.0, 3.0, math.pi, 9.0, torch.nan])
    wrapped = wrap_angle(angle)
    assert wrapped[[1, 2, 3, 4, 5]].tolist() == angle[[1, 2, 3, 4, 5]].tolist()
    torch.testing.assert_close(wrapped[[0, 6]], torch.tensor([2 * math.pi - 4, 9 - 2 * math.pi]))
    assert mirror_angle(angle).isnan().tolist() == [False] * 7 + [True]
    torch.testing.assert_close(mirror_angle(torch.tensor([0.5, -0.5])), torch.tensor([math.pi - 0.5, 0.5 - math.pi]))


def test_batch_of_many_is_many_of_one():
    location, dimensions, rotation_y = (torch.stack([scene(seed)[i] for seed in range(3)]) for i in range(3))
    calibration = torch.stack([KITTI, 1.1 * KITTI, KITTI])
    calibration[1, 2] = KITTI[2]
    together = project_boxes(location, dimensions, rotation_y, calibration)
    assert together.shape == (3, 5, 8, 2)
    for image in range(3):
        alone = project_boxes(location[image], dimensions[image], rotation_y[image], calibration[image])
        torch.testing.assert_close(together[image], alone)


def test_no_objects():
    empty = torch.zeros(2, 0, 3)
    assert project_boxes(empty, empty, empty[..., 0], torch.zeros(2, 3, 4)).shape == (2, 0, 8, 2)
    assert unproject(empty[..., :2], empty[..., 0], torch.eye(3, 4).expand(2, 3, 4)).shape == (2, 0, 3)
