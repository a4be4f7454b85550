"""Every loss in every head that takes it, by config; a new loss or head is tested unasked."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import generalized_box_iou_loss

from lightning_centernet import GenericLoss, UserError, encode, standard_heads
from lightning_centernet.heads import STANDARD, head_specs
from lightning_centernet.heads.regression import Regression
from lightning_centernet.losses import UncertainLoss, laplace_loss, oks_loss
from lightning_centernet.testing import fake_batch, fake_outputs
from tests.waiting import Recorder

OPEN = {"hm": 3, "hps": 34, "hm_hp": 17}  # channels of the heads whose number depends on the data
SPECS = {name: OPEN.get(name) for name in STANDARD}
HEADS = standard_heads(SPECS, classes=3)
OPTIONS = [
    ("wh", {"name": "smooth_l1", "beta": 0.5}),
    ("wh", {"name": "iou", "mode": "log"}),
    ("ltrb", {"name": "iou", "mode": "log"}),
    ("hps", {"name": "oks", "sigmas": [0.1] * 17}),
    ("hps", {"name": "wing", "width": 5, "curvature": 1}),
    ("dim", {"name": "balanced_l1", "alpha": 0.7, "gamma": 2, "beta": 0.5}),
    ("velocity", {"name": "huber", "delta": 2}),
]
CASES = [
    *(
        (name, loss)
        for name, head in HEADS.items()
        if isinstance(head, Regression)
        for kind in head.kinds
        for loss in kind.table
    ),
    *((name, loss) for name in ("rot", "rot_sec") for loss in ("bins", "sin_cos")),
    *OPTIONS,
]
EVERY = pytest.mark.parametrize(("name", "loss"), CASES, ids=str)
BOX_LOSSES = pytest.mark.parametrize("loss", ["iou", "giou", "diou", "ciou"])


def heads_with(name, loss, *others):
    """Build a head with a loss, and others as they are."""
    return standard_heads(
        {other: SPECS[other] for other in others} | {name: {"channels": OPEN.get(name), "loss": loss}}, classes=3
    )


def step(heads, batch, seed=0):
    """Return the losses, and the gradients of the outputs."""
    outputs = {name: value.requires_grad_() for name, value in fake_outputs(heads, seed=seed).items()}
    tot, stats = GenericLoss(heads)(outputs, batch)
    tot.backward()
    return stats, {name: value.grad for name, value in outputs.items()}


def unlabelled(batch):
    none = {key: torch.zeros_like(value) for key, value in batch.items() if key.endswith("mask")}
    return batch | none | {"rotbin": torch.zeros_like(batch["rotbin"])}


BATCH = fake_batch(HEADS)
EMPTY = [unlabelled(BATCH), fake_batch(HEADS, objects=0), fake_batch(HEADS, slots=0, objects=0)]
LONGER = {
    key: torch.cat([value, torch.zeros_like(value)], 1) if key not in ("image", "hm", "hm_hp") else value
    for key, value in BATCH.items()
}


@EVERY
@pytest.mark.parametrize("others", [(), ("hm", "reg")])
def test_a_step(name, loss, others):
    stats, gradients = step(heads_with(name, loss, *others), BATCH)
    assert stats[name].dtype == torch.float32
    assert stats[name].isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert gradients[name].any()


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(name, loss, dtype):
    heads = heads_with(name, loss, "reg")
    halves = {key: value.to(dtype).requires_grad_() for key, value in fake_outputs(heads).items()}
    criterion = GenericLoss(heads)
    tot, stats = criterion(halves, BATCH)
    full = criterion({key: value.detach().float() for key, value in halves.items()}, BATCH)[1]
    torch.testing.assert_close(stats[name], full[name])
    tot.backward()
    assert halves[name].grad.isfinite().all()


@EVERY
def test_nothing_to_learn(name, loss):
    heads = heads_with(name, loss, "reg")
    for batch in EMPTY:
        stats, gradients = step(heads, batch)
        assert stats[name] == 0
        assert not gradients[name].any()


@EVERY
def test_description_builds_the_head_again(name, loss):
    """So a checkpoint keeps the loss."""
    heads = heads_with(name, loss)
    assert standard_heads(head_specs(heads)) == heads
    assert head_specs(heads)[name]["loss"] == loss


@EVERY
def test_slots_that_hold_nothing_do_not_matter(name, loss):
    heads = heads_with(name, loss, "reg")
    outputs, criterion = fake_outputs(heads), GenericLoss(heads)
    torch.testing.assert_close(criterion(outputs, LONGER)[1][name], criterion(outputs, BATCH)[1][name])


@EVERY
def test_host_never_waits(name, loss):
    heads = heads_with(name, loss, "reg")
    outputs, criterion = {key: value.requires_grad_() for key, value in fake_outputs(heads).items()}, GenericLoss(heads)
    criterion(outputs, BATCH)  # the first call makes constants
    with Recorder() as recorder:
        criterion(outputs, BATCH)[0].backward()
    assert not recorder.callers


@pytest.mark.parametrize(("name", "loss"), {str(loss): (name, loss) for name, loss in CASES}.values(), ids=str)
def test_one_graph(name, loss):
    """Each loss once."""
    torch.compiler.reset()
    heads = heads_with(name, loss, "reg")
    outputs, criterion = fake_outputs(heads), GenericLoss(heads)
    compiled = torch.compile(criterion, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(outputs, BATCH)[0], criterion(outputs, BATCH)[0])


def boxes_batch(seed=0, objects=4):
    """Make boxes that lie inside the grid, their targets, and which slots they are in."""
    generator = torch.Generator().manual_seed(seed)
    corner = 10 + 40 * torch.rand(2, objects, 2, generator=generator)
    boxes = torch.cat([corner, corner + 8 + 30 * torch.rand(2, objects, 2, generator=generator)], dim=-1)
    annotations = {"boxes": boxes, "labels": torch.zeros(2, objects, dtype=torch.int64)}
    heads = standard_heads({"hm": 3, "wh": 2, "reg": 2, "ltrb": 4, "ltrb_amodal": 4})
    return encode(annotations, heads, (24, 32)), boxes / 4


def decoded(heads, outputs, index, width=32):
    """Decode the boxes at the objects' cells."""
    cells = torch.stack([index % width, index // width], dim=-1)
    detections = {"cells": cells, "centers": cells.float()}
    for name in (name for name in ("reg", "wh", "ltrb", "ltrb_amodal") if name in heads):
        values = outputs[name].flatten(2).gather(2, index.unsqueeze(1).expand(-1, heads[name].channels, -1)).mT
        detections |= heads[name].decode(values, detections)
    return detections["boxes"]


@pytest.mark.parametrize("names", [("wh", "reg"), ("ltrb",), ("ltrb", "reg"), ("ltrb_amodal",)])
@pytest.mark.parametrize("loss", ["giou"])
def test_boxes_are_those_of_the_decoder(names, loss):
    batch, boxes = boxes_batch()
    heads = heads_with(names[0], loss, *names[1:])
    outputs = {name: 5 + value for name, value in fake_outputs(heads).items()}
    if "ltrb" in names[0]:
        outputs[names[0]] *= torch.tensor([-1.0, -1.0, 1.0, 1.0]).view(4, 1, 1)
    stats = GenericLoss(heads)(outputs, batch)[1]
    expected = generalized_box_iou_loss(decoded(heads, outputs, batch["ind"]), boxes, reduction="mean")
    torch.testing.assert_close(stats[names[0]], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "loss"), [("wh", "giou"), ("hps", "oks"), ("dep", "laplace"), ("rot", "sin_cos")])
def test_average_over_all_slots(name, loss):
    """8 of the 16 hold an object."""
    specs = {name: {"channels": OPEN.get(name), "loss": loss}}
    outputs = fake_outputs(standard_heads(specs))
    objects, slots = (
        GenericLoss({name: specs[name] | options})(outputs, BATCH)[1][name] for options in ({}, {"average": "slots"})
    )
    torch.testing.assert_close(slots, objects / 2, rtol=1e-4, atol=1e-6)


def test_without_an_offset_the_size_lies_round_the_true_centre():
    batch, boxes = boxes_batch()
    heads = heads_with("wh", "giou")
    outputs = {"wh": 5 + fake_outputs(heads)["wh"]}
    size = outputs["wh"].flatten(2).gather(2, batch["ind"].unsqueeze(1).expand(-1, 2, -1)).mT
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    expected = generalized_box_iou_loss(torch.cat([center - size / 2, center + size / 2], -1), boxes, reduction="mean")
    torch.testing.assert_close(GenericLoss(heads)(outputs, batch)[1]["wh"], expected, rtol=1e-4, atol=1e-5)
    without_target = {key: value for key, value in batch.items() if not key.startswith("reg")}
    stats = GenericLoss(heads_with("wh", "giou", "reg"))(fake_outputs({"reg": 2}) | outputs, without_target)[1]
    torch.testing.assert_close(stats["wh"], expected, rtol=1e-4, atol=1e-5)


def test_loss_of_boxes_moves_the_offset_too():
    batch, _ = boxes_batch()
    heads = standard_heads({"wh": {"loss": "giou"}, "reg": {"weight": 0.0}})
    _, gradients = step(heads, batch)
    assert gradients["reg"].any()


@BOX_LOSSES
@pytest.mark.parametrize(
    ("name", "start"), [("wh", [0, 0]), ("wh", [-3, -3]), ("ltrb", [0, 0, 0, 0]), ("ltrb", [3, 3, -3, -3])]
)
def test_boxes_are_learned_from_nothing(name, start, loss):
    """Also from sizes below zero, where the overlap itself has no gradient."""
    batch, _ = boxes_batch(objects=1)  # so that no two share a cell
    heads = heads_with(name, loss, "reg")
    outputs = {other: torch.zeros_like(value) for other, value in fake_outputs(heads).items()}
    outputs[name] += torch.tensor(start).view(-1, 1, 1)
    outputs = {other: value.requires_grad_() for other, value in outputs.items()}
    optimizer, criterion = torch.optim.Adam(outputs.values(), lr=0.2), GenericLoss(heads)
    for _ in range(100):
        optimizer.zero_grad()
        stats = criterion(outputs, batch)[1]
        (stats[name] + stats["reg"]).backward()
        optimizer.step()
    assert stats[name] < 0.1


def test_joints_are_compared_by_the_objects_size():
    heads, batch = heads_with("hps", "oks"), BATCH | {"hps_mask": BATCH["hps_mask"].clone()}
    batch["hps_mask"][:, 1, 10:] = 0
    outputs = fake_outputs(heads)
    joints = outputs["hps"].flatten(2).gather(2, batch["ind"].unsqueeze(1).expand(-1, 34, -1)).mT
    visible = batch["hps_mask"].view(2, 8, 17, 2)[..., 0]
    losses = oks_loss(
        joints.reshape(2, 8, 17, 2),
        batch["hps"].view(2, 8, 17, 2),
        visible[..., 0],
        area=batch["wh"].prod(-1),
        visible=visible,
        reduction="none",
    )
    torch.testing.assert_close(GenericLoss(heads)(outputs, batch)[1]["hps"], losses.sum() / 8, rtol=1e-4, atol=1e-5)
    whole = batch | {"hps_mask": batch["mask"]}
    assert GenericLoss(heads)(outputs, whole)[1]["hps"] != GenericLoss(heads)(outputs, batch)[1]["hps"]


@pytest.mark.parametrize("name", ["dep", "dep_sec"])
def test_depth_with_its_scale(name):
    heads, batch = heads_with(name, "laplace"), BATCH
    head, outputs = heads[name], fake_outputs(heads)
    assert head.channels == 2
    values = outputs[name].flatten(2).gather(2, batch["ind"].unsqueeze(1).expand(-1, 2, -1)).mT
    fields = head.decode(values, {})
    assert set(fields) == set(head.provides) == {"depth", "depth_scale"}
    pair = torch.stack([fields["depth"], fields["depth_scale"].log()], dim=-1)
    expected = laplace_loss(pair, batch["dep"], batch["dep_mask"], avg_factor=8)
    torch.testing.assert_close(GenericLoss(heads)(outputs, batch)[1][name], expected, rtol=1e-4, atol=1e-5)
    assert isinstance(head.compare, UncertainLoss)


@pytest.mark.parametrize("name", ["rot", "rot_sec"])
def test_angle_as_sine_and_cosine(name):
    """Encoded as CenterNet does: two overlapping bins round -pi / 2 and pi / 2."""
    angle = torch.linspace(-3.1, 3.1, 40).view(1, 40)
    near = torch.stack(
        [(angle < torch.pi / 6) | (angle > 5 * torch.pi / 6), (angle > -torch.pi / 6) | (angle < -5 * torch.pi / 6)], -1
    )
    residuals = torch.stack([angle + torch.pi / 2, angle - torch.pi / 2], -1) * near
    batch = {
        "ind": torch.arange(40).view(1, 40),
        "rotbin": near.long(),
        "rotres": residuals,
        "rot_mask": torch.ones(1, 40),
    }
    heads = heads_with(name, "sin_cos")
    output = torch.stack([angle.sin(), angle.cos()], dim=1).view(1, 2, 5, 8)
    loss = GenericLoss(heads)({name: output}, batch)[1][name]
    torch.testing.assert_close(loss, torch.zeros(()), atol=1e-5, rtol=0)
    decoded_angle = heads[name].decode(output.flatten(2).mT, {})["alpha"]
    torch.testing.assert_close(decoded_angle, angle)


REFUSED = [
    (
        "wh",
        {"name": "smooth_l1", "bta": 1},
        r"head `wh`: loss `smooth_l1` has no option `bta`: it .*\. Did you mean `beta`\?",
    ),
    ("wh", {"name": "smooth_l1", "beta": -1}, "head `wh`: loss `smooth_l1`: beta=-1 must be a number above 0"),
    ("wh", "gio", r"head `wh`: unknown loss `gio`: it can be l1, .*, ciou\. Did you mean `giou`\?"),
    ("reg", "giou", "head `reg`: unknown loss `giou`: it can be l1"),
    ("reg", 3, "head `reg`: loss=3 must be a name such as l1, or a mapping"),
    ("dim", {"beta": 3}, "head `dim`: loss={'beta': 3} must be a name"),
    (
        "hps",
        {"name": "oks", "sigmas": [0.1, 0.2]},
        r"`hps`: 2 sigmas do not fit 34 channels.*set heads.hps.loss.sigmas=",
    ),
    ("rot", "sincos", "head `rot`: loss='sincos' is not one of 'bins', 'sin_cos'"),
]


@pytest.mark.parametrize(("name", "loss", "message"), REFUSED)
def test_refused(name, loss, message):
    with pytest.raises(UserError, match=message):
        heads_with(name, loss)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({"wh": {"loss": "giou", "dense": True}}, "head `wh`: loss=giou compares objects: drop dense=true"),
        (
            {"wh": {"loss": "giou", "class_specific": True, "channels": 6}},
            "loss=giou compares boxes: drop class_specific",
        ),
        ({"dep": {"loss": "laplace", "channels": 3}}, "head `dep` has 2 channels with loss=laplace"),
        ({"hm": {"channels": 3, "alpha": -1}}, "head `hm`: alpha=-1 must be a number of at least 0"),
        ({"hm": {"channels": 3, "beta": float("nan")}}, "head `hm`: beta=nan must be a number of at least 0"),
        ({"hm": {"channels": 3, "alpha": 0.5, "focal": "quality"}}, "alpha=0.5 must be a number of at least 1"),
        ({"rot": {"loss": "sin_cos", "channels": 8}}, "head `rot` has 2 channels, not 8: leave the number out"),
    ],
)
def test_options_that_exclude_each_other(specs, message):
    with pytest.raises(UserError, match=message):
        standard_heads(specs)


def test_size_of_the_object_is_missing():
    batch = {key: value for key, value in BATCH.items() if not key.startswith("wh")}
    heads = heads_with("hps", "oks")
    with pytest.raises(UserError, match="head `hps` finds no `wh` in the batch"):
        GenericLoss(heads)(fake_outputs(heads), batch)


HEATMAPS = pytest.mark.parametrize("name", ["hm", "hm_hp"])


@HEATMAPS
@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_quality_focal(name, alpha):
    """Every cell learns its value, except those that are 1 without an object."""
    heads = standard_heads({name: {"channels": 5, "focal": "quality", "alpha": alpha}})
    generator, cells = torch.Generator().manual_seed(0), torch.tensor([[7, 30, 0]])
    heatmap = 0.99 * torch.rand(1, 5, 6, 8, generator=generator)
    heatmap[0, 2, 3:, 4:] = 1  # an ignored region
    heatmap[0, 1].view(-1)[cells[0, :2]] = 1
    index, channel, mask = heads[name].positives
    batch = {name: heatmap, index: cells, channel: torch.tensor([[1, 1, 2]]), mask: torch.tensor([[1.0, 1.0, 0.0]])}
    logits = torch.randn(1, 5, 6, 8, generator=generator)
    loss = GenericLoss(heads)({name: logits}, batch)[1][name]
    p = logits.double().sigmoid()
    entropy = -heatmap * p.log() - (1 - heatmap) * (1 - p).log()
    counted = torch.ones_like(heatmap)
    counted[0, 2, 3:, 4:] = 0
    expected = ((heatmap - p).abs() ** alpha * entropy * counted).sum() / 2
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)


@HEATMAPS
@pytest.mark.parametrize(
    "options", [{"focal": "quality"}, {"alpha": 1.5, "beta": 3.0}, {"focal": "dense", "alpha": 3.0}]
)
@pytest.mark.parametrize("objects", [0, 4])
def test_a_step_of_heat_maps(name, options, objects):
    heads = standard_heads({name: {"channels": 17, **options}})
    stats, gradients = step(heads, fake_batch(HEADS | {"hm": heads.get("hm", HEADS["hm"])}, objects=objects))
    assert stats[name].isfinite()
    assert gradients[name].isfinite().all()
    assert gradients[name].any()
