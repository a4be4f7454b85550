"""The street's 3D boxes lie where their actors are painted, in every crop, scale and mirror of a picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_centernet.data import Augmentation, Street, Transform
from lightning_centernet.data.boxes3d import projected_overlaps
from lightning_centernet.data.street import CLASSES, annotate, render
from lightning_centernet.data.street.people import keypoints
from lightning_centernet.geometry.boxes3d import corners
from lightning_centernet.geometry.camera import alpha_from_rotation, project, project_boxes, wrap_angle
from tests.data.test_street import SIZE, make_actor, make_world

FIELDS = ("location", "dimensions", "rotation_y")
PLAIN = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "lighting": 0.0}
AUGMENTATIONS = {
    "none": None,
    "crop": Augmentation(crop=[0.6], flip=0.0, **PLAIN),
    "mirror": Augmentation(crop=[1.3], flip=1.0, **PLAIN),
    "shift": Augmentation(crop=None, shift=0.1, scale=0.3, flip=1.0, **PLAIN),
}
LEAST = {"vehicle": (0.9, 0.7), "pedestrian": (0.7, 0.5), "cyclist": (0.7, 0.5)}  # IoU: in the median, of any


@pytest.fixture(scope="module")
def street():
    return Street(60, seed=4, image_size=(192, 320), zoom=1.2)


def hulls(objects, camera):
    pixels = project_boxes(*(objects[name].double() for name in FIELDS), camera.double())
    return torch.cat([pixels.amin(1), pixels.amax(1)], -1)


def test_boxes_fit_what_is_painted(street):
    """A box holds its actor, and is not much larger; the hull of a turned box is always larger than a thin body."""
    for label, name in enumerate(CLASSES):
        overlaps = [projected_overlaps(sample)[sample.annotations["labels"] == label] for sample in street]
        known = torch.cat(overlaps)
        known = known[known.isfinite()]
        assert len(known) > 20
        assert known.median() > LEAST[name][0]
        assert known.min() > LEAST[name][1]


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_camera_sees_what_the_annotations_say(street, name):
    for index in range(12):
        item = Transform((160, 224), AUGMENTATIONS[name])(street[index], np.random.default_rng(index))
        objects, camera, before = item["annotations"], item["calibration"], item["ground_truth"]
        middle = objects["location"] - objects["dimensions"][:, :1] / 2 * torch.tensor([0.0, 1.0, 0.0])
        seen = project(middle, camera)
        torch.testing.assert_close(seen, objects["amodal_centers"], rtol=1e-4, atol=1e-2)
        turn = wrap_angle(alpha_from_rotation(objects["rotation_y"], seen, camera) - objects["alpha"])
        torch.testing.assert_close(turn, torch.zeros_like(turn), rtol=0, atol=1e-4)
        torch.testing.assert_close(objects["depth"], before["location"][:, 2])
        # The hulls move as the 2D boxes do.
        original = torch.from_numpy(street[index].calibration)
        wanted = hulls(before, original).unflatten(-1, (2, 2)) @ item["transform"][:, :2].mT + item["transform"][:, 2]
        wanted = torch.cat([wanted.amin(1), wanted.amax(1)], -1)
        torch.testing.assert_close(hulls(objects, camera), wanted, rtol=1e-4, atol=1e-2)


def test_the_front_is_in_front():
    """Of a box, as `corners` lists them; of a pedestrian, where the nose is."""
    actor = make_actor(
        "pedestrian", 0.5, 8.0, rotation_y=2.0, velocity=(1.4 * math.cos(2.0), 0.0, -1.4 * math.sin(2.0))
    )
    world = make_world(actor)
    objects = {name: torch.from_numpy(values) for name, values in annotate(world, render(world, SIZE)).items()}
    (box,) = corners(*(objects[name] for name in FIELDS)).numpy()
    forward = box[:2].mean(0) - box[2:4].mean(0)
    joints = keypoints(actor)
    assert forward @ (joints[0] - joints[3:5].mean(0)) > 0  # from the ears to the nose
    np.testing.assert_allclose(forward / np.linalg.norm(forward), np.array(actor.velocity) / actor.speed, atol=1e-6)
    right = box[1] - box[0]
    assert right @ (joints[6] - joints[5]) > 0  # from the left shoulder to the right one


def test_who_stands_takes_up_less_than_who_walks():
    walking = make_actor("pedestrian", 0.0, 8.0, velocity=(1.4, 0.0, 0.0), phase=math.pi / 2)
    standing = make_actor("pedestrian", 2.0, 8.0)
    world = make_world(walking, standing)
    (height, width, stride), (_, _, body) = annotate(world, render(world, SIZE))["dimensions"]
    assert (height, width) == pytest.approx(walking.dimensions[:2])
    assert body < 0.5 < stride < 1.1


def test_alpha_is_what_the_picture_shows():
    """Cars that drive away, wherever they are: alpha is how far the line of sight turns."""
    world = make_world(*(make_actor("saloon", x, 12.0, -math.pi / 2) for x in (-4.0, 0.0, 4.0)))
    objects = annotate(world, render(world, SIZE))
    np.testing.assert_allclose(objects["rotation_y"], -math.pi / 2)
    np.testing.assert_allclose(objects["alpha"], -math.pi / 2 - np.arctan2([-4.0, 0.0, 4.0], 12.0), rtol=1e-6)
    world = make_world(*(make_actor("saloon", -4.0, 12.0, angle) for angle in np.linspace(-math.pi, math.pi, 9)))
    assert (np.abs(annotate(world, render(world, SIZE))["alpha"]) <= np.float32(math.pi)).all()


def test_truncation_and_occlusion():
    half_out = make_actor("saloon", 160 / 288 * 12.0, 12.0, 0.0)  # its middle is on the picture's edge
    van, behind, beside = (make_actor(*place) for place in (("van", 0, 12, 0), ("saloon", 0, 24), ("cyclist", -4, 9)))
    world = make_world(half_out, van, behind, beside)
    objects = annotate(world, render(world, SIZE))
    np.testing.assert_allclose(objects["truncation"], [0.54, 0, 0, 0], atol=0.01)  # its far side is nearer the middle
    assert objects["occlusion"].tolist() == [0, 0, 2, 0]


def test_partly_hidden():
    van, person = make_actor("van", -1.2, 9.0, math.pi / 2), make_actor("pedestrian", -0.25, 14.0)
    rendering = render(make_world(person, van), (192, 320))
    assert 0.5 < rendering.visible[0] < 0.8
    assert annotate(make_world(person, van), rendering)["occlusion"].tolist() == [1, 0]


def test_a_box_about_the_camera_has_no_place():
    """A long bus whose middle is behind us: what we see of it is 2D only."""
    bus = make_actor("bus", 2.2, -1.0, math.pi / 2)
    objects = annotate(make_world(bus), render(make_world(bus), SIZE))
    assert len(objects["boxes"]) == 1
    for name in ("location", "depth", "amodal_centers", "alpha"):
        assert np.isnan(objects[name]).all()
    assert np.isfinite(objects["dimensions"]).all()


def test_an_empty_picture():
    objects = annotate(make_world(), render(make_world(), SIZE))
    shapes = {"location": (0, 3), "dimensions": (0, 3), "amodal_centers": (0, 2)}
    shapes |= dict.fromkeys(("depth", "alpha", "rotation_y", "truncation", "occlusion"), (0,))
    assert {name: objects[name].shape for name in shapes} == shapes
