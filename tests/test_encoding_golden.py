"""Targets of the 2D heads equal those of the originals' encoders."""

from __future__ import annotations

import json

import pytest
import torch

from lightning_centernet import encode, standard_heads
from lightning_centernet.geometry.affine import compose, similarity, transform_boxes
from tests.golden_files import cases, load, part

IGNORED_ALL, DROPPED = 0, -999


def annotations_of(sample, description, transform):
    """Bring a sample's annotations into input pixels, in the slots of the original."""
    slots = description["max_objs"]
    objects = {
        "boxes": torch.zeros(1, slots, 4),
        "labels": torch.zeros(1, slots, dtype=torch.long),
        "mask": torch.zeros(1, slots, dtype=torch.bool),
        "ignore": torch.zeros(1, slots, dtype=torch.bool),
    }
    for slot, annotation in enumerate(sample["anns"][:slots]):
        category = description["cat_ids"][str(annotation["category_id"])]
        category += description["repo"] == "CenterNet"  # CenterNet counts classes from 0, the others from 1
        if category <= DROPPED:
            continue
        x, y, width, height = annotation["bbox"]
        objects["boxes"][0, slot] = torch.tensor([x, y, x + width, y + height])
        objects["labels"][0, slot] = abs(category) - 1
        objects["mask"][0, slot] = True
        objects["ignore"][0, slot] = category <= IGNORED_ALL or bool(annotation["iscrowd"])
    objects["boxes"] = transform_boxes(objects["boxes"], transform)
    return objects


def own_transform(sample, description):
    """Build the map to input pixels from the augmentation's parameters."""
    size, width = (description["input_w"], description["input_h"]), sample["width"]
    if description["repo"] == "CenterNet":
        center, scale = sample["c"], sample["s"][0]
    else:
        augmentation = sample["aug"] or {"c": [width / 2, sample["height"] / 2], "scale": 1.0}
        center, scale = augmentation["c"], max(width, sample["height"]) * augmentation["scale"]
    matrix = similarity(tuple(center), float(scale), 0.0, size)
    if sample["flipped"]:  # the originals mirror pixel indices, W - 1 - x
        matrix = compose(matrix, torch.tensor([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64))
    return matrix


def heads_of(description, arrays):
    classes, options = description["num_classes"], description["cli"]
    specs = {"hm": classes, "wh": 2, "reg": 2}
    specs |= {name: 4 for name in ("ltrb", "ltrb_amodal") if f"s0_{name}" in arrays}
    if "cat_spec_wh" in options:
        specs["wh"] = {"channels": 2 * classes, "class_specific": True}
    if "dense_wh" in options:
        specs["wh"] = {"dense": True}
    if "mse" in options:
        specs["hm"] = {"channels": classes, "mse": True}
    return standard_heads(specs, focal="dense" if description["repo"] == "CenterNet" else "sparse")


PATTERNS = "centertrack_ctdet*", "centertrack_overflow*", "centertrack_kitti*", "centertrack_mot*", "centernet_ctdet*"


@pytest.mark.parametrize("path", [case for pattern in PATTERNS for case in cases(f"targets_{pattern}")])
def test_targets(path):
    description = json.loads(path.with_suffix(".json").read_text())
    _, arrays = load(path)
    heads = heads_of(description, arrays)
    for number, sample in enumerate(description["samples"]):
        expected = part(arrays, f"s{number}_")
        grid = (expected["hm"].shape[1], expected["hm"].shape[2], description["down_ratio"])
        targets = encode(annotations_of(sample, description, own_transform(sample, description)), heads, grid)
        mask = targets["mask"][0].bool()
        for key, value in targets.items():
            assert_same_target(key, value[0], expected, mask)


def assert_same_target(key, actual, expected, mask):
    if key not in expected:  # CenterNet's batches have one mask for all, and no list of classes
        assert key in {"cat", "mask", "wh_mask", "reg_mask"}
        return
    value = expected[key].float()
    if key == "reg_mask" and value.ndim == 1:
        value = value.unsqueeze(-1).expand_as(actual)
    exact = key in {"ind", "cat", "mask"} or key.endswith("_mask")
    tolerance = 1e-6 if "hm" in key or (key.startswith("dense") and exact) else 0 if exact else 2e-3
    actual = actual.float()
    if key == "hm":
        assert torch.equal(actual == 1, value == 1)
    torch.testing.assert_close(actual, value, rtol=0, atol=tolerance, msg=lambda m: f"{key}: {m}")
