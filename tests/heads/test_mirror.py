"""What each head says of a mirrored image is, mirrored back, what it says of the image: found by listing the heads."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_centernet import UserError, encode, standard_heads
from lightning_centernet.data.boxes3d import move_boxes3d
from lightning_centernet.data.keypoints import move_keypoints
from lightning_centernet.geometry.affine import transform_boxes, transform_points
from lightning_centernet.heads import STANDARD, Rotation
from lightning_centernet.losses import depth_from_logits
from lightning_centernet.skeleton import Skeleton
from lightning_centernet.testing import fake_outputs
from lightning_centernet.types import Grid

GRID = Grid(24, 40)
SKELETON = Skeleton(("nose", "left_eye", "right_eye", "left_foot", "right_foot"))
OPEN = {"hm": 3, "hps": 10, "hm_hp": 5}
SPECS = [
    pytest.param(name, {"channels": standard.channels or OPEN[name]}, id=name) for name, standard in STANDARD.items()
]
SPECS += [
    pytest.param(name, options, id=f"{name}, {next(iter(options))}")
    for name, options in [
        ("wh", {"class_specific": True, "channels": 6}),
        ("wh", {"dense": True}),
        ("hps", {"dense": True, "channels": 10}),
        ("dep", {"channels": 3}),
        ("dep", {"activation": "linear"}),
        ("dep", {"loss": "laplace"}),
        ("rot", {"loss": "sin_cos"}),
        ("speed", {"kind": "regression", "channels": 2}),
    ]
]
EACH = pytest.mark.parametrize(("name", "options"), SPECS)


def head_of(name, options):
    return standard_heads({name: options})[name]


def annotations_of(seed=0, images=2, slots=4):
    """Objects in distinct cells off the border, with every field."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.rand(images, slots, *shape, generator=generator)

    x = 25 + 32 * torch.arange(slots) + 8 * noise()
    centers = torch.stack([x, 30 + 40 * noise()], -1)
    rows = 2 + torch.arange(5 * slots).view(slots, 5)  # a row of cells for each joint
    joints = torch.stack([x[..., None] + 30 * noise(5) - 15, 4 * (rows + noise(5)), torch.full_like(noise(5), 2)], -1)
    return {
        "boxes": torch.cat([centers - 4 - 12 * noise(2), centers + 4 + 12 * noise(2)], -1),
        "labels": torch.randint(3, (images, slots), generator=generator),
        "keypoints": joints,
        "depth": 2 + 60 * noise(),
        "dimensions": 0.5 + 4 * noise(3),
        "alpha": math.pi * (2 * noise() - 1),
        "amodal_centers": centers + 20 * noise(2),
        "velocity": 10 * noise(3) - 5,
        "speed": noise(2),
        "previous": centers + 20 * noise(2) - 10,
        "attributes": (noise(8) > 0.5).float(),
    }


def mirrored(annotations):
    """The same objects in the mirror, moved as data sets move them with their pictures."""
    width = GRID.width * GRID.stride
    matrix = torch.tensor([[-1.0, 0, width], [0, 1, 0]], dtype=torch.float64)
    moved = annotations | {"boxes": transform_boxes(annotations["boxes"], matrix)} | move_boxes3d(annotations, matrix)
    moved["previous"] = transform_points(annotations["previous"], matrix)
    moved["keypoints"] = torch.stack([move_keypoints(each, matrix, SKELETON) for each in annotations["keypoints"]])
    return moved


def targets_of(head, annotations):
    """What the head is to learn; of the two that make no targets themselves, as their definitions say."""
    if head.name == "tracking":
        targets = encode(annotations, {}, GRID)
        cells = torch.stack([targets["ind"] % GRID.width, targets["ind"] // GRID.width], -1)
        return targets | {"tracking": annotations["previous"] / GRID.stride - cells}
    if head.name == "nuscenes_att":
        return encode(annotations, {}, GRID) | {"nuscenes_att": annotations["attributes"]}
    return encode(annotations, {head.name: head}, GRID)


def raw(head, targets, annotations):
    """The raw outputs (B, C, h, w) of a network that has learned the targets; NaN where nothing was to learn."""
    name = head.name
    if name in ("hm", "hm_hp"):
        return targets[name].logit()
    if head.at == "map":
        values, mask = (targets[key] for key in (f"dense_{name}", f"dense_{name}_mask"))
        return torch.where(mask > 0, values, torch.nan)
    values, index = targets[head.target_keys[0]], targets["hp_ind" if head.at == "joint" else "ind"]
    if isinstance(head, Rotation):
        values = rotation_logits(head, targets, annotations)
    if name in ("dep", "dep_sec"):
        values = values if head.activation == "linear" else -values.log()
        scale = torch.full_like(values, 0.3)
        values = torch.cat([values, scale], -1) if head.uncertain else values.expand(-1, -1, head.channels)
    assert all(len(set(cells.tolist())) == len(cells) for cells in index), "no two may share a cell"
    cells = torch.full((len(index), GRID.height * GRID.width, head.channels), torch.nan)
    return cells.scatter(1, index.unsqueeze(-1).expand(-1, -1, head.channels), values).mT.unflatten(-1, GRID[:2])


def rotation_logits(head, targets, annotations):
    if head.loss == "sin_cos":
        return torch.stack([annotations["alpha"].sin(), annotations["alpha"].cos()], -1)
    inside, residuals = targets["rotbin"].bool(), targets["rotres"]
    parts = [torch.where(inside, -3.0, 3.0), torch.where(inside, 3.0, -3.0), residuals.sin(), residuals.cos()]
    return torch.stack(parts, -1).flatten(-2)


@EACH
def test_perfect_outputs(name, options):
    head, annotations = head_of(name, options), annotations_of()
    other = mirrored(annotations)
    expected = raw(head, targets_of(head, annotations), annotations)
    outputs = raw(head, targets_of(head, other), other)
    assert expected.isfinite().any()
    result = head.mirror(outputs.flip(3), SKELETON.flip)
    torch.testing.assert_close(result, expected, rtol=0, atol=2e-4, equal_nan=True)


@EACH
def test_mirroring_twice_changes_nothing(name, options):
    head = head_of(name, options)
    output = fake_outputs({name: head})[name]
    twice = head.mirror(head.mirror(output, SKELETON.flip), SKELETON.flip)
    torch.testing.assert_close(twice, output)


@EACH
def test_outputs_that_agree_stay(name, options):
    output = fake_outputs({name: head_of(name, options)})[name]
    torch.testing.assert_close(head_of(name, options).combine(torch.stack([output] * 3)), output, rtol=1e-5, atol=1e-5)


def test_probabilities_and_metres_are_averaged():
    """Whatever the logits are, also those of certainty."""
    outputs = torch.tensor([[-90.0, -2.0, 0.0, 3.0], [-80.0, 4.0, 0.0, 95.0]]).view(2, 1, 1, 2, 2)
    for name in ("hm", "hm_hp", "nuscenes_att"):
        combined = head_of(name, {"channels": STANDARD[name].channels or 1}).combine(outputs)
        torch.testing.assert_close(combined.double().sigmoid(), outputs.double().sigmoid().mean(0))
        assert combined.isfinite().all()
    logits = torch.tensor([[-4.0, -1.0, 0.0, 2.0], [-3.0, 1.0, 0.5, 3.0]]).view(2, 1, 1, 2, 2)
    metres = depth_from_logits(head_of("dep", {"channels": 1}).combine(logits))
    torch.testing.assert_close(metres, depth_from_logits(logits).mean(0), rtol=1e-5, atol=1e-5)
    linear = head_of("dep", {"activation": "linear", "channels": 1}).combine(logits)
    torch.testing.assert_close(linear, logits.mean(0))


@pytest.mark.parametrize("name", ["hps", "hm_hp"])
def test_joints_whose_pairs_are_unknown(name):
    head = head_of(name, {"channels": OPEN[name]})
    with pytest.raises(UserError, match=f"head `{name}` has 5 joints, but nothing says which of them change places"):
        head.mirror(fake_outputs({name: head})[name], ())
