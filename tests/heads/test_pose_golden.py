"""Targets and detections of poses equal those of the originals."""

from __future__ import annotations

import json

import pytest
import torch

from lightning_centernet import decode, encode, standard_heads
from lightning_centernet.geometry.affine import similarity, transform_points
from tests.golden_files import cases, load, part
from tests.test_decoding_golden import logits_of, positive_counts
from tests.test_encoding_golden import annotations_of, assert_same_target, own_transform

JOINTS = 17
SWAP = [0, *(joint + (1 if joint % 2 else -1) for joint in range(1, JOINTS))]  # left and right are neighbours
CENTERNET = {
    "hm_hp": {"hidden": "learned", "unlabelled": "background", "threshold": 0.1, "max_distance": 0.3},
    "hp_offset": {"hidden": "learned"},
    "wh": {"mask": "has_joints"},
    "reg": {"mask": "has_joints"},
}
OURS = {"hp_mask": "hp_offset_mask", "reg_mask": "has_joints"}  # CenterNet's keys


def heads_of(repo, **options):
    specs = {"hm": 1, "wh": 2, "reg": 2, "hps": 2 * JOINTS, "hm_hp": JOINTS, "hp_offset": 2}
    specs = {name: {"channels": channels} | options.get(name, {}) for name, channels in specs.items()}
    if repo == "CenterNet":
        specs = {name: spec | CENTERNET.get(name, {}) for name, spec in specs.items()}
    return standard_heads(specs, focal="dense" if repo == "CenterNet" else "sparse")


def with_keypoints(objects, sample, description, transform):
    joints = torch.zeros(1, description["max_objs"], JOINTS, 3)
    joints[..., :2] = torch.nan
    for slot, annotation in enumerate(sample["anns"]):
        given = torch.tensor(annotation.get("keypoints") or [0.0] * 3 * JOINTS).view(JOINTS, 3)
        given = given[SWAP] if sample["flipped"] else given
        present = given[:, 2] > 0
        joints[0, slot, present, :2] = transform_points(given[present, :2].double(), transform).float()
        joints[0, slot, :, 2] = given[:, 2]
    return objects | {"keypoints": joints}


def targets_of(path, number, **options):
    description = json.loads(path.with_suffix(".json").read_text())
    sample, expected = description["samples"][number], part(load(path)[1], f"s{number}_")
    transform = own_transform(sample, description)
    objects = annotations_of(sample, description, transform)
    if sample.get("rot"):  # CenterNet turns the joints, but not the boxes
        size = (description["input_w"], description["input_h"])
        transform = similarity(tuple(sample["c"]), float(sample["s"][0]), sample["rot"], size)
    objects = with_keypoints(objects, sample, description, transform)
    grid = (expected["hm"].shape[1], expected["hm"].shape[2], description["down_ratio"])
    return encode(objects, heads_of(description["repo"], **options), grid), expected


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("path", cases("targets_centertrack_multi_pose"))
def test_targets_of_centertrack(path, number):
    targets, expected = targets_of(path, number)
    assert targets.pop("has_joints").sum() < expected["mask"].sum()
    for key, value in targets.items():
        assert_same_target(key, value[0], expected, None)
        assert key in expected


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("path", cases("targets_centernet_multi_pose"))
def test_targets_of_centernet(path, number):
    targets, expected = targets_of(path, number)
    for key in ("hm", "ind", "wh", "reg", "reg_mask", "hps", "hps_mask", "hm_hp", "hp_offset", "hp_ind", "hp_mask"):
        assert_centernet_target(key, targets, expected)


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("path", cases("targets_centernet_multi_pose_dense_hp"))
def test_dense_targets(path, number):
    targets, expected = targets_of(path, number, hps={"dense": True})
    for key in ("hm", "ind", "wh", "reg", "reg_mask", "dense_hps", "dense_hps_mask", "hm_hp", "hp_offset", "hp_ind"):
        assert_centernet_target(key, targets, expected)


@pytest.mark.parametrize("path", cases("targets_centernet_multi_pose_rot"))
def test_rotated_joints(path):
    """CenterNet teaches the joint heat maps of rotated images; neither boxes nor regressed joints, as is done here."""
    targets, expected = targets_of(path, 0)
    for key in ("hps", "hm_hp", "hp_offset", "hp_ind", "hp_mask"):
        assert_centernet_target(key, targets, expected)


def assert_centernet_target(key, targets, expected):
    ours = OURS.get(key, key)
    value, wanted = targets[ours][0], expected[key]
    wanted = wanted if value.ndim == wanted.ndim else wanted.unsqueeze(-1).expand_as(value)
    assert_same_target(ours, value, {ours: wanted}, None)


@pytest.mark.parametrize("path", cases("decode_centertrack_multi_pose*"))
def test_detections_of_centertrack(path):
    _, arrays = load(path)
    maps = logits_of(arrays)
    k = arrays["det_scores"].shape[1]
    heads = {name: head for name, head in heads_of("CenterTrack").items() if name in maps}
    detections = decode({name: values.float() for name, values in maps.items()}, heads, k=k)
    for image, count in enumerate(positive_counts(arrays)):
        found = {name: values[image, :count] for name, values in detections.items()}
        expected = {name: values[image, :count] for name, values in part(arrays, "det_").items()}
        torch.testing.assert_close(found["scores"], expected["scores"], rtol=1e-5, atol=1e-5)
        if "bboxes" in expected:
            torch.testing.assert_close(found["boxes"], expected["bboxes"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found["keypoints"].flatten(1), expected["hps"], rtol=1e-5, atol=1e-4)
        if "hm_hp" in maps:
            score = found["scores"] * found["keypoint_scores"].mean(-1)
            torch.testing.assert_close(score, expected["kps_score"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("path", cases("decode_centernet_multi_pose*"))
def test_detections_of_centernet(path):
    _, arrays = load(path)
    maps, dets = logits_of(arrays), arrays["dets"]
    heads = {name: head for name, head in heads_of("CenterNet", hm_hp={"offset": "middle"}).items() if name in maps}
    detections = decode({name: values.float() for name, values in maps.items()}, heads, k=dets.shape[1])
    for image, count in enumerate(positive_counts(arrays)):
        expected = dets[image, :count]
        torch.testing.assert_close(detections["scores"][image, :count], expected[:, 4], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(detections["boxes"][image, :count], expected[:, :4], rtol=1e-5, atol=1e-4)
        joints = detections["keypoints"][image, :count].flatten(1)
        torch.testing.assert_close(joints, expected[:, 5:39], rtol=1e-5, atol=1e-4)
