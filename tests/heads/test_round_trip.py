"""decode(encode(x)) == x for every head that makes its targets from annotations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_centernet import GenericLoss, decode, encode, standard_heads
from lightning_centernet.geometry.gaussian import _merge, _paint
from lightning_centernet.heads import STANDARD
from lightning_centernet.types import Grid

CLASSES = 3
BOX_HEADS = {
    "wh": {"wh": 2, "reg": 2},
    "class_specific": {"wh": {"class_specific": True, "channels": 2 * CLASSES}, "reg": 2},
    "ltrb": {"ltrb": 4},
    "ltrb over wh": {"wh": 2, "reg": 2, "ltrb": 4},
    "ltrb_amodal": {"ltrb_amodal": 4},
}
FIELDS = {"dim": "dimensions", "velocity": "velocity", "speed": "speed"}  # head name to annotation and detection field
GRIDS = [Grid(24, 40, 4), Grid(40, 24, 2), Grid(16, 32, 8), Grid(24, 24, 1)]


def outputs_of(targets, heads, grid):
    """Make the outputs of a network that has learned the targets: peaks, and each number in its object's cell."""
    batch, mask = len(targets["mask"]), targets["mask"].bool()
    outputs = {"hm": targets["hm"].clamp(1e-4, 1 - 1e-4).logit()}
    for name, head in heads.items():
        if head.at == "center":
            values = targets[(*head.target_keys,)[0]]
            cells = torch.full((batch, head.channels, grid.height * grid.width), 7.0)  # not zero where nothing is
            for b in range(batch):
                cells[b][:, targets["ind"][b][mask[b]]] = values[b][mask[b]].mT
            outputs[name] = cells.view(batch, head.channels, grid.height, grid.width)
    return outputs


def clipped(boxes, grid):
    """A box ends where the last cell begins, as in the originals."""
    right, bottom = (grid.width - 1) * grid.stride, (grid.height - 1) * grid.stride
    return torch.stack([boxes[..., i].clamp(0, (right, bottom)[i % 2]) for i in range(4)], -1)


def round_trip(annotations, specs, grid, k=3000):  # every cell of an ignored region is a peak
    heads = standard_heads({"hm": CLASSES, **specs})
    targets = encode(annotations, heads, grid)
    return targets, decode(outputs_of(targets, heads, grid), heads, k=k)


def found_at(targets, detections, grid, image, slot):
    """Return the number of the detection in an object's cell, of its class."""
    index = detections["cells"][image, :, 1] * grid.width + detections["cells"][image, :, 0]
    same = (index == targets["ind"][image, slot]) & (detections["labels"][image] == targets["cat"][image, slot])
    (number,) = (same & (detections["scores"][image] > 0.99)).nonzero().flatten().tolist()
    return number


def annotations_of(boxes, labels=None, **fields):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(1, -1, 4)
    labels = torch.zeros(boxes.shape[:2], dtype=torch.long) if labels is None else torch.tensor([labels])
    return {"boxes": boxes, "labels": labels} | fields


def scattered(grid, seed, images=2, slots=6):
    """Boxes of all sizes, some over the border; objects, ignored regions and empty slots."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.tensor([grid.width, grid.height]) * grid.stride
    center = torch.rand(images, slots, 2, generator=generator) * side
    size = (torch.rand(images, slots, 2, generator=generator) ** 2 * 0.8 + 0.05) * side
    kind = torch.randint(5, (images, slots), generator=generator)
    return {
        "boxes": torch.cat([center - size / 2, center + size / 2], -1),
        "labels": torch.randint(CLASSES, (images, slots), generator=generator),
        "mask": kind > 0,
        "ignore": kind == 1,
        "dimensions": torch.rand(images, slots, 3, generator=generator),
        "velocity": torch.randn(images, slots, 3, generator=generator),
        "speed": torch.randn(images, slots, generator=generator),
    }


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", BOX_HEADS)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1))
def test_boxes_come_back(name, grid, seed):
    annotations = scattered(grid, seed)
    targets, detections = round_trip(annotations, BOX_HEADS[name], grid)
    boxes = annotations["boxes"] if name == "ltrb_amodal" else clipped(annotations["boxes"], grid)
    learned = targets["mask"].bool()
    assert torch.equal(learned & ~(annotations["mask"] & ~annotations["ignore"]), torch.zeros_like(learned))
    keys = targets["cat"] * 10_000 + targets["ind"]
    for image, slot in learned.nonzero().tolist():
        if (learned[image] & (keys[image] == keys[image, slot])).sum() == 1 and not shadowed(targets, image, slot):
            number = found_at(targets, detections, grid, image, slot)
            box = detections["boxes"][image, number] * grid.stride
            torch.testing.assert_close(box, boxes[image, slot], rtol=0, atol=2e-4 * grid.stride)


def shadowed(targets, image, slot):
    """Whether another class's object took the cell: the outputs can hold one box there."""
    same = (targets["ind"][image] == targets["ind"][image, slot]) & targets["mask"][image].bool()
    return int(same.sum()) > 1


@pytest.mark.parametrize("name", FIELDS)
def test_fields_come_back(name):
    grid, field = Grid(24, 40), FIELDS[name]
    spec = {name: None} if name in STANDARD else {name: {"kind": "regression", "channels": 1}}
    annotations = scattered(grid, seed=3)
    targets, detections = round_trip(annotations, spec, grid)
    for image, slot in targets["mask"].nonzero().tolist():
        number = found_at(targets, detections, grid, image, slot)
        values = annotations[field][image, slot].reshape(-1)
        torch.testing.assert_close(detections[field][image, number], values)


def test_missing_numbers_are_not_learned():
    speed = torch.tensor([[2.0, torch.nan]])
    annotations = annotations_of([[8, 8, 24, 24], [40, 40, 80, 60]], speed=speed)
    heads = standard_heads({"hm": 1, "speed": {"kind": "regression", "channels": 1}})
    targets = encode(annotations, heads, (24, 32))
    assert targets["speed_mask"].tolist() == [[[1.0], [0.0]]]
    assert targets["speed"].tolist() == [[[2.0], [0.0]]]
    assert targets["mask"].tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(
    ("box", "cell"),
    [
        ((0, 0, 4, 4), (0, 0)),
        ((-40, -40, 8, 8), (1, 1)),
        ((120, 88, 140, 100), (30, 22)),
        ((-100, -100, 400, 400), (15, 11)),
        ((10.5, 20.25, 11, 20.75), (2, 5)),
    ],
)
def test_border_boxes(box, cell):
    grid = Grid(24, 32)
    targets, detections = round_trip(annotations_of(box), BOX_HEADS["wh"], grid)
    assert detections["cells"][0, 0].tolist() == list(cell)
    assert targets["ind"].tolist() == [[cell[1] * 32 + cell[0]]]
    expected = clipped(torch.tensor(box).float(), grid)
    torch.testing.assert_close(detections["boxes"][0, 0] * 4, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "box",
    [
        (-50, 10, -10, 40), (10, -50, 40, -1), (129, 10, 140, 40), (10, 97, 40, 120),  # outside
        (10, 10, 10, 40), (10, 40, 40, 10), (torch.nan, 10, 40, 40), (torch.inf, torch.inf, torch.inf, torch.inf),
    ],
)  # fmt: skip
def test_boxes_that_are_none(box):
    heads = standard_heads({"hm": 1, "wh": 2, "reg": 2, "ltrb_amodal": 4})
    for others in ([], [(8, 8, 24, 24)]):
        targets = encode(annotations_of([box, *others]), heads, (24, 32))
        assert targets["mask"][0, 0] == targets["ind"][0, 0] == targets["cat"][0, 0] == 0
        for name in ("wh", "reg", "ltrb_amodal"):
            assert (targets[name][0, 0] == 0).all()
            assert (targets[f"{name}_mask"][0, 0] == 0).all()
        assert all(value.isfinite().all() for value in targets.values())
        assert (targets["hm"] == 1).sum() == len(others)


def test_two_objects_in_one_cell():
    """One class: one peak, the box of one of them. Two classes: two peaks."""
    boxes = [[8, 8, 40, 24], [10, 6, 38, 26]]
    targets, detections = round_trip(annotations_of(boxes), BOX_HEADS["wh"], Grid(24, 32))
    assert targets["mask"].sum() == 2
    assert (detections["scores"] > 0.99).sum() == 1
    assert (detections["boxes"][0, 0] * 4).round().tolist() in boxes
    _, detections = round_trip(annotations_of(boxes, [0, 2]), BOX_HEADS["class_specific"], Grid(24, 32))
    assert (detections["scores"] > 0.99).sum() == 2
    assert sorted(detections["labels"][0, :2].tolist()) == [0, 2]


def test_no_objects():
    grid = Grid(24, 32)
    empty = annotations_of([[0, 0, 0, 0]] * 3) | {"mask": torch.zeros(1, 3, dtype=torch.bool)}
    targets, detections = round_trip(empty, BOX_HEADS["wh"], grid)
    assert all((value == 0).all() for value in targets.values())
    assert (detections["scores"] < 1e-3).all()


@pytest.mark.parametrize("options", [{}, {"class_specific": True, "channels": 6}, {"dense": True}])
@pytest.mark.parametrize("focal", ["sparse", "dense"])
def test_no_slots(options, focal):
    annotations = {"boxes": torch.zeros(2, 0, 4), "labels": torch.zeros(2, 0, dtype=torch.long)}
    heads = standard_heads({"hm": CLASSES, "wh": options, "reg": 2}, focal=focal)
    targets = encode(annotations, heads, (24, 32))
    assert targets["ind"].shape == (2, 0)
    assert targets["hm"].shape == (2, CLASSES, 24, 32)
    assert (targets["hm"] == 0).all()


class TestIgnoredRegions:
    REGION = ((40.0, 20, 80, 60), slice(5, 16), slice(10, 21))  # 4 pixels a cell, both ends inside

    def heatmap(self, label, **options):
        box, rows, columns = self.REGION
        annotations = annotations_of([box, (8, 8, 24, 24)], [label, 1]) | {"ignore": torch.tensor([[True, False]])}
        targets = encode(annotations, standard_heads({"hm": CLASSES}, **options), (24, 32))
        assert targets["mask"].tolist() == [[0.0, 1.0]]
        assert targets["hm"][0, 1, 4, 4] == 1
        targets["hm"][0, 1, :9, :9] = 0  # the object's own peak
        return targets["hm"][0], rows, columns

    @pytest.mark.parametrize(("focal", "level"), [("sparse", 1.0), ("dense", 0.9999)])
    def test_of_one_class(self, focal, level):
        heatmap, rows, columns = self.heatmap(2, focal=focal)
        expected = torch.zeros_like(heatmap)
        expected[2, rows, columns] = level
        assert torch.equal(heatmap, expected)

    def test_of_all_classes(self):
        heatmap, rows, columns = self.heatmap(-1)
        expected = torch.zeros_like(heatmap)
        expected[:, rows, columns] = 1
        assert torch.equal(heatmap, expected)

    def test_label_of_no_class_is_one(self):
        box, rows, columns = self.REGION
        targets = encode(annotations_of(box, [-1]), {"hm": CLASSES}, (24, 32))
        assert targets["mask"].sum() == targets["cat"].abs().sum() == 0
        assert (targets["hm"][0, :, rows, columns] == 1).all()

    def test_teaches_nothing(self):
        """Neither loss nor gradient depends on what the network says there."""
        heads = standard_heads({"hm": CLASSES})
        heatmap, rows, columns = self.heatmap(-1)
        batch = {"hm": heatmap[None], "ind": torch.zeros(1, 1).long(), "cat": torch.zeros(1, 1).long()}
        logits = torch.randn(1, CLASSES, 24, 32).requires_grad_()
        GenericLoss(heads)({"hm": logits}, batch | {"mask": torch.zeros(1, 1)})[0].backward()
        assert (logits.grad[..., rows, columns] == 0).all()
        assert (logits.grad != 0).sum() == logits.numel() - CLASSES * 11 * 11


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), fixed=st.booleans())
def test_painting_on_the_host_equals_merging_on_a_device(seed, fixed):
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(-6, 30, (2, 7, 2), generator=generator)
    channels = torch.randint(3, (2, 7), generator=generator)
    radii = torch.randint(-1, 9, (2, 7), generator=generator)
    deviation = torch.full(radii.shape, 2.0) if fixed else (2 * radii + 1) / 6
    painted = torch.rand(2, 3, 24, 17, generator=generator).mul(0.5)
    merged = painted.clone(memory_format=torch.channels_last if fixed else torch.contiguous_format)
    _paint(painted, cells, channels, radii, deviation)
    _merge(merged, cells, channels, radii, deviation)
    torch.testing.assert_close(painted, merged, rtol=0, atol=1e-6)
    assert torch.equal(painted == 1, merged == 1)


def test_memory_format_changes_no_target():
    grid, heads = Grid(24, 40), standard_heads({"hm": CLASSES, "wh": 2})
    annotations = scattered(grid, seed=3)
    expected = encode(annotations, heads, grid)
    targets = encode(annotations, heads, grid, memory_format=torch.channels_last)
    assert expected["hm"].is_contiguous()
    assert targets["hm"].is_contiguous(memory_format=torch.channels_last)
    for name, values in expected.items():
        assert torch.equal(values, targets[name])


def test_batch_of_many_is_many_of_one():
    grid = Grid(24, 40)
    annotations = scattered(grid, seed=5, images=4)
    specs = {"wh": {"dense": True}, "reg": 2, "ltrb": 4, "dim": 3}
    heads = standard_heads({"hm": CLASSES, **specs})
    targets = encode(annotations, heads, grid)
    learner = standard_heads({"hm": CLASSES, "reg": 2, "ltrb": 4, "dim": 3})
    detections = decode(outputs_of(targets, learner, grid), learner, k=20)
    for image in range(4):
        alone = {name: values[image : image + 1] for name, values in annotations.items()}
        single = encode(alone, heads, grid)
        for name, values in single.items():
            torch.testing.assert_close(values[0], targets[name][image], rtol=0, atol=0)
        decoded = decode(outputs_of(single, learner, grid), learner, k=20)
        for name, values in decoded.items():
            torch.testing.assert_close(values[0], detections[name][image], rtol=0, atol=0)


def test_order_of_objects_does_not_matter():
    grid = Grid(24, 40)
    annotations = scattered(grid, seed=6)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    shuffled = {name: values[:, order] for name, values in annotations.items()}
    heads = standard_heads({"hm": CLASSES, "wh": 2, "dim": 3})
    targets, other = encode(annotations, heads, grid), encode(shuffled, heads, grid)
    torch.testing.assert_close(other.pop("hm"), targets.pop("hm"), rtol=0, atol=0)
    for name, values in other.items():
        torch.testing.assert_close(values, targets[name][:, order], rtol=0, atol=0)


def test_annotations_stay_as_they_are():
    annotations = scattered(Grid(24, 40), seed=7)
    kept = {name: values.clone() for name, values in annotations.items()}
    encode(annotations, {"hm": CLASSES, "wh": 2, "reg": 2, "ltrb": 4, "ltrb_amodal": 4, "dim": 3}, (24, 40))
    for name, values in kept.items():
        torch.testing.assert_close(annotations[name], values, rtol=0, atol=0)
