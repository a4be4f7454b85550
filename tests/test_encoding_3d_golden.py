"""Targets of the 3D heads equal those of the originals' encoders."""

from __future__ import annotations

import json

import pytest
import torch

from lightning_centernet import encode, standard_heads
from lightning_centernet.geometry.affine import transform_points
from lightning_centernet.geometry.camera import mirror_angle
from lightning_centernet.heads.rotation import encode_rotation
from tests.golden_files import COMMITTED, cases, load, part
from tests.test_encoding_golden import annotations_of, assert_same_target, own_transform

SIZES = {"dep": ("depth", 1), "dim": ("dim", 3), "rot": ("alpha", 1), "amodel_offset": ("amodel_center", 2)}
# CenterTrack counts attributes from 1, and writes velocities far below 0 where there is none.
MOTION = {"nuscenes_att": "attributes", "velocity": "velocity"}
FIELDS = {"dep": "depth", "dim": "dimensions", "rot": "alpha", "amodel_offset": "amodal_centers"}


def annotations_3d(sample, description):
    """Bring a sample's annotations into input pixels, with what they say about the 3D boxes."""
    if description["repo"] == "CenterNet":  # which drops the classes numbered -99
        labels = description["cat_ids"].items()
        description = description | {"cat_ids": {name: label if label > -99 else -1000 for name, label in labels}}
    matrix = own_transform(sample, description)
    objects = annotations_of(sample, description, matrix)
    for head, (key, width) in SIZES.items():
        column = torch.full((1, description["max_objs"], width), torch.nan)
        for slot, annotation in enumerate(sample["anns"][: description["max_objs"]]):
            if key in annotation:
                column[0, slot] = torch.tensor(annotation[key])
        objects[FIELDS[head]] = column
    objects |= motion_of(sample, description["max_objs"])
    objects["alpha"], objects["depth"] = objects["alpha"].squeeze(-1), objects["depth"].squeeze(-1)
    if sample["flipped"]:
        objects["alpha"] = mirror_angle(objects["alpha"])
    objects["amodal_centers"] = transform_points(objects["amodal_centers"], matrix)
    if description["repo"] == "CenterNet":
        scale = sample["s"][0] / sample["width"]
    else:
        scale = (sample["aug"] or {"scale": 1.0})["scale"]
    return objects | {"scale": torch.tensor([scale])}


def motion_of(sample, slots):
    """Bring what the annotations say of nuScenes' attributes and of velocities into our fields."""
    attributes, velocity = torch.full((1, slots, 8), torch.nan), torch.full((1, slots, 3), torch.nan)
    for slot, annotation in enumerate(sample["anns"][:slots]):
        if annotation.get("attributes"):
            attributes[0, slot] = torch.eye(8)[annotation["attributes"] - 1]
        if min(annotation.get("velocity", [-1e4])) > -1000 and not sample["flipped"]:  # mirrored ones are not learned
            velocity[0, slot] = torch.tensor(annotation["velocity"][:3])
    return {"attributes": attributes, "velocity": velocity}


def samples(path):
    description = json.loads(path.with_suffix(".json").read_text())
    _, arrays = load(path)
    for number, sample in enumerate(description["samples"]):
        expected = part(arrays, f"s{number}_")
        grid = (expected["hm"].shape[1], expected["hm"].shape[2], description["down_ratio"])
        yield description, sample, expected, grid


@pytest.mark.parametrize("path", cases("targets_centertrack_*ddd*"))
def test_centertrack(path):
    for description, sample, expected, grid in samples(path):
        heads = standard_heads({"hm": description["num_classes"], "wh": 2, "reg": 2} | dict.fromkeys(FIELDS | MOTION))
        targets = encode(annotations_3d(sample, description), heads, grid)
        assert {f"{name}_mask" for name in FIELDS | MOTION} <= targets.keys()
        for key, value in targets.items():
            assert_same_target(key, value[0], expected, targets["mask"][0].bool())


@pytest.mark.parametrize("path", cases("targets_centernet_ddd*"))
def test_centernet(path):
    for description, sample, expected, grid in samples(path):
        specs = {"hm": {"channels": 3, "whole_cells": False}, "wh": 2, "reg": 2, "rot": None}
        specs |= {"dep": {"rescaled": False}, "dim": {"rescaled": False}}
        if "rect_mask" not in description["cli"]:
            specs["hm"]["ignored"] = "peak"
        targets = encode(annotations_3d(sample, description), standard_heads(specs, focal="dense"), grid)
        # One mask of CenterNet's is for the depth and the dimensions, the other for all that any crop shows.
        known, seen = expected.pop("reg_mask").float(), expected["rot_mask"].float()
        slots = targets["mask"][0].bool()
        expected |= {"dep_mask": known[:, None], "dim_mask": known[:, None].expand(-1, 3)}
        expected |= {"wh_mask": seen[:, None].expand(-1, 2), "reg_mask": seen[:, None].expand(-1, 2)}
        for name in ("dep", "dim"):
            expected[name] = expected[name] * known[:, None]  # CenterNet fills in what it does not learn
        for key, value in targets.items():
            assert_same_target(key, value[0], expected, slots)


def test_edges_of_the_bins():
    _, arrays = load(COMMITTED / "ddd_utils.npz")
    bins, residuals = encode_rotation(arrays["enc_alpha_f64"])
    assert torch.equal(bins, arrays["enc_rotbin"])
    torch.testing.assert_close(residuals.float(), arrays["enc_rotres"], rtol=0, atol=1e-6)
