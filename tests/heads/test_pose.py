"""Poses: decode(encode(x)) == x, what joints teach, and whose peaks they move to."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_centernet import GenericLoss, UserError, decode, encode, standard_heads
from lightning_centernet.errors import MissingTargetsError
from lightning_centernet.geometry.joints import boxes_around, snap_to_peaks
from lightning_centernet.types import Grid
from tests.heads.test_round_trip import GRIDS, found_at, outputs_of, scattered
from tests.waiting import as_on_a_device

JOINTS = 5
GRID = Grid(24, 32)
BOX = (20.0, 20, 60, 80)  # of cells 5 to 15 and 5 to 20


def pose_heads(joints=JOINTS, focal="sparse", **options):
    specs = {"hm": 3, "wh": 2, "reg": 2, "hps": 2 * joints, "hm_hp": joints, "hp_offset": 2}
    return standard_heads({n: {"channels": c} | options.get(n, {}) for n, c in specs.items()}, focal=focal)


def with_joints(annotations, grid, seed, joints=JOINTS):
    """Joints in and round the boxes, of every visibility, some without a place."""
    generator = torch.Generator().manual_seed(seed)
    shape = (*annotations["labels"].shape, joints)
    low, high = annotations["boxes"][..., None, :2], annotations["boxes"][..., None, 2:]
    points = low + (torch.rand(*shape, 2, generator=generator) * 1.2 - 0.1) * (high - low)
    visibility = torch.randint(3, shape, generator=generator)
    points[visibility == 0] = torch.nan
    keypoints = torch.cat([points, visibility.unsqueeze(-1).float()], -1)
    return annotations | {"keypoints": keypoints, "ignore": torch.zeros_like(annotations["ignore"])}


def one_object(*joints, box=BOX, **fields):
    """Joints are x, y, visibility."""
    keypoints = torch.tensor([[joints]], dtype=torch.float32)
    return {"boxes": torch.tensor([[box]]), "labels": torch.zeros(1, 1).long(), "keypoints": keypoints} | fields


def pose_outputs(targets, heads, grid):
    """Make the outputs of a network that has learned the targets; where the joint maps are ignored it sees nothing."""
    outputs = outputs_of(targets, heads, grid)
    listed, cells = targets["hm_hp_mask"].bool(), grid.height * grid.width
    maps, offsets = targets["hm_hp"].clone().flatten(2), torch.full((len(listed), 2, cells), 7.0)
    maps[maps == 1] = 0
    for b in range(len(listed)):
        index = targets["hp_ind"][b][listed[b]]
        maps[b, targets["joint"][b][listed[b]], index] = 1
        offsets[b][:, index] = targets["hp_offset"][b][listed[b]].mT
    shape = (grid.height, grid.width)
    maps = maps.clamp(1e-4, 1 - 1e-4).logit()
    return outputs | {"hm_hp": maps.unflatten(2, shape), "hp_offset": offsets.unflatten(2, shape)}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("joints", [1, 5])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_joints_come_back(grid, joints, seed):
    annotations = with_joints(scattered(grid, seed), grid, seed, joints)
    heads = pose_heads(joints)
    targets = encode(annotations, heads, grid)
    detections = decode(pose_outputs(targets, heads, grid), heads, k=40)
    learned = targets["hm_hp_mask"].unflatten(1, (-1, joints)).bool()
    index, cells = targets["hp_ind"].unflatten(1, (-1, joints)), targets["ind"]
    for image, slot, joint in learned.nonzero().tolist():
        if (targets["mask"][image].bool() & (cells[image] == cells[image, slot])).sum() > 1:
            continue  # of several objects in a cell one is regressed
        number = found_at(targets, detections, grid, image, slot)
        place = detections["keypoints"][image, number, joint] * grid.stride
        same = learned[image] & (index[image] == index[image, slot, joint])
        tolerance = 2e-3 if same.sum() == 1 else 1  # all joints in a cell have one offset
        wanted = annotations["keypoints"][image, slot, joint, :2]
        torch.testing.assert_close(place, wanted, rtol=0, atol=tolerance * grid.stride)


class TestTargets:
    JOINTS = ((30, 40, 2), (40.5, 61, 1), (torch.nan, torch.nan, 0), (140, 50, 2), (30, torch.nan, 2))

    def test_of_every_kind_of_joint(self):
        targets = encode(one_object(*self.JOINTS), pose_heads(), GRID)
        assert targets["hps_mask"].view(5, 2).tolist() == [[1, 1], [1, 1], [0, 0], [0, 0], [0, 0]]
        assert targets["hps"].view(5, 2)[:2].tolist() == [[-2.5, -2.0], [0.125, 3.25]]
        assert targets["hp_ind"].tolist() == [[10 * 32 + 7, 15 * 32 + 10, 0, 0, 0]]
        assert targets["joint"].tolist() == [[0, 1, 0, 0, 0]]
        assert targets["hm_hp_mask"].tolist() == [[1, 0, 0, 0, 0]]
        assert targets["hp_offset_mask"][..., 0].tolist() == [[1, 0, 0, 0, 0]]
        assert targets["hp_offset"][0, 0].tolist() == [0.5, 0.0]
        assert targets["has_joints"].tolist() == [[1]]
        visible, hidden, none, outside, broken = targets["hm_hp"][0]
        assert (visible == 1).nonzero().tolist() == [[10, 7]]
        assert (hidden == 1).nonzero().tolist() == [[15, 10]]
        expected = torch.zeros(24, 32)
        expected[5:21, 5:16] = 1
        assert torch.equal(none, expected)
        assert torch.equal(broken, expected)
        assert (outside == 0).all()

    def test_hidden_joints_may_be_learned(self):
        heads = pose_heads(hm_hp={"hidden": "learned", "unlabelled": "background"}, hp_offset={"hidden": "learned"})
        targets = encode(one_object(*self.JOINTS), heads, GRID)
        assert targets["hm_hp_mask"].tolist() == [[1, 1, 0, 0, 0]]
        assert targets["hp_offset"][0, 1].tolist() == [0.125, 0.25]
        assert targets["hp_offset_mask"][..., 1].tolist() == [[1, 1, 0, 0, 0]]
        assert (targets["hm_hp"][0, 2:] == 0).all()

    def test_the_dense_loss_finds_the_learned_joints_only(self):
        targets = encode(one_object(*self.JOINTS), pose_heads(focal="dense"), GRID)
        assert (targets["hm_hp"] == 1).nonzero().tolist() == [[0, 0, 10, 7]]
        assert targets["hm_hp"][0, 1, 15, 10] == targets["hm_hp"][0, 2, 5, 15] == pytest.approx(0.9999)

    def test_hidden_joint_on_a_visible_one(self):
        """The visible one is learned, whichever comes first."""
        annotations = one_object((30, 40, 1))
        annotations = {name: torch.cat([values, values], 1) for name, values in annotations.items()}
        annotations["keypoints"][0, 1, 0, 2] = 2
        for order in ([0, 1], [1, 0]):
            shuffled = {name: values[:, order] for name, values in annotations.items()}
            targets = encode(shuffled, pose_heads(1, focal="dense"), GRID)
            assert (targets["hm_hp"] == 1).sum() == 1

    def test_of_an_object_without_joints(self):
        """Its box is learned, and nothing else."""
        heads = pose_heads(2)
        targets = encode(one_object(*[(torch.nan, torch.nan, 0)] * 2), heads, GRID)
        assert targets["wh_mask"].sum() == targets["reg_mask"].sum() == 2
        assert targets["has_joints"].sum() == targets["hps_mask"].sum() == targets["hp_offset_mask"].sum() == 0
        assert (targets["hm_hp"][0, :, 5:21, 5:16] == 1).all()
        assert targets["hm_hp"].sum() == 2 * 16 * 11
        outputs = {name: torch.randn(1, head.channels, 24, 32).requires_grad_() for name, head in heads.items()}
        total, _ = GenericLoss(heads)(outputs, targets)
        total.backward()
        assert (outputs["hps"].grad == 0).all()
        assert (outputs["hp_offset"].grad == 0).all()
        assert (outputs["hm_hp"].grad[..., 5:21, 5:16] == 0).all()
        assert (outputs["wh"].grad != 0).sum() == 2

    def test_boxes_of_objects_with_joints_only(self):
        heads = pose_heads(1, wh={"mask": "has_joints"})
        annotations = one_object((torch.nan, torch.nan, 0))
        outputs = {name: torch.randn(1, head.channels, 24, 32) for name, head in heads.items()}
        assert GenericLoss(heads)(outputs, encode(annotations, heads, GRID))[1]["wh"] == 0

    def test_ignored_regions(self):
        annotations = one_object((30, 40, 2), ignore=torch.tensor([[True]]))
        targets = encode(annotations, pose_heads(1), GRID)
        assert targets["hm_hp_mask"].sum() == targets["hps_mask"].sum() == targets["hp_ind"].sum() == 0
        assert targets["hm_hp"].sum() == (targets["hm_hp"][0, 0, 5:21, 5:16] == 1).sum() == 16 * 11

    def test_corners_of_the_image(self):
        """The left and the upper edge belong to it, the right and the lower one do not."""
        joints = [(0, 0, 2), (127.9, 95.9, 2), (128, 50, 2), (50, 96, 2), (-0.1, 50, 2)]
        targets = encode(one_object(*joints), pose_heads(), GRID)
        assert targets["hm_hp_mask"].tolist() == [[1, 1, 0, 0, 0]]
        assert targets["hp_ind"].tolist() == [[0, 24 * 32 - 1, 0, 0, 0]]

    @pytest.mark.parametrize("slots", [0, 3])
    def test_empty_images(self, slots):
        annotations = {
            "boxes": torch.zeros(2, slots, 4),
            "labels": torch.zeros(2, slots).long(),
            "mask": torch.zeros(2, slots).bool(),
            "keypoints": torch.zeros(2, slots, JOINTS, 3),
        }
        for focal in ("sparse", "dense"):
            heads = pose_heads(focal=focal)
            targets = encode(annotations, heads, GRID)
            assert targets["hm_hp"].shape == (2, JOINTS, 24, 32)
            assert targets["hp_ind"].shape == (2, slots * JOINTS)
            assert all((value == 0).all() for value in targets.values())
            outputs = {name: torch.randn(2, head.channels, 24, 32) for name, head in heads.items()}
            assert GenericLoss(heads)(outputs, targets)[0].isfinite()

    def test_dense_joints_of_one_object(self):
        targets = encode(one_object((30, 40, 2)), pose_heads(1, hps={"dense": True}), GRID)
        near = targets["dense_hps_mask"][0, 0] > 0
        for row, column in near.nonzero().tolist():
            assert targets["dense_hps"][0, :, row, column].tolist() == [7.5 - column, 10 - row]
        assert (targets["dense_hps"][0, :, ~near] == 0).all()
        assert targets["dense_hps_mask"][0, 0, 12, 10] == 1

    @pytest.mark.parametrize("joints", [1, 4])
    def test_another_number_of_joints(self, joints):
        message = rf"made for {joints} joints, but the annotations have 2: set heads.hps.channels=4 and .*hm_hp.chan"
        with pytest.raises(UserError, match=message):
            encode(one_object((1, 1, 2), (2, 2, 2)), pose_heads(joints), GRID)

    @pytest.mark.parametrize("name", ["hps", "hm_hp", "hp_offset"])
    def test_no_joints_in_the_annotations(self, name):
        annotations = one_object((1, 1, 2))
        del annotations["keypoints"]
        with pytest.raises(MissingTargetsError, match=f"`{name}` needs the annotation field `keypoints`"):
            encode(annotations, {name: pose_heads()[name]}, GRID)

    def test_odd_channels(self):
        with pytest.raises(UserError, match="5 channels are not two for each joint"):
            standard_heads({"hps": 5})


def random_outputs(heads, batch_size, seed=0, grid=GRID):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(batch_size, head.channels, grid.height, grid.width, generator=generator) * 3
        for name, head in heads.items()
    }


@pytest.mark.parametrize("names", [("hp_offset",), ("reg",), ("hp_offset", "reg", "wh"), ()])
def test_batch_of_many_is_many_of_one(names):
    annotations = with_joints(scattered(GRID, seed=5, images=4), GRID, 5)
    heads = {name: head for name, head in pose_heads().items() if name in ("hm", "hps", "hm_hp", *names)}
    targets, outputs = encode(annotations, heads, GRID), random_outputs(heads, 4)
    detections = decode(outputs, heads, k=20)
    for image in range(4):
        alone = {name: values[image : image + 1] for name, values in annotations.items()}
        for name, values in encode(alone, heads, GRID).items():
            torch.testing.assert_close(values[0], targets[name][image], rtol=0, atol=0)
        single = decode({name: values[image : image + 1] for name, values in outputs.items()}, heads, k=20)
        for name, values in single.items():
            torch.testing.assert_close(values[0], detections[name][image], rtol=1e-6, atol=1e-5)


def test_on_a_device_nothing_waits_and_nothing_differs(monkeypatch):
    annotations, heads = with_joints(scattered(GRID, seed=8, slots=40), GRID, 8), pose_heads()
    outputs = random_outputs(heads, 2)
    targets, detections = encode(annotations, heads, GRID), decode(outputs, heads, k=20)
    with as_on_a_device(monkeypatch):
        same_targets, same_detections = encode(annotations, heads, GRID), decode(outputs, heads, k=20)
    for ours, theirs in ((targets, same_targets), (detections, same_detections)):
        for name, values in ours.items():
            torch.testing.assert_close(values, theirs[name], rtol=0, atol=1e-6)


OBJECT_SCORE = 1 / (1 + math.exp(-2))


class TestDecoding:
    def outputs(self, **peaks_of_joints):
        """One object at cell (10, 10) with a box from 5 to 15; its joints are regressed to the centre of the cell."""
        maps = {"hm": torch.full((1, 3, 24, 32), -9.0), "wh": torch.full((1, 2, 24, 32), 10.0)}
        maps |= {"reg": torch.zeros(1, 2, 24, 32), "hps": torch.full((1, 4, 24, 32), 0.5)}
        maps |= {"hm_hp": torch.full((1, 2, 24, 32), -9.0), "hp_offset": torch.full((1, 2, 24, 32), 0.25)}
        maps["hm"][0, 0, 10, 10] = 2
        for joint, places in enumerate(peaks_of_joints.values()):
            for (x, y), score in places.items():
                maps["hm_hp"][0, joint, y, x] = math.log(score / (1 - score))
        return maps

    def decode(self, options=None, names=None, **peaks_of_joints):
        outputs, heads = self.outputs(**peaks_of_joints), pose_heads(2, hm_hp=options or {})
        names = names or list(outputs)
        detections = decode({name: outputs[name] for name in names}, {name: heads[name] for name in names}, k=3)
        return detections["keypoints"][0, 0].tolist(), detections["keypoint_scores"][0, 0].tolist()

    def test_nearest_peak_in_the_box(self):
        joints, scores = self.decode(a={(13, 10): 0.3, (6, 10): 0.9}, b={(16, 10): 0.9})
        assert joints == [[13.25, 10.25], [10.5, 10.5]]
        assert scores == pytest.approx([0.3, OBJECT_SCORE])

    def test_threshold(self):
        peaks_of_joints = {"a": {(11, 10): 0.15, (13, 10): 0.3}, "b": {}}
        assert self.decode(**peaks_of_joints)[0][0] == [13.25, 10.25]
        assert self.decode({"threshold": 0.1}, **peaks_of_joints)[0][0] == [11.25, 10.25]

    def test_distance(self):
        peaks_of_joints = {"a": {(14, 10): 0.9}, "b": {(13, 10): 0.9}}
        joints, _ = self.decode({"max_distance": 0.3}, **peaks_of_joints)
        assert joints == [[10.5, 10.5], [13.25, 10.25]]

    def test_without_offsets(self):
        names = ["hm", "wh", "reg", "hps", "hm_hp"]
        assert self.decode(names=names, a={(13, 10): 0.9}, b={})[0][0] == [13.0, 10.0]
        assert self.decode({"offset": "middle"}, names, a={(13, 10): 0.9}, b={})[0][0] == [13.5, 10.5]

    def test_without_joint_maps(self):
        joints, scores = self.decode(names=["hm", "hps"])
        assert joints == [[10.5, 10.5]] * 2
        assert scores == pytest.approx([OBJECT_SCORE] * 2)

    def test_joint_maps_alone(self):
        with pytest.raises(UserError, match="`hm_hp` needs the field `keypoints`, which no other head provides"):
            self.decode(names=["hm", "hm_hp"])

    def test_whatever_the_order_of_the_heads(self):
        expected = self.decode(a={(13, 10): 0.9, (16, 10): 0.9}, b={})
        assert (
            self.decode(names=["hp_offset", "hm_hp", "hps", "wh", "reg", "hm"], a={(13, 10): 0.9, (16, 10): 0.9})
            == expected
        )


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), max_distance=st.sampled_from([None, 0.1, 0.5]))
def test_snapping_equals_a_slow_search(seed, max_distance):
    generator = torch.Generator().manual_seed(seed)
    joints = torch.rand(2, 4, 3, 2, generator=generator) * 20
    peaks_, scores = torch.rand(2, 3, 6, 2, generator=generator) * 20, torch.rand(2, 3, 6, generator=generator)
    scores = scores * (scores > 0.4)
    boxes = boxes_around(joints)
    moved, found = snap_to_peaks(joints, scores, peaks_, boxes, max_distance=max_distance)
    for b in range(2):
        for k in range(4):
            left, top, right, bottom = boxes[b, k].tolist()
            reach = math.inf if max_distance is None else max_distance * max(right - left, bottom - top)
            for j in range(3):
                distances = [math.dist(joints[b, k, j], p) for p in peaks_[b, j]]
                candidates = [(d, p) for p, d in enumerate(distances) if scores[b, j, p] > 0]
                distance, nearest = min(candidates, default=(math.inf, 0))
                x, y = peaks_[b, j, nearest].tolist()
                moves = distance <= reach and distance < math.inf and left <= x <= right and top <= y <= bottom
                wanted = peaks_[b, j, nearest] if moves else joints[b, k, j]
                assert torch.equal(moved[b, k, j], wanted)
                assert found[b, k, j] == (scores[b, j, nearest] if moves else 0)


def test_margins_of_boxes_around_joints():
    joints = torch.tensor([[[[4.0, 10.0], [8.0, 30.0]]]])
    assert boxes_around(joints).tolist() == [[[3.0, 5.0, 9.25, 36.25]]]
