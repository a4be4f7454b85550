"""Losses and gradients equal those of the originals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightning_centernet import GenericLoss, standard_heads
from tests.golden_files import cases, load, part

CENTERNET_LOSSES = {"hps": "hp", "reg": "off", "hm_hp": "hm_hp", "hp_offset": "hp_offset"}


def outputs_of(meta: dict[str, Any], arrays: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    stacks = [part(arrays, f"logits_{s}_") for s in range(meta["num_stacks"])]
    return [{name: logits.requires_grad_() for name, logits in stack.items()} for stack in stacks]


def assert_same_gradients(outputs, arrays):
    for s, stack in enumerate(outputs):
        for name, logits in stack.items():
            expected = arrays[f"grad_{s}_{name}"]
            actual = torch.zeros_like(logits) if logits.grad is None else logits.grad
            tolerance = 5e-6 * float(expected.abs().max()) + 1e-8
            assert float((actual - expected).abs().max()) <= tolerance, f"gradient of {name} in stack {s}"
            assert (actual[expected == 0] == 0).all(), f"gradient of {name} must vanish where the original's does"


def tracked_heads(meta, outputs, path, **options):
    specs: dict[str, Any] = {name: {"channels": logits.shape[1]} for name, logits in outputs[0].items()}
    if "linear" in path.stem:
        specs["dep_sec"]["activation"] = "linear"
    average = "slots" if "centertrack" in path.stem else "labelled"
    return standard_heads(specs, rotation_average=average, **options)


@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize("path", cases("loss_centertrack_*") + cases("loss_centerfusion_*"))
def test_centertrack_and_centerfusion(path, clamp):
    meta, arrays = load(path)
    outputs, batch = outputs_of(meta, arrays), part(arrays, "batch_")
    tot, stats = GenericLoss(tracked_heads(meta, outputs, path, clamp=clamp))(outputs, batch)
    expected = part(arrays, "stat_")
    assert set(stats) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(stats[name].detach(), value, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    torch.testing.assert_close(tot.detach(), arrays["total"], rtol=1e-5, atol=1e-6)
    if clamp:
        tot.backward()
        assert_same_gradients(outputs, arrays)


def centernet_specs(meta, outputs, stem):
    options = meta["options"]
    specs: dict[str, Any] = {name: {"channels": logits.shape[1]} for name, logits in outputs[0].items()}
    if options["mse_loss"]:
        specs["hm" if "ctdet" in stem else "hm_hp"]["mse"] = True
    if options["reg_loss"] == "sl1":
        for name in {"wh", "reg", "hp_offset"} & set(specs):
            specs[name]["loss"] = "smooth_l1"
    specs["wh"] |= {"dense": options["dense_wh"], "class_specific": options["cat_spec_wh"]}
    if "hps" in specs:
        specs["hps"]["dense"] = options["dense_hp"]
    if "ddd" in stem:  # its L1 is a mean over all slots, and the 2D heads learn where the rotation is labelled
        for name in {"wh", "reg", "dep", "dim"} & set(specs):
            specs[name] |= {"average": "slots", "mask": "rot_mask" if name in ("wh", "reg") else "reg_mask"}
    return specs


@pytest.mark.parametrize("path", cases("loss_centernet_*"))
def test_centernet(path):
    meta, arrays = load(path)
    outputs, batch = outputs_of(meta, arrays), part(arrays, "batch_")
    heads = standard_heads(
        centernet_specs(meta, outputs, path.stem), focal="dense", clamp=True, rotation_average="slots"
    )
    tot, stats = GenericLoss(heads)(outputs, batch)
    for name, value in stats.items():
        key = "loss" if name == "tot" else f"{CENTERNET_LOSSES.get(name, name)}_loss"
        expected = arrays[f"stat_{key}"]
        torch.testing.assert_close(value.detach(), expected, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    tot.backward()
    assert_same_gradients(outputs, arrays)


@pytest.mark.parametrize("path", cases("loss_centernet_ctdet*"))
def test_normalized_l1(path):
    meta, arrays = load(path)
    if "norm_wh_loss" not in arrays:
        pytest.skip("the file holds no normalised L1")
    outputs, batch = outputs_of(meta, arrays), part(arrays, "batch_")
    heads = standard_heads({"wh": {"loss": "normalized_l1", "weight": 1.0}})
    tot, _ = GenericLoss(heads)(outputs[:1], batch)
    torch.testing.assert_close(tot.detach(), arrays["norm_wh_loss"], rtol=1e-5, atol=1e-6)
    tot.backward()
    expected = arrays["norm_wh_grad_0_wh"]
    torch.testing.assert_close(outputs[0]["wh"].grad, expected, rtol=0, atol=5e-6 * float(expected.abs().max()) + 1e-8)
