"""Heads of the 3D box: what they learn of annotations, and that decoding gives it back."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_centernet import GenericLoss, UserError, decode, encode, standard_heads
from lightning_centernet.errors import MissingTargetsError
from lightning_centernet.geometry.camera import wrap_angle
from lightning_centernet.types import Grid
from tests.waiting import as_on_a_device

GRID = Grid(24, 40)
DDD = {"hm": 3, "wh": 2, "reg": 2} | dict.fromkeys(("dep", "dim", "rot", "amodel_offset"))


def annotations_3d(seed=0, images=2, slots=5):
    """Boxes in distinct cells, with all that the 3D heads need."""
    generator = torch.Generator().manual_seed(seed)
    x = 20 + 30 * torch.arange(slots) + 8 * torch.rand(images, slots, generator=generator)
    y = 30 + 40 * torch.rand(images, slots, generator=generator)
    centers = torch.stack([x, y], -1)
    return {
        "boxes": torch.cat([centers - 12, centers + 9], -1),
        "labels": torch.randint(3, (images, slots), generator=generator),
        "mask": torch.ones(images, slots, dtype=torch.bool),
        "depth": 2 + 60 * torch.rand(images, slots, generator=generator),
        "dimensions": 0.5 + 4 * torch.rand(images, slots, 3, generator=generator),
        "alpha": math.pi * (2 * torch.rand(images, slots, generator=generator) - 1),
        "amodal_centers": centers + 20 * torch.randn(images, slots, 2, generator=generator),
    }


def learned(targets, heads, grid=GRID):
    """Make the outputs of a network that has learned the targets."""
    outputs = {"hm": targets["hm"].clamp(1e-4, 1 - 1e-4).logit()}
    residuals = targets["rotres"] if "rotres" in targets else torch.zeros(*targets["ind"].shape, 2)
    outside, inside = (1 - targets["rotbin"]).float(), targets["rotbin"].float()
    bins = torch.stack([4 * outside, 4 * inside, residuals.sin(), residuals.cos()], -1).flatten(-2)
    depth = (1 / (targets["dep"].double() + 1) - 1e-6).logit().float()
    values = {"dep": depth, "rot": bins} | {name: targets[name] for name in ("wh", "reg", "dim", "amodel_offset")}
    for name in heads.keys() - {"hm"}:
        cells = torch.zeros(len(targets["ind"]), grid.height * grid.width, heads[name].channels)
        index = targets["ind"].unsqueeze(-1).expand(-1, -1, heads[name].channels)
        outputs[name] = cells.scatter(1, index, values[name]).mT.unflatten(-1, grid[:2])
    return outputs


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_round_trip(seed):
    annotations, heads = annotations_3d(seed), standard_heads(DDD)
    targets = encode(annotations, heads, GRID)
    detections = decode(learned(targets, heads), heads, k=5)
    found = detections["cells"][..., 1] * GRID.width + detections["cells"][..., 0]
    for image in range(2):
        order = [(found[image] == cell).nonzero().item() for cell in targets["ind"][image]]
        decoded = {name: values[image, order] for name, values in detections.items()}
        for name in ("depth", "dimensions"):
            torch.testing.assert_close(decoded[name], annotations[name][image], rtol=1e-4, atol=1e-4)
        centers = decoded["amodal_centers"] * GRID.stride
        torch.testing.assert_close(centers, annotations["amodal_centers"][image], rtol=0, atol=1e-3)
        turn = wrap_angle(decoded["alpha"] - annotations["alpha"][image])
        torch.testing.assert_close(turn, torch.zeros(5), rtol=0, atol=1e-4)


def test_what_is_missing_is_not_learned():
    annotations, heads = annotations_3d(), standard_heads(DDD)
    annotations["depth"][0, :3] = torch.tensor([torch.nan, -3.0, 0.0])
    annotations["dimensions"][0, :2] = torch.tensor([[torch.nan, 1, 1], [2.0, -1, 4]])
    annotations["alpha"][0, :3] = torch.tensor([torch.nan, -10.0, 3.3])  # KITTI writes -10 where it is not known
    annotations["amodal_centers"][0, 0] = torch.nan
    targets = encode(annotations, heads, GRID)
    assert targets["dep_mask"][..., 0].tolist() == [[0, 0, 0, 1, 1], [1] * 5]
    assert targets["dim_mask"].amin(-1).tolist() == [[0, 0, 1, 1, 1], [1] * 5]
    assert targets["rot_mask"].tolist() == [[0, 0, 0, 1, 1], [1] * 5]
    assert targets["amodel_offset_mask"].amin(-1).tolist() == [[0, 1, 1, 1, 1], [1] * 5]
    assert targets["mask"].sum() == 10
    for name in ("dep", "dim", "rotbin", "rotres", "amodel_offset"):
        assert (targets[name][0, 0] == 0).all()
    outputs = {name: torch.randn(2, head.channels, *GRID[:2]) for name, head in heads.items()}
    assert GenericLoss(heads)(outputs, targets)[0].isfinite()


class TestDepth:
    def targets(self, annotations, **options):
        return encode(annotations, standard_heads({"hm": 3, "dep": options}), GRID)

    def test_larger_looks_nearer(self):
        annotations = annotations_3d() | {"scale": torch.tensor([0.5, 1.0])}
        depth = self.targets(annotations)["dep"].squeeze(-1)
        torch.testing.assert_close(depth, annotations["depth"] * torch.tensor([[0.5], [1.0]]))

    def test_of_a_common_camera(self):
        camera = torch.tensor([[200.0, 0, 80, 3], [0, 200, 48, 1], [0, 0, 1, 0]])
        zoomed = camera * torch.tensor([[2.0], [2], [1]])
        annotations = annotations_3d() | {"calibration": torch.stack([camera, zoomed]), "scale": torch.full((2,), 9.0)}
        targets = self.targets(annotations, focal=100.0)
        torch.testing.assert_close(targets["dep"][..., 0], annotations["depth"] * torch.tensor([[0.5], [0.25]]))
        with pytest.raises(MissingTargetsError, match="needs each image's `calibration`"):
            self.targets(annotations_3d(), focal=100.0)
        with pytest.raises(UserError, match="must be a positive number"):
            self.targets(annotations_3d(), focal=-1.0)

    def test_rescaled_crops_can_be_left_out(self):
        annotations = annotations_3d() | {"scale": torch.tensor([1.1, 1.0])}
        heads = standard_heads(DDD | {name: {"rescaled": False} for name in ("dep", "dim")})
        targets = encode(annotations, heads, GRID)
        assert targets["dep_mask"].amin((1, 2)).tolist() == targets["dim_mask"].amin((1, 2)).tolist() == [0, 1]
        assert targets["dep_mask"][0].sum() == targets["dim_mask"][0].sum() == 0
        assert (targets["rot_mask"] == 1).all()

    def test_secondary_heads_share_the_targets(self):
        heads = standard_heads({"hm": 3, "dep_sec": None, "rot_sec": None})
        targets = encode(annotations_3d(), heads, GRID)
        assert targets.keys() >= {"dep", "dep_mask", "rotbin", "rotres", "rot_mask"}
        assert not {"dep_sec", "rot_sec"} & targets.keys()


@pytest.mark.parametrize(
    ("name", "field"),
    [("dep", "depth"), ("dim", "dimensions"), ("rot", "alpha"), ("amodel_offset", "amodal_centers")],
)
def test_missing_fields(name, field):
    annotations = annotations_3d()
    del annotations[field]
    with pytest.raises(MissingTargetsError, match=f"head `{name}` needs the annotation field `{field}`"):
        encode(annotations, standard_heads({"hm": 3, name: None}), GRID)


def test_amodal_centre_from_the_cell_or_the_box():
    annotations = annotations_3d()
    targets = encode(annotations, standard_heads(DDD), GRID)
    outputs = learned(targets, standard_heads(DDD))
    cell = decode(outputs, DDD, k=5)
    box = decode(outputs, DDD | {"amodel_offset": {"origin": "box"}}, k=5)
    middle = (box["boxes"][..., :2] + box["boxes"][..., 2:]) / 2
    torch.testing.assert_close(box["amodal_centers"] - cell["amodal_centers"], middle - cell["cells"])
    with pytest.raises(UserError, match="needs the field `boxes`"):
        decode(outputs, {"hm": 3, "amodel_offset": {"origin": "box"}}, k=5)


def test_batch_of_many_is_many_of_one():
    annotations, heads = annotations_3d(images=3), standard_heads(DDD)
    targets = encode(annotations, heads, GRID)
    for image in range(3):
        alone = encode({name: values[image : image + 1] for name, values in annotations.items()}, heads, GRID)
        for name, values in alone.items():
            torch.testing.assert_close(values[0], targets[name][image], rtol=0, atol=0)


def test_no_slots():
    annotations = {name: values[:, :0] for name, values in annotations_3d().items()}
    targets = encode(annotations, standard_heads(DDD), GRID)
    assert targets["rotbin"].shape == targets["amodel_offset"].shape == (2, 0, 2)


def test_on_a_device_nothing_waits(monkeypatch):
    camera = torch.eye(3, 4).expand(2, 3, 4)
    annotations = annotations_3d() | {"scale": torch.tensor([0.5, 1.0]), "calibration": camera}
    annotations["ignore"] = torch.tensor([[False, True, False, False, True]]).expand(2, -1)
    annotations["labels"][:, 4] = -1
    specs = {"hm": {"channels": 3, "ignored": "peak", "whole_cells": False}, "amodel_offset": {"origin": "box"}}
    heads = standard_heads(DDD | specs | {"dep": {"focal": 100.0, "rescaled": False}})
    targets = encode(annotations, heads, GRID)
    outputs = learned(targets, heads)
    detections = decode(outputs, heads, k=5)
    with as_on_a_device(monkeypatch):
        same_targets, same_detections = encode(annotations, heads, GRID), decode(outputs, heads, k=5)
    for one, other in ((targets, same_targets), (detections, same_detections)):
        for name, values in one.items():
            torch.testing.assert_close(other[name], values)


def test_ignored_peaks():
    """Only the middle of an ignored box is spared, in the map of its class or, of none, in all maps."""
    boxes = torch.tensor([[[20.0, 20, 60, 60], [100, 20, 140, 60], [200, 20, 240, 60]]])
    annotations = {"boxes": boxes, "labels": torch.tensor([[0, 2, -1]]), "ignore": torch.ones(1, 3, dtype=torch.bool)}
    heatmap = encode(annotations, {"hm": {"channels": 3, "ignored": "peak"}}, GRID)["hm"][0]
    levels = heatmap[:, 10, [10, 30, 0]]  # the third box is outside
    assert levels.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    annotations["boxes"][0, 2] -= 100 * torch.tensor([1.0, 0, 1, 0])
    dense = encode(annotations, standard_heads({"hm": {"channels": 3, "ignored": "peak"}}, focal="dense"), GRID)["hm"][
        0
    ]
    torch.testing.assert_close(dense.amax((1, 2)), torch.full((3,), 0.9999))
    learned_at = encode(annotations | {"ignore": torch.zeros(1, 3, dtype=torch.bool)}, {"hm": 3}, GRID)["hm"][0]
    torch.testing.assert_close(dense[0, :, :20], learned_at[0, :, :20].clamp(max=0.9999))
