"""Peaks, boxes and fields equal those of the originals' decoders."""

from __future__ import annotations

import pytest
import torch

from lightning_centernet import decode, standard_heads
from tests.golden_files import cases, load, part

FIELDS = {"det_tracking": "tracking", "det_dim": "dimensions", "det_velocity": "velocity"}


def logits_of(arrays):
    """Undo the activations: the files hold probabilities and metres."""
    maps = part(arrays, "in_")
    maps.pop("pre_inds", None)
    for name in {"hm", "hm_hp", "nuscenes_att"} & set(maps):
        maps[name] = maps[name].double().logit()
    for name in {"dep", "dep_sec"} & set(maps):
        maps[name] = (1 / (maps[name].double() + 1) - 1e-6).logit()
    return maps


def positive_counts(arrays):
    scores = arrays["dets"][..., 4] if "dets" in arrays else arrays["det_scores"]
    return arrays.get("num_positive_scores", (scores > 0).sum(1)).tolist()


def boxless(name):
    return any(word in name for word in ("multi_pose", "centernet_ddd"))


@pytest.mark.parametrize("path", [c for c in cases("decode_centernet_ctdet*") if not boxless(c.id)])
def test_centernet(path):
    _, arrays = load(path)
    maps, dets = logits_of(arrays), arrays["dets"]
    class_specific = maps["wh"].shape[1] > 2
    heads = standard_heads(
        {
            name: {"channels": m.shape[1]} | ({"class_specific": True} if name == "wh" and class_specific else {})
            for name, m in maps.items()
        }
    )
    detections = decode({name: m.float() for name, m in maps.items()}, heads, k=dets.shape[1])
    for image, count in enumerate(positive_counts(arrays)):
        expected = dets[image, :count]
        torch.testing.assert_close(detections["scores"][image, :count], expected[:, 4], rtol=1e-5, atol=1e-5)
        assert torch.equal(detections["labels"][image, :count], expected[:, 5].long())
        kept = (expected[:, 2:4] >= expected[:, :2]).all(1)  # a negative size is an empty box here
        torch.testing.assert_close(detections["boxes"][image, :count][kept], expected[kept, :4], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "path", [c for c in cases("decode_centertrack_*") + cases("decode_centerfusion_*") if not boxless(c.id)]
)
def test_centertrack_and_centerfusion(path):
    meta, arrays = load(path)
    maps = logits_of(arrays)
    if meta.get("zero_tracking"):
        maps["tracking"] = torch.zeros_like(maps["tracking"])
    heads = standard_heads({name: {"channels": m.shape[1]} for name, m in maps.items()})
    detections = decode({name: m.float() for name, m in maps.items()}, heads, k=arrays["det_scores"].shape[1])
    for image, count in enumerate(positive_counts(arrays)):
        found = {name: values[image, :count] for name, values in detections.items()}
        torch.testing.assert_close(found["scores"], arrays["det_scores"][image, :count], rtol=1e-5, atol=1e-5)
        assert torch.equal(found["labels"], arrays["det_clses"][image, :count].long())
        assert torch.equal(found["cells"], arrays["det_cts"][image, :count])
        torch.testing.assert_close(found["boxes"], arrays["det_bboxes"][image, :count], rtol=1e-5, atol=1e-5)
        for key, name in FIELDS.items():
            if key in arrays and name in found:
                torch.testing.assert_close(found[name], arrays[key][image, :count], rtol=1e-5, atol=1e-5)
        if "det_dep" in arrays:
            depth = arrays["det_dep"][image, :count].squeeze(-1)
            torch.testing.assert_close(found["depth"], depth, rtol=1e-4, atol=1e-4)
